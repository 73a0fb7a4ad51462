"""Which labelled cases train: a share of the patients, nested, stratified and seeded.

A paper's "10 % of the labels" is 10 % of the *patients*: all their cases, or none.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from simclr_med.data import Bags, pieces
from simclr_med.data.cases import Cases


def chosen_cases(cases: Cases, fraction: float, seed: int) -> np.ndarray:
    """Returns which cases keep their label, bool [n]: those of a share of the labelled patients.

    The patients of each stratum are put into one order that `seed` alone decides, and the first
    `round(fraction * count)` are kept, but at least one. So a smaller fraction is a part of a
    larger one, and no stratum is lost. A patient's stratum is the rarest class, or the rarest
    positive label, among their cases ("none positive" is a stratum too). A class or label whose
    patients all have a rarer one too can be lost.

    Args:
      cases: of the training split.
      fraction: share of the labelled patients, in (0, 1].
      seed: decides the order of the patients.
    """
    labelled = cases.labelled
    names, patient = np.unique(cases.patients, return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(names))  # rank of each patient
    stratum = strata(cases, patient, len(names))
    kept = np.zeros(len(names), bool)
    with_label = np.zeros(len(names), bool)
    with_label[patient[labelled]] = True
    for value in np.unique(stratum[with_label]):
        members = np.flatnonzero(with_label & (stratum == value))
        size = max(1, math.floor(fraction * len(members) + 0.5))
        kept[members[np.argsort(order[members])][:size]] = True
    return kept[patient] & labelled


def strata(cases: Cases, patient: np.ndarray, num_patients: int) -> np.ndarray:
    """Returns the number of each patient's rarest class or positive label, int [patients].

    Args:
      cases: of a split.
      patient: number of each case's patient, int [n].
      num_patients: how many there are; those without a class or positive label are a stratum too.
    """
    if cases.labels.ndim == 2:
        has = cases.labels == 1  # [n, L]
    else:
        has = cases.labels[:, np.newaxis] == np.arange(max(cases.labels.max() + 1, 1))
    of_patient = np.zeros((num_patients, has.shape[1]), bool)
    np.logical_or.at(of_patient, patient, has)
    share = np.where(of_patient, of_patient.sum(0), np.inf)  # of labels the patient lacks: never
    return np.where(of_patient.any(1), share.argmin(1), has.shape[1])


def keep_cases(bags: Bags, cases: Cases, kept: np.ndarray) -> Bags:
    """Returns only the bags of some cases, in their order.

    Args:
      bags: n of them.
      cases: of all `bags`.
      kept: which ones, bool [n].
    """

    def of_kept() -> tf.data.Dataset:
        return _with_mask(bags, kept).filter(lambda _, keep: keep).map(lambda bag, _: bag)

    sizes = cases.num_images[kept].astype(np.int64)
    return bags.changed(
        of_kept,
        lambda known: known.of(kept),
        num_bags=len(sizes),
        num_images=int(sizes.sum()),
        num_multi=None,
        pieces=pieces.keep(bags.pieces, kept, sizes) if bags.pieces else None,
    )


def hide_labels(bags: Bags, kept: np.ndarray) -> Bags:
    """Returns all bags, some of them without their label (pretraining sees them).

    Args:
      bags: n of them.
      kept: which ones keep their label, bool [n].
    """

    def hide(bag, keep):
        label = bag["label"]
        unknown = float("nan") if label.dtype.is_floating else -1
        return {**bag, "label": tf.where(keep, label, tf.cast(unknown, label.dtype))}

    bag_pieces = bags.pieces
    if bag_pieces:
        masked = pieces.with_mask(bag_pieces, kept)
        bag_pieces = dataclasses.replace(bag_pieces, open=lambda i, j: masked(i, j).map(hide))

    def hidden(known: Cases) -> Cases:
        unknown = np.nan if known.labels.ndim == 2 else -1
        keep = kept[:, np.newaxis] if known.labels.ndim == 2 else kept
        labels = np.where(keep, known.labels, np.array(unknown, known.labels.dtype))
        return dataclasses.replace(known, labels=labels)

    return bags.changed(lambda: _with_mask(bags, kept).map(hide), hidden, pieces=bag_pieces)


def _with_mask(bags: Bags, kept: np.ndarray) -> tf.data.Dataset:
    return tf.data.Dataset.zip((bags.dataset, tf.data.Dataset.from_tensor_slices(kept)))


def without_cases(
    labels: np.ndarray, class_names: Sequence[str], shares: np.ndarray | None = None
) -> list[str]:
    """Returns the classes that no case has, or the labels that no case has or that no case lacks.

    Nothing can be learnt of them, chosen by them or measured with them.

    Args:
      labels: int [n], below 0 none; or float [n, L], NaN unknown.
      class_names: of the classes or labels.
      shares: of each case's differential, float [n, classes], where those are what is learnt.
    """
    if labels.ndim == 1:
        missing = _counts(labels, len(class_names), shares) == 0
    else:
        missing = ~((labels == 1).any(0) & (labels == 0).any(0))
    return [name for name, m in zip(class_names, missing, strict=True) if m]


def balanced_weights(
    labels: np.ndarray, num_classes: int, shares: np.ndarray | None = None
) -> np.ndarray:
    """Returns the weight of each class, float32 [classes], or of absence and presence, [L, 2].

    n / (k * count): scikit-learn's "balanced"; k is the number of classes, or 2. A class, presence
    or absence that no case has weighs 0.

    Args:
      labels: int [n], below 0 none; or float [n, L], NaN unknown.
      num_classes: classes or labels.
      shares: of each case's differential, as in `without_cases`: a share counts as that of a case.
    """
    if labels.ndim == 1:
        counts = _counts(labels, num_classes, shares)
        total, kinds = counts.sum(), num_classes
    else:
        counts = np.stack([(labels == 0).sum(0), (labels == 1).sum(0)], axis=1).astype(float)
        total, kinds = counts.sum(1, keepdims=True), 2
    weights = np.where(counts > 0, total / (kinds * np.where(counts > 0, counts, 1)), 0.0)
    return weights.astype(np.float32)


def _counts(labels: np.ndarray, num_classes: int, shares: np.ndarray | None) -> np.ndarray:
    """Returns how many labelled cases each class has, float [classes], shares of a case counted."""
    labelled = labels >= 0
    if shares is not None:
        return shares[labelled].astype(float).sum(0)
    return np.bincount(labels[labelled], minlength=num_classes).astype(float)
