"""The files of --mode=predict: written in parts while it goes on, joined when all cases are done.

predictions_NAME.csv, predictions_NAME_images.csv and, last, predictions_NAME.json, which says of what
they were made. Until then parts are in predictions_NAME.parts/: each is written whole, so that a command
that was stopped, however, goes on behind the last one.
"""

from __future__ import annotations

import collections
import contextlib
import csv
import io
import json
import os
import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from simclr_med import run_folder
from simclr_med.errors import UserError
from simclr_med.evaluation.predict import Scored
from simclr_med.metrics.operating_points import Chosen
from simclr_med.run_folder import files, gfile, read_json, spreadsheet, write_json

# What is counted of the cases, in words.
CASES, IMAGES, UNREADABLE = "cases", "images scored", "image files that could not be read"
WITHOUT, NOTED = "cases without a readable image", "cases with a note"
_TOP = 3
_MADE_OF = "made_of.json"
_PART = re.compile(r"part-(\d{9})\.json")


class PredictionFiles:
    """Writes the predictions of some cases into a folder.

    Args:
      folder: to write into; made if it is missing.
      suffix: of the names, "_NAME".
      made_of: all that decides the predictions, to go on with the same only.
      class_names: of the classes or labels.
      multilabel: whether a case can have several of them.
      thresholds: {label: threshold}; {} without.
      operating_points: of --positive_class; [] without.
      positive_class: the class that these are of.
      num_members: classifiers whose probabilities are averaged.
      calibrated: whether there are calibrated probabilities.
      per_image: whether there is a table of images too.
    """

    def __init__(
        self,
        folder: str,
        suffix: str,
        made_of: dict[str, Any],
        *,
        class_names: tuple[str, ...],
        multilabel: bool,
        thresholds: dict[str, float],
        num_members: int,
        per_image: bool,
        operating_points: Sequence[Chosen] = (),
        positive_class: str | None = None,
        calibrated: bool = False,
    ):
        stem = os.path.join(folder, f"predictions{suffix}")
        self.table, self.images, self.facts = f"{stem}.csv", f"{stem}_images.csv", f"{stem}.json"
        self._parts = f"{stem}.parts"
        self._made_of = json.loads(json.dumps(made_of))
        self._names, self._multilabel = class_names, multilabel
        self._num_members = num_members
        self._per_image = per_image
        self._calibrated = calibrated
        # name of the column -> (class, threshold)
        self._verdicts = {f"positive: {name}": (name, t) for name, t in thresholds.items()}
        for point in operating_points:
            title = f"{positive_class} at {point.title}"
            self._verdicts[title] = str(positive_class), float(point.threshold or 0)
        self._done = 0

    def locked(self) -> contextlib.AbstractContextManager:
        """Holds the parts for this process.

        Raises:
          UserError: another process writes them.
        """
        return run_folder.locked(
            self._parts, f"{self.table} is being written by another command: wait for it."
        )

    def are_done(self) -> bool:
        """Returns whether the files are there already.

        Raises:
          UserError: files of that name are of other cases, weights or options.
        """
        for path in (self.facts, self.table):
            begun = path == self.table and self._begun()  # and killed while it was joining parts
            if gfile.exists(path) and not begun and not self._is_the_same(self.facts):
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
        part: dict[str, Any] = {"cases": _csv(map(self._row, cases)), "counts": self._counts(cases)}
        if self._per_image:
            part["images"] = _csv(row for case in cases for row in self._rows_of_images(case))
        files.write_atomically(self._part(self._done), json.dumps(part))

    def finish(self, facts: dict[str, Any]) -> tuple[list[str], dict[str, int]]:
        """Joins the parts and removes them; returns the paths of the files, and counts of all cases.

        Args:
          facts: what else predictions_NAME.json is to say.
        """
        counts: collections.Counter = collections.Counter()
        wanted = {"cases": (self.table, self._header())}
        if self._per_image:
            wanted["images"] = (self.images, self._header_of_images())
        for key, (path, header) in wanted.items():
            with files.writing(path) as local, open(local, "wb") as out:
                out.write(_csv([header]).encode())
                for end in sorted(self._ends()):
                    part = json.loads(files.read_text(self._part(end)))
                    out.write(part[key].encode("utf-8", "backslashreplace"))
                    if key == "cases":
                        counts.update(part["counts"])
        write_json(self.facts, {**facts, "counts": counts, "made_of": self._made_of})
        gfile.rmtree(self._parts)
        return [*(path for path, _ in wanted.values()), self.facts], dict(counts)

    def _ends(self) -> list[int]:
        """Returns, of each part, how many cases are done with it."""
        found = map(_PART.fullmatch, files.names(self._parts))
        return [int(match[1]) for match in found if match]

    def _counts(self, cases: list[Scored]) -> collections.Counter:
        """Returns what is counted of some cases, by the words that the terminal has for it."""
        scored = [case for case in cases if case.probabilities is not None]
        counts = collections.Counter(
            {
                CASES: len(cases),
                IMAGES: sum(len(case.image_ids) for case in cases),
                UNREADABLE: sum(len(case.unreadable) for case in cases),
                WITHOUT: len(cases) - len(scored),
                NOTED: sum(any(case.notes) for case in cases),
            }
        )
        if not self._multilabel:
            best = (np.mean(case.probabilities, axis=0).argmax() for case in scored)
            counts.update(f"predicted: {self._names[i]}" for i in best)
        return counts

    def _part(self, end: int) -> str:
        return os.path.join(self._parts, f"part-{end:09d}.json")

    def _begun(self) -> bool:
        """Returns whether parts of the same cases and weights are there."""
        return self._is_the_same(os.path.join(self._parts, _MADE_OF))

    def _is_the_same(self, path: str) -> bool:
        """Returns whether a file says that it is of the same cases and weights."""
        return gfile.exists(path) and read_json(path).get("made_of") == self._made_of

    def _header(self) -> list[str]:
        names = list(self._names)
        return [
            *("case_id", "patient_id", "num_images"),
            *([] if self._multilabel else ["prediction"]),
            *names,
            *(f"spread: {name}" for name in names if self._num_members > 1),
            *(f"calibrated: {name}" for name in names if self._calibrated),
            *self._verdicts,
            *([] if self._multilabel else [f"top_{min(_TOP, len(names))}"]),
            *("distance", "notes", "unreadable"),
        ]

    def _row(self, case: Scored) -> list[Any]:
        names, found = self._names, case.probabilities
        empty = found is None
        mean = np.full(len(names), np.nan) if found is None else found.mean(axis=0)
        spread = np.full(len(names), np.nan) if found is None else np.ptp(found, axis=0)
        order = np.argsort(-mean, kind="stable")[:_TOP]
        positive = [
            "" if empty else int(mean[names.index(name)] >= threshold)
            for name, threshold in self._verdicts.values()
        ]
        scaled = np.full(len(names), np.nan) if case.calibrated is None else case.calibrated
        best = "" if empty else names[order[0]]
        top = "" if empty else "; ".join(names[i] for i in order)
        return [
            *(case.case_id, case.patient_id, len(case.image_ids)),
            *([] if self._multilabel else [best]),
            *map(_number, mean),
            *(map(_short, spread) if self._num_members > 1 else ()),
            *(map(_short, scaled) if self._calibrated else ()),
            *positive,
            *([] if self._multilabel else [top]),
            "" if case.distances is None else _short(case.distances.max()),
            _notes(case),
            "; ".join(f"{name} ({reason})" for name, reason in case.unreadable),
        ]

    def _header_of_images(self) -> list[str]:
        return ["case_id", "image_id", *self._names, "notes"]

    def _rows_of_images(self, case: Scored) -> Iterable[list[Any]]:
        if case.of_images is not None:
            mean = case.of_images.mean(axis=0)
            for name, row, notes in zip(case.image_ids, mean, case.notes):
                yield [case.case_id, name, *map(_number, row), "; ".join(notes)]
        for name, reason in case.unreadable:
            yield [case.case_id, name, *[""] * len(self._names), f"not read: {reason}"]


def _notes(case: Scored) -> str:
    """Returns what there is to say of a case's images."""
    if case.probabilities is None:
        return "no image that can be read"
    return "; ".join(
        f"{name}: {', '.join(notes)}" for name, notes in zip(case.image_ids, case.notes) if notes
    )


def _number(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.9g}"


def _short(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.4f}"


def _csv(rows: Iterable[Iterable[Any]]) -> str:
    rows = [spreadsheet.cells(row) for row in rows]
    text = io.StringIO(newline="")
    # Python's csv module, before 3.13, quotes no carriage return.
    odd = any("\r" in cell for row in rows for cell in row if isinstance(cell, str))
    csv.writer(
        text, lineterminator="\n", quoting=csv.QUOTE_ALL if odd else csv.QUOTE_MINIMAL
    ).writerows(rows)
    return text.getvalue()
