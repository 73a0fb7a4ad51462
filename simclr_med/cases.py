"""The evaluated cases: who they are, what they have, and how well scores agree with that.

The unit is the case, never the image; intervals resample patients.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from simclr_med import metrics
from simclr_med.data import Bags


@dataclasses.dataclass(frozen=True)
class Cases:
    """The evaluated cases of a split.

    Attributes:
      ids: [n].
      patients: [n].
      labels: int [n], below 0 none; or, of several labels a case, float [n, L], NaN unknown.
    """

    ids: np.ndarray
    patients: np.ndarray
    labels: np.ndarray

    @property
    def labelled(self) -> np.ndarray:
        """Returns which cases have a label, bool [n]."""
        if self.labels.ndim == 2:
            return ~np.isnan(self.labels).all(axis=1)
        return self.labels >= 0


def read_cases(bags: Bags, max_cases: int) -> Cases:
    """Returns who is in a split; no image is decoded."""
    rows = [
        (bag["bag_id"].decode(), bag["patient_id"].decode(), bag["label"])
        for bag in bags.dataset.take(max_cases or -1)
        .map(lambda bag: {k: bag[k] for k in ("bag_id", "patient_id", "label")})
        .as_numpy_iterator()
    ]
    ids, patients, labels = zip(*rows)
    return Cases(np.array(ids), np.array(patients), np.array(labels))


def classification(cases: Cases, scores: np.ndarray, class_names, seed: int) -> dict:
    """Returns metrics over the labelled cases, each with its 95 % interval by patient.

    Of one class a case: top-1 and macro-AUC; of several labels: macro-AUC and macro-AP. `per_class`
    has AUC and counts of each, so that an undefined AUC (None) explains itself.
    """
    labelled = cases.labelled
    truth, scores, patients = cases.labels[labelled], scores[labelled], cases.patients[labelled]
    result: dict = {"cases": int(labelled.sum()), "patients": len(np.unique(patients))}
    of_several = {"macro_auc": metrics.macro_roc_auc, "macro_ap": metrics.macro_average_precision}
    of_one = {"top_1": metrics.top_1, "macro_auc": metrics.macro_roc_auc}
    for name, metric in (of_several if truth.ndim == 2 else of_one).items():
        result[name] = float(metric(truth, scores))
        of_weights = functools.partial(metric, truth, scores)
        result[f"{name}_95"] = metrics.bootstrap(of_weights, patients, seed=seed)
    positive, known = metrics.positives(truth, scores.shape[1])
    aucs = metrics.per_class(metrics.roc_auc, truth, scores)
    result["per_class"] = {
        name: {
            "auc": float(aucs[c]),
            "positives": int((positive & known)[:, c].sum()),
            "negatives": int((~positive & known)[:, c].sum()),
        }
        for c, name in enumerate(class_names)
    }
    return result
