"""Collects the problems of a folder's tables, so that one error message names all of them."""

import collections
import csv
import dataclasses
import io
import os
from collections.abc import Iterator

from etils import epath

from tfds_builders.errors import DataError

SHOWN = 10  # problems in the error message; the CSV file has all
COLUMNS = ("kind", "file", "row", "problem", "advice")


@dataclasses.dataclass(frozen=True)
class Problem:
    """One thing to mend."""

    kind: str  # in the plural: "missing images"
    file: str  # the table, or the image where there is no table
    row: int | str | None  # as a spreadsheet counts, or "2, image 3"; None for the whole file
    what: str
    advice: str

    @property
    def location(self) -> str:
        return self.file if self.row is None else f"{self.file}, row {self.row}"


class Problems:
    """Problems collected while tables are read, then raised as one error."""

    def __init__(self) -> None:
        self._problems: list[Problem] = []

    def add(self, kind: str, file: str, row: int | str | None, what: str, advice: str) -> None:
        """Adds one problem.

        Args:
          kind: in the plural, such as "missing images".
          file: the table, or the image if there is no table.
          row: as a spreadsheet counts; None for the whole file.
          what: what is wrong.
          advice: what to do.
        """
        self._problems.append(Problem(kind, file, row, what, advice))

    def __iter__(self) -> Iterator[Problem]:
        return iter(self._problems)

    def __len__(self) -> int:
        return len(self._problems)

    def raise_if_any(self) -> None:
        """Raises DataError for one problem, ProblemsError for several; does nothing for none."""
        if len(self._problems) == 1:
            (only,) = self._problems
            raise DataError(f"{only.location}: {only.what}: {only.advice}.")
        if self._problems:
            raise ProblemsError(tuple(self._problems))


class ProblemsError(DataError):
    """Several problems: the message shows the first ten, `problems` are all of them."""

    def __init__(self, problems: tuple[Problem, ...]):
        super().__init__(_message(problems))
        self.problems = problems


def write_csv(problems: tuple[Problem, ...], path: str) -> None:
    """Writes all problems, a row each.

    Args:
      problems: all of them.
      path: of the file, local or remote.

    Raises:
      OSError: it cannot be written.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for p in problems:
        writer.writerow([p.kind, p.file, "" if p.row is None else p.row, p.what, p.advice])
    file = epath.Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"\xef\xbb\xbf" + text.getvalue().encode("utf-8", "backslashreplace"))


def _message(problems: tuple[Problem, ...]) -> str:
    """Returns the counts by kind, then `SHOWN` problems, some of each kind, with what to do."""
    by_kind: dict[str, list[Problem]] = {}
    for problem in problems:
        by_kind.setdefault(problem.kind, []).append(problem)
    folder = os.path.commonpath([os.path.dirname(p.file) for p in problems])
    counts = ", ".join(f"{kind} ({len(of_kind):,})" for kind, of_kind in by_kind.items())
    lines = [f"{len(problems):,} problems in {folder}: {counts}."]
    shares = _shares([len(of_kind) for of_kind in by_kind.values()])
    for (kind, of_kind), share in zip(by_kind.items(), shares):
        lines.append(f"  {kind}:")
        advice = collections.Counter(p.advice for p in of_kind).most_common(1)[0][0]
        for p in of_kind[:share]:
            own_advice = "" if p.advice == advice else f": {p.advice}"
            lines.append(f"    {os.path.relpath(p.location, folder)}: {p.what}{own_advice}.")
        if len(of_kind) > share:
            lines.append(f"    and {len(of_kind) - share:,} more.")
        lines.append(f"    What to do: {advice}.")
    return "\n".join(lines)


def _shares(sizes: list[int]) -> list[int]:
    """Returns how many of each kind are shown: one in turn, until there are `SHOWN`."""
    shares = [0] * len(sizes)
    while sum(shares) < min(SHOWN, sum(sizes)):
        for i, size in enumerate(sizes):
            if shares[i] < size and sum(shares) < SHOWN:
                shares[i] += 1
    return shares
