"""Operating points: thresholds for a target specificity or sensitivity, and their values on other cases.

A threshold is chosen on held-out cases and then measured on others; measured on the cases that it was
chosen on, it looks too good. A score at the threshold is a yes.
"""

from __future__ import annotations

import csv
import dataclasses
import io
from typing import Any

import numpy as np

from simclr_med import metrics
from simclr_med.metrics import intervals
from simclr_med.metrics.intervals import Patients
from simclr_med.run_folder import spreadsheet

TARGETS = tuple(
    (what, target) for what in ("specificity", "sensitivity") for target in (0.90, 0.95)
)


@dataclasses.dataclass(frozen=True)
class Chosen:
    """A threshold of a class.

    Attributes:
      what, target: "specificity" or "sensitivity", and its least value on the held-out cases.
      threshold: of the probability; None where the class has too few held-out cases.
      positives, negatives: held-out cases that it was chosen on.
    """

    what: str
    target: float
    threshold: float | None
    positives: int
    negatives: int

    @property
    def title(self) -> str:
        """What it is called: "90% specificity"."""
        return f"{self.target:.0%} {self.what}"


def choose(truth: np.ndarray, scores: np.ndarray) -> list[list[Chosen]]:
    """Returns the operating points of each class, one for each of TARGETS.

    For a specificity the threshold is the lowest that keeps it, with the highest sensitivity; for a
    sensitivity the highest that keeps it, with the fewest false alarms.

    Args:
      truth: of held-out cases, int [n], or float [n, L] with NaN for unknown.
      scores: probabilities, float [n, classes].
    """
    positive, known = metrics.positives(truth, scores.shape[1])
    return [
        [
            _choose(positive[known[:, c], c], scores[known[:, c], c], what, target)
            for what, target in TARGETS
        ]
        for c in range(scores.shape[1])
    ]


def _choose(positive: np.ndarray, scores: np.ndarray, what: str, target: float) -> Chosen:
    side_scores = np.sort(scores[positive if what == "sensitivity" else ~positive])
    counts = int(positive.sum()), int((~positive).sum())
    if min(counts) < intervals.FEWEST or np.isnan(scores).any():
        return Chosen(what, target, None, *counts)
    # The number of them that may be on the wrong side; rounded, because 0.1 * 10 is a little less than 1.
    wrong = int(np.floor(round((1 - target) * len(side_scores), 9)))
    if what == "sensitivity":
        return Chosen(what, target, float(side_scores[wrong]), *counts)
    highest_right = side_scores[len(side_scores) - 1 - wrong]
    above = scores[scores > highest_right]
    threshold = above.min() if len(above) else np.nextafter(highest_right, np.inf)
    return Chosen(what, target, float(threshold), *counts)


def measure(
    chosen: dict[str, list[Chosen]],
    truth: np.ndarray,
    scores: np.ndarray,
    class_names: tuple[str, ...],
    patients: Patients,
) -> list[dict]:
    """Returns sensitivity and specificity at the thresholds, on other cases than they were chosen on.

    Args:
      chosen: {class: its operating points}.
      truth, scores: of labelled cases, as in `choose`.
      class_names: of the scores.
      patients: of the cases.

    Returns:
      A row for each class and operating point that has a threshold: {"class", "chosen_for": in words,
      "threshold", "chosen_on_positives", "chosen_on_negatives", "sensitivity", "sensitivity_95": limits
      over patients or None, "specificity", "specificity_95", "no_interval": {name: why}}.
    """
    positive, known = metrics.positives(truth, scores.shape[1])
    rows = []
    for c, name in enumerate(class_names):
        for point in chosen.get(name, []):
            if point.threshold is None:
                continue
            yes = scores[:, c] >= point.threshold
            row: dict[str, Any] = {
                "class": name,
                "chosen_for": point.title,
                "threshold": point.threshold,
                "chosen_on_positives": point.positives,
                "chosen_on_negatives": point.negatives,
                "no_interval": {},
            }
            for what, right, among in (
                ("sensitivity", yes, positive[:, c]),
                ("specificity", ~yes, ~positive[:, c]),
            ):
                estimate = intervals.share(right, patients, among & known[:, c])
                row |= {
                    what: estimate.value,
                    f"{what}_95": None if estimate.why else estimate.interval,
                }
                if estimate.why:
                    row["no_interval"][what] = estimate.why
            rows.append(row)
    return rows


def to_csv(rows: list[dict]) -> str:
    """Returns the rows of `measure` as a table; an empty cell where there is no interval."""
    header = ["class", "chosen_for", "threshold", "chosen_on_positives", "chosen_on_negatives"]
    columns_of_rate = [
        (what, f"{what}_low", f"{what}_high") for what in ("sensitivity", "specificity")
    ]
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*header, *(name for names in columns_of_rate for name in names)])
    for row in rows:
        cells = [row[name] for name in header]
        for what, *_ in columns_of_rate:
            limits = row[f"{what}_95"] or (None, None)
            cells += ["" if v is None or np.isnan(v) else f"{v:.4f}" for v in (row[what], *limits)]
        writer.writerow(spreadsheet.cells(cells))
    return text.getvalue()
