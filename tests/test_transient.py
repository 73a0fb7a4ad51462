"""Which faults pass, and how they are tried again."""

import errno
import http
import subprocess
import sys
import urllib.error

import pytest
import tensorflow as tf

from simclr_med import transient
from simclr_med.errors import StorageUnavailable, UserError, WorkerLost
from simclr_med.transient import is_transient, retried

errors = tf.errors


def tf_error(kind, text):
    return kind(None, None, text)


def named(name, module="requests.exceptions", **values):
    """Returns an error as libraries raise it that are not installed here."""
    return type(name, (Exception,), {"__module__": module, **values})("said")


def wrapped(cause, outer):
    try:
        raise outer from cause
    except Exception as error:
        return error


class Response:
    status_code = 503


PASSING = [
    tf_error(errors.UnavailableError, "no route to host"),
    tf_error(errors.AbortedError, "All 10 retry attempts failed. The last failure: ..."),
    tf_error(errors.DeadlineExceededError, "too late"),
    # tensorflow/core/platform/cloud/curl_http_request.cc and s3_file_system.cc
    tf_error(errors.UnknownError, "Error executing an HTTP request: HTTP response code 503 with"),
    tf_error(errors.InternalError, "Error executing an HTTP request: HTTP response code 500"),
    tf_error(errors.FailedPreconditionError, "HTTP response code 429 with body 'slow down'"),
    tf_error(errors.UnknownError, "SlowDown: Please reduce your request rate."),
    tf_error(errors.InternalError, "libcurl code 56 meaning 'Failure when receiving data'"),
    OSError("503 Service Unavailable"),
    OSError(errno.ESTALE, "Stale file handle"),
    OSError(errno.ETIMEDOUT, "Connection timed out"),
    ConnectionResetError(errno.ECONNRESET, "reset"),
    TimeoutError("no answer"),
    urllib.error.HTTPError("http://x", 502, "Bad Gateway", {}, None),
    named("HttpError", "gcsfs.retry", code=503),
    named("HttpError", "gcsfs.retry", code="429"),
    named("HttpResponseError", "azure.core", status_code=504),
    named("InternalServerError", "google.api_core", code=http.HTTPStatus.INTERNAL_SERVER_ERROR),
    named("HTTPError", response=Response()),
    named("ClientError", "b", response={"ResponseMetadata": {"HTTPStatusCode": 503}}),
    named("ConnectionError"),
    named("ReadTimeout"),
    wrapped(tf_error(errors.UnavailableError, "x"), RuntimeError("tfds could not read")),
    wrapped(wrapped(TimeoutError(), OSError("b")), ValueError("c")),
]
LASTING = [
    tf_error(errors.NotFoundError, "/data/HTTP 503.png; No such file or directory"),
    tf_error(errors.PermissionDeniedError, "HTTP response code 403"),
    tf_error(errors.UnknownError, "HTTP response code 400 with body ''"),
    tf_error(errors.UnauthenticatedError, "HTTP response code 401"),
    tf_error(errors.InvalidArgumentError, "shape [503] status 503"),
    tf_error(errors.ResourceExhaustedError, "OOM when allocating tensor with shape[500,503]"),
    tf_error(errors.InternalError, "Blas GEMM launch failed: a.shape=(503, 500)"),
    tf_error(errors.DataLossError, "truncated record at 503"),
    FileNotFoundError(errno.ENOENT, "No such file", "status 503"),
    OSError(errno.ENOSPC, "No space left on device"),
    OSError(errno.EIO, "Input/output error"),
    BrokenPipeError(errno.EPIPE, "pipe"),
    ValueError("status 503"),
    KeyError("code"),
    UserError("HTTP 503"),
    wrapped(tf_error(errors.UnavailableError, "x"), UserError("said otherwise")),
    StorageUnavailable("tried six times"),
    KeyboardInterrupt(),
    named("HttpError", "gcsfs.retry", code=404),
]


@pytest.mark.parametrize("error", PASSING, ids=repr)
def test_what_passes(error):
    assert is_transient(error)


@pytest.mark.parametrize("error", LASTING, ids=repr)
def test_what_does_not(error):
    assert not is_transient(error)


@pytest.fixture
def slept(monkeypatch):
    waits = []
    monkeypatch.setattr(transient.time, "sleep", waits.append)
    return waits


def failing(times, error=PASSING[0]):
    """Returns an action that fails so often, and then returns its number of calls."""
    calls = []

    def action():
        calls.append(1)
        if len(calls) <= times:
            raise error
        return len(calls)

    return action


def test_it_is_tried_again_after_longer_and_longer_waits_which_are_printed(slept, capsys):
    assert retried(failing(3), "Reading gs://b/a") == 4
    assert len(slept) == 3 and all(b > a for a, b in zip(slept, slept[1:])) and slept[0] >= 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith(
        "Warning: Reading gs://b/a failed (UnavailableError: no route to host); attempt 2 of 6 in 1"
    )


def test_in_the_end_it_is_given_up_with_its_own_exit_code(slept):
    with pytest.raises(StorageUnavailable, match="Reading a failed 6 times .*no route to host"):
        retried(failing(6), "Reading a")
    assert len(slept) == 5 and sum(slept) < 45
    assert StorageUnavailable.exit_code == WorkerLost.exit_code == 75
    assert retried(failing(5), "Reading a") == 6


def test_another_fault_comes_at_once_also_at_a_later_attempt(slept):
    with pytest.raises(ValueError, match="mine"):
        retried(failing(1, ValueError("mine")), "a")
    assert slept == []
    faults = iter([PASSING[0], PermissionError("no")])

    def action():
        raise next(faults)

    with pytest.raises(PermissionError):
        retried(action, "a")
    assert len(slept) == 1


def test_an_attempt_within_an_attempt_is_not_multiplied(slept):
    calls = []

    def inner():
        calls.append(1)
        raise PASSING[0]

    with pytest.raises(StorageUnavailable):
        retried(lambda: retried(inner, "inner"), "outer")
    assert len(calls) == 6


def test_it_is_there_before_tensorflow():
    code = "import sys, simclr_med.transient; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
