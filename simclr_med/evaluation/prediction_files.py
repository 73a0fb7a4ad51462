"""The files of --mode=predict: written in parts while it runs, joined when all cases are done.

predictions_NAME.csv, predictions_NAME_images.csv and, last, predictions_NAME.json, which says what they
were made from. Until then parts are in predictions_NAME.parts/: each is written atomically, so that an
interrupted command resumes after the last one.
"""

from __future__ import annotations

import collections
import contextlib
import csv
import io
import json
import os
import re
from collections.abc import Iterable
from typing import Any

from simclr_med import run_folder
from simclr_med.errors import UserError
from simclr_med.evaluation.predict import Scored
from simclr_med.evaluation.prediction_table import PredictionTable
from simclr_med.run_folder import files, gfile, read_json, spreadsheet, write_json

_MADE_OF = "made_of.json"
_PART = re.compile(r"part-(\d{9})\.json")


class PredictionFiles:
    """Writes the predictions of some cases into a folder.

    Args:
      folder: to write into; made if it is missing.
      suffix: of the names, "_NAME".
      made_of: all that shapes the predictions, to resume only with the same.
      table: the columns and cells.
      per_image: whether there is a table of images too.
    """

    def __init__(
        self,
        folder: str,
        suffix: str,
        made_of: dict[str, Any],
        table: PredictionTable,
        *,
        per_image: bool,
    ):
        stem = os.path.join(folder, f"predictions{suffix}")
        self.path, self.images, self.facts = f"{stem}.csv", f"{stem}_images.csv", f"{stem}.json"
        self._parts = f"{stem}.parts"
        self._made_of = json.loads(json.dumps(made_of))
        self._table, self._per_image = table, per_image
        self._done = 0

    def locked(self) -> contextlib.AbstractContextManager:
        """Locks the parts for this process.

        Raises:
          UserError: another process writes them.
        """
        return run_folder.locked(
            self._parts, f"{self.path} is being written by another command: wait for it."
        )

    def are_done(self) -> bool:
        """Returns whether the files exist already.

        Raises:
          UserError: files of that name are of other cases, weights or options.
        """
        for path in (self.facts, self.path):
            is_joining = (
                path == self.path and self._begun()
            )  # and killed while it was joining parts
            if gfile.exists(path) and not is_joining and not self._is_the_same(self.facts):
                raise UserError(
                    f"{path} is there already, of other cases, weights or options: give another "
                    "--eval_name=NAME, or move it away."
                )
        return gfile.exists(self.facts)

    def begin(self) -> int:
        """Returns how many cases are done already; parts of other cases or weights are removed."""
        path = os.path.join(self._parts, _MADE_OF)
        if not self._begun():
            if ends := self._ends():
                print(f"Note: {self._parts} is of other cases or weights: begun again.")
            for end in ends:
                gfile.remove(self._part(end))
        write_json(path, {"made_of": self._made_of})
        self._done = max(self._ends(), default=0)
        return self._done

    def write(self, cases: list[Scored]) -> None:
        """Writes the next cases as a part."""
        if not cases:
            return
        self._done += len(cases)
        part: dict[str, Any] = {
            "cases": _csv(map(self._table.row, cases)),
            "counts": self._table.counts(cases),
        }
        if self._per_image:
            part["images"] = _csv(row for case in cases for row in self._table.rows_of_images(case))
        files.write_atomically(self._part(self._done), json.dumps(part))

    def finish(self, facts: dict[str, Any]) -> tuple[list[str], dict[str, int]]:
        """Joins the parts and removes them; returns the paths of the files, and counts of all cases.

        Args:
          facts: what else predictions_NAME.json is to say.
        """
        counts: collections.Counter = collections.Counter()
        tables = {"cases": (self.path, self._table.columns)}
        if self._per_image:
            tables["images"] = (self.images, self._table.columns_of_images)
        for key, (path, header) in tables.items():
            with files.writing(path) as local, open(local, "wb") as out:
                out.write(_csv([header]).encode())
                for end in sorted(self._ends()):
                    part = json.loads(files.read_text(self._part(end)))
                    out.write(part[key].encode("utf-8", "backslashreplace"))
                    if key == "cases":
                        counts.update(part["counts"])
        write_json(self.facts, {**facts, "counts": counts, "made_of": self._made_of})
        gfile.rmtree(self._parts)
        return [*(path for path, _ in tables.values()), self.facts], dict(counts)

    def _ends(self) -> list[int]:
        """Returns for each part how many cases are done up to its end."""
        matches = map(_PART.fullmatch, files.names(self._parts))
        return [int(match[1]) for match in matches if match]

    def _part(self, end: int) -> str:
        return os.path.join(self._parts, f"part-{end:09d}.json")

    def _begun(self) -> bool:
        """Returns whether parts of the same cases and weights exist."""
        return self._is_the_same(os.path.join(self._parts, _MADE_OF))

    def _is_the_same(self, path: str) -> bool:
        """Returns whether a file says that it is of the same cases and weights."""
        return gfile.exists(path) and read_json(path).get("made_of") == self._made_of


def _csv(rows: Iterable[Iterable[Any]]) -> str:
    """Returns rows as CSV: nothing for None, floats so that they can be calculated with."""
    written = [[_cell(value) for value in row] for row in rows]
    text = io.StringIO(newline="")
    # Python's csv module, before 3.13, quotes no carriage return.
    odd = any("\r" in cell for row in written for cell in row)
    csv.writer(
        text, lineterminator="\n", quoting=csv.QUOTE_ALL if odd else csv.QUOTE_MINIMAL
    ).writerows(written)
    return text.getvalue()


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.9g}"
    return "" if value is None else str(spreadsheet.cell(value))
