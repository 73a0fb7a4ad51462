"""Predictions as a table: a row for each case and, on request, one for each image."""

from __future__ import annotations

import collections
from collections.abc import Iterator
from typing import Any

import numpy as np

from simclr_med.evaluation.ensemble import Ensemble
from simclr_med.evaluation.predict import Scored

# What is counted of the cases, in words.
CASES, IMAGES, UNREADABLE = "cases", "images scored", "image files that could not be read"
WITHOUT, NOTED = "cases without a readable image", "cases with a note"
_TOP = 3
_SHORT = 4  # decimals of values that are for reading only


class PredictionTable:
    """The columns of predictions, and the cells of a case; None where there is nothing to say.

    Args:
      ensemble: which made the predictions.
      positive_class: whose operating points give verdicts; None: no verdicts.

    Raises:
      UserError: there are no operating points of that class.
    """

    def __init__(self, ensemble: Ensemble, positive_class: str | None = None):
        self._names, self._multilabel = ensemble.class_names, ensemble.multilabel
        self._is_ensemble = len(ensemble.members) > 1
        self._calibrated = ensemble.is_calibrated
        # name of the column -> (class, threshold)
        self._verdicts = {f"positive: {n}": (n, t) for n, t in ensemble.thresholds.items()}
        for point in ensemble.operating_points(positive_class):
            title = f"{positive_class} at {point.title}"
            self._verdicts[title] = str(positive_class), float(point.threshold or 0)

    @property
    def columns(self) -> list[str]:
        """Names of the columns of `row`."""
        names = self._names
        return [
            *("case_id", "patient_id", "num_images"),
            *([] if self._multilabel else ["prediction"]),
            *names,
            *(f"spread: {name}" for name in names if self._is_ensemble),
            *(f"calibrated: {name}" for name in names if self._calibrated),
            *self._verdicts,
            *([] if self._multilabel else [f"top_{min(_TOP, len(names))}"]),
            *("distance", "notes", "unreadable"),
        ]

    def row(self, case: Scored) -> list[Any]:
        """Returns the cells of a case.

        `spread` is the largest less the smallest probability that a member gives; `distance` that of the
        image that is the least like the training images.
        """
        unreadable = "; ".join(f"{name} ({reason})" for name, reason in case.unreadable)
        start = [case.case_id, case.patient_id, len(case.image_ids)]
        if case.probabilities is None:
            nothing = [None] * (len(self.columns) - len(start) - 2)
            return [*start, *nothing, "no image that can be read", unreadable]
        mean, names = case.probabilities.mean(axis=0), self._names
        order = np.argsort(-mean, kind="stable")[:_TOP]
        notes = (
            f"{name}: {', '.join(image_notes)}"
            for name, image_notes in zip(case.image_ids, case.notes)
            if image_notes
        )
        return [
            *start,
            *([] if self._multilabel else [names[order[0]]]),
            *mean.tolist(),
            *(_short(np.ptp(case.probabilities, axis=0)) if self._is_ensemble else ()),
            *(() if case.calibrated is None else _short(case.calibrated)),
            *(int(mean[names.index(name)] >= limit) for name, limit in self._verdicts.values()),
            *([] if self._multilabel else ["; ".join(names[i] for i in order)]),
            *([None] if case.distances is None else _short(case.distances.max(keepdims=True))),
            "; ".join(notes),
            unreadable,
        ]

    @property
    def columns_of_images(self) -> list[str]:
        """Names of the columns of `rows_of_images`."""
        return ["case_id", "image_id", *self._names, "notes"]

    def rows_of_images(self, case: Scored) -> Iterator[list[Any]]:
        """Yields the cells of each image of a case, also of those that could not be read."""
        if case.of_images is not None:
            mean = case.of_images.mean(axis=0)
            for name, row, notes in zip(case.image_ids, mean.tolist(), case.notes):
                yield [case.case_id, name, *row, "; ".join(notes)]
        for name, reason in case.unreadable:
            yield [case.case_id, name, *[None] * len(self._names), f"not read: {reason}"]

    def counts(self, cases: list[Scored]) -> collections.Counter:
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


def _short(values: np.ndarray) -> list[float]:
    return np.round(values, _SHORT).tolist()
