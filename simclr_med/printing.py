"""What --quiet leaves on the terminal: warnings, notes, results and where files are.

Decided here alone, line by line, for everything that is printed while `only_results` is entered. Whoever
prints a result does so in `result()`; everybody else prints as if there were no --quiet. What goes to
stderr, such as errors, is not touched.
"""

from __future__ import annotations

import contextlib
import io
import re
import sys
from collections.abc import Iterator
from typing import TextIO

# What begins like this must not be missed: what was dropped, chosen for the user or went wrong, a wait
# for something that may never come, the answer to Ctrl-C; and paths of files, which are indented.
_MUST_BE_SEEN = re.compile(
    r"(Warning|Note|Problem): |Using the copy |Not used: |No drop is shown: |Stopp(ing|ed)\b|\S+ failed: "
    r"|.*\b(still waits|waiting) for |The numbers are in |All of it is done already: |  \S.*[/\\]"
)


@contextlib.contextmanager
def only_results(active: bool) -> Iterator[None]:
    """While entered, prints only results and lines that must not be missed, if `active`."""
    if not active:
        yield
        return
    with contextlib.redirect_stdout(_Results(sys.stdout)):
        yield


@contextlib.contextmanager
def result() -> Iterator[None]:
    """While entered, everything printed is a result and is shown with --quiet too. Also a decorator."""
    out = sys.stdout
    if not isinstance(out, _Results):
        yield
        return
    out.depth += 1
    try:
        yield
    finally:
        out.depth -= 1


def is_quiet() -> bool:
    """Returns whether only results are shown, and none is being printed now."""
    return isinstance(sys.stdout, _Results) and not sys.stdout.depth


class _Results(io.TextIOBase):
    """Passes on whole lines that must be seen, and all text while `depth` is above 0."""

    def __init__(self, out: TextIO):
        self.depth = 0
        self._out, self._line = out, ""

    def write(self, text: str) -> int:
        if self.depth:
            self._out.write(text)
            return len(text)
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            if _MUST_BE_SEEN.match(line):
                self._out.write(f"{line}\n")
        return len(text)

    def flush(self) -> None:
        self._out.flush()

    def isatty(self) -> bool:
        """Returns False where text may be dropped, so that no progress bar is drawn."""
        return bool(self.depth) and self._out.isatty()

    @property
    def encoding(self) -> str:  # type: ignore[override]  # rich asks
        return self._out.encoding

    def fileno(self) -> int:
        return self._out.fileno()
