"""Transient faults of remote storage, networks and network file systems: retried, then exit code 75.

Not tenacity: what counts as passing, and what is printed, would have to be written here anyway,
and what is left of it is a loop. TensorFlow is not imported: its errors are known by their names.
"""

from __future__ import annotations

import errno
import random
import re
import time
from collections.abc import Callable
from typing import Any, TypeVar

from simclr_med.errors import StorageUnavailable, UserError

T = TypeVar("T")

WAITS = (1.0, 2.0, 4.0, 8.0, 16.0)  # seconds before the second, third, ... attempt
# tf.errors; and what requests, urllib3, aiohttp, botocore and gRPC raise where a connection fails.
_NAMES = {"UnavailableError", "AbortedError", "DeadlineExceededError"}
_NAMES |= {"ConnectTimeout", "ReadTimeout", "ReadTimeoutError", "ConnectTimeoutError", "Timeout"}
_NAMES |= {"NewConnectionError", "ProtocolError", "ChunkedEncodingError", "IncompleteRead"}
_NAMES |= {"ClientConnectionError", "ClientPayloadError", "EndpointConnectionError"}
_NAMES |= {"ServiceUnavailable", "TooManyRequests", "GatewayTimeout", "BadGateway"}
_MODULES_OF_CONNECTIONS = ("requests", "urllib3", "botocore", "httpx")  # "ConnectionError" of these
_ERRNOS = {
    getattr(errno, name)
    for name in (
        *("ETIMEDOUT", "ECONNRESET", "ECONNREFUSED", "ECONNABORTED", "EHOSTUNREACH", "EHOSTDOWN"),
        *("ENETUNREACH", "ENETDOWN", "ENETRESET", "ESTALE", "EREMOTEIO", "EAGAIN"),
    )
    if hasattr(errno, name)
}
_STATUS = {408, 429, 500, 502, 503, 504}  # https://cloud.google.com/storage/docs/retry-strategy
_GRPC = {"UNAVAILABLE", "ABORTED", "DEADLINE_EXCEEDED"}
# Errors whose text may say it, because their type says nothing.
_VAGUE = {"UnknownError", "InternalError", "FailedPreconditionError", "ResourceExhaustedError"}
_VAGUE |= {"OpError", "OSError", "RuntimeError", "HttpError", "ClientError", "Exception"}
_TEXT = re.compile(
    r"\bHTTP\b[^\n]{0,30}?\b(?:408|429|50[0234])\b"
    r"|\b(?:status|code)(?: code)?\W{1,3}(?:408|429|50[0234])\b"
    r"|\b(?:429 Too Many|500 Internal Server|502 Bad Gateway|503 Service|504 Gateway)"
    r"|service (?:is )?(?:temporarily )?unavailable|too many requests|bad gateway|gateway time-?out"
    r"|rateLimitExceeded|backendError|SlowDown\b|connection reset by peer|connection timed out"
    r"|stale file handle|temporary failure in name resolution|libcurl code (?:6|7|28|52|55|56)\b",
    re.IGNORECASE,
)


def is_transient(error: BaseException) -> bool:
    """Returns whether an error is transient, so that the same action may succeed later.

    By its type, its errno, its HTTP or gRPC status or, where these say nothing, its text; an error
    that was raised from such a one is one too, unless it is a UserError.
    """
    if isinstance(error, UserError | StorageUnavailable | BrokenPipeError) or not isinstance(
        error, Exception
    ):
        return False
    names = {kind.__name__ for kind in type(error).__mro__}
    if names & _NAMES or isinstance(error, ConnectionError | TimeoutError):
        return True
    if "ConnectionError" in names and type(error).__module__.startswith(_MODULES_OF_CONNECTIONS):
        return True
    if isinstance(error, OSError) and error.errno in _ERRNOS:
        return True
    if _status_of(error) in _STATUS | _GRPC:
        return True
    is_vague = type(error).__name__ in _VAGUE and not getattr(error, "errno", None)
    if is_vague and _TEXT.search(str(error)):
        return True
    return error.__cause__ is not None and is_transient(error.__cause__)


def retried(action: Callable[[], T], what: str) -> T:
    """Returns what `action` returns; after a transient fault it is tried again.

    Each wait is printed. An action has to be one that may be repeated.

    Args:
      action: without arguments.
      what: it does, for messages: "reading gs://BUCKET/a.json".

    Raises:
      StorageUnavailable: it failed so at every attempt.
    """
    attempts = len(WAITS) + 1
    for attempt in range(1, attempts):
        try:
            return action()
        except Exception as error:
            if not is_transient(error):
                raise
            wait = WAITS[attempt - 1] * random.uniform(1, 1.25)  # many workers, not all at once
            print(
                f"Warning: {what} failed ({described(error)}); attempt {attempt + 1} of {attempts} "
                f"in {wait:.1f} s.",
                flush=True,
            )
            time.sleep(wait)
    try:
        return action()
    except Exception as error:
        if not is_transient(error):
            raise
        raise StorageUnavailable(
            f"{what} failed {attempts} times ({described(error)}). {ADVICE}"
        ) from error


ADVICE = (
    "Storage or network do not answer just now: what was saved is kept, and nothing in your command is "
    "wrong. Give the same command again later."
)


def described(error: BaseException) -> str:
    """Returns type and first line of an error."""
    text = first_line(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def first_line(error: BaseException, length: int = 300) -> str:
    """Returns the message of an error in one line, without TensorFlow's names of operations.

    Args:
      error: of any library.
      length: characters at most.
    """
    text = str(getattr(error, "message", "") or error)
    lines = re.sub(r"\{\{[^}]*\}\}|\[Op:\w+\]( name:)?", "", text).strip().splitlines()
    return lines[0][:length].rstrip(". ") if lines else ""


def _status_of(error: Exception) -> int | str | None:
    """Returns the HTTP status (int) or name of the gRPC status that an error carries, if any."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):  # botocore's
        response = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    for holder in (error, response):
        for name in ("status", "status_code", "code"):
            value: Any = getattr(holder, name, None)
            if callable(value) and type(error).__module__.startswith("grpc"):
                value = getattr(value(), "name", None)
            if str(value).isdigit():
                return int(str(value))  # also http.HTTPStatus
            if isinstance(value, str):
                return value
    return response if isinstance(response, int) else None
