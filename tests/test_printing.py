"""--quiet: what it leaves on the terminal, and what it drops; warnings and results are never dropped."""

import contextlib
import io
import logging
import os
import subprocess
import sys

import pytest

from helpers import ROOT
from simclr_med import printing
from simclr_med.commands import main, quiet
from simclr_med.errors import UserError
from simclr_med.run_folder import terminal


def shown(print_it, active=True):
    out = io.StringIO()
    with contextlib.redirect_stdout(out), printing.only_results(active):
        print_it()
    return out.getvalue()


@pytest.mark.parametrize(
    "line",
    [
        "Warning: checkpoint ckpt-3 is damaged; it is passed over.",
        "Note: no training case of class a: it cannot be learnt.",
        "Problem: row 3 has no image.",
        "Stopping after this step and saving...",
        "Stopped. The same command goes on from runs/x.",
        "lr_0.1 failed: The loss is no longer finite.",
        "Worker 0 of 2 at a:1 still waits for b:1 (refused)",
        "Another evaluation writes its results to x: waiting for it.",
        "The numbers are in a/compare.json and a/compare.csv.",
        "  runs/x/report.html  all of it, to read or to hand on",
        "  /a folder/best.json",
        "  gs://bucket/run/result.json  all numbers",
    ],
)
def test_what_must_be_seen_is_seen(line):
    assert shown(lambda: print(f"step 1/9  loss 3.1\n{line}\nNext: run.py")) == f"{line}\n"


@pytest.mark.parametrize(
    "line",
    [
        "step 10/250  loss 3.363 (chance 4.844)  1.2 steps/s  ETA 0:03:00",
        "Next: python run.py --mode=eval",
        "Labels of 3 of 4 labelled cases",
        "The model of runs/x/ckpt-3.",
        "  row 3 of 4",
        "1,024 of 10,000 cases  52 cases/s  ETA 0:02:52",
        "A Warning: not at the beginning of a line",
        "",
    ],
)
def test_all_else_is_dropped(line):
    assert shown(lambda: print(line)) == ""
    assert shown(lambda: print(line), active=False) == f"{line}\n"


def test_results_and_tables_are_seen_whole_and_only_they():
    def print_it():
        print("before", end="")
        with printing.result():
            print("a result", end="")
            with printing.result():
                print(", and more")
            print("of it")
        print("after")
        terminal.show([("Title", ["", "number"], [["cases", "3"]])])
        assert printing.is_quiet()

    lines = shown(print_it).splitlines()
    assert lines[:2] == ["a result, and more", "of it"]
    assert "Title" in lines[2] and any("cases" in line for line in lines)
    assert not any(word in line for line in lines for word in ("before", "after"))


def test_lines_may_come_in_pieces():
    def print_it():
        print("War", end="")
        sys.stdout.flush()
        print("ning: in two pieces\nstep", end="")
        print(" 2\nWarning: without an end", end="")

    assert shown(print_it) == "Warning: in two pieces\n"


def test_nobody_draws_a_progress_bar(monkeypatch):
    out = io.StringIO()
    monkeypatch.setattr(out, "isatty", lambda: True)
    with contextlib.redirect_stdout(out):
        with printing.only_results(True):
            assert not sys.stdout.isatty()
            with printing.result():
                assert sys.stdout.isatty()
        assert sys.stdout is out and not printing.is_quiet()


def test_an_error_ends_it():
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        with pytest.raises(KeyError), printing.only_results(True), printing.result():
            raise KeyError
        print("after")
    assert out.getvalue() == "after\n"


def test_quiet_and_verbose_are_not_given_together():
    with pytest.raises(UserError, match="--quiet and --verbose"):
        main.run(["run.py", "--quiet", "--verbose"])


LOGS = f"""
import os, sys
sys.path.insert(0, {str(ROOT)!r})
from simclr_med.commands import quiet
quiet.import_tensorflow(verbose=sys.argv[1:] == ["verbose"])
print(os.environ["TF_CPP_MIN_LOG_LEVEL"])
"""


@pytest.mark.slow
@pytest.mark.one_stack
def test_verbose_shows_the_log_lines_of_tensorflow():
    def run(*arguments, **also):
        remaining = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
        command = [sys.executable, "-c", LOGS, *arguments]
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, env={**remaining, **also}
        )
        return done.stdout.strip(), "oneDNN custom operations" in done.stderr

    assert run() == ("3", False)
    assert run("verbose") == ("0", True)
    assert run("verbose", TF_CPP_MIN_LOG_LEVEL="2")[0] == "2"  # the user's own


def test_the_level_of_logs():
    loggers = [logging.getLogger(name) for name in ("tensorflow", "absl", "urllib3")]
    before = [logger.level for logger in loggers]
    try:
        for verbose, level in ((False, logging.ERROR), (True, logging.INFO)):
            quiet.set_level_of_logs(verbose)
            assert {logger.level for logger in loggers} == {level}
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
