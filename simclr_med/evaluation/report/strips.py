"""Which cases report.html shows as pictures: the worst errors, and their nearest neighbours."""

from __future__ import annotations

import dataclasses

import numpy as np

from simclr_med.data.cases import Cases

_CHUNK = 4096


@dataclasses.dataclass(frozen=True)
class Strips:
    """Indices of cases.

    Attributes:
      errors: cases of the highest loss, highest first, int [e].
      hits: cases of one class that the model is right about and surest of, surest first, int [h].
      queries: cases whose neighbours are shown, int [q].
      neighbours: the nearest cases of other patients, nearest first, int [q, k]; k is smaller
        than requested where there are too few, and -1 fills up a row.
      cosines: of a query's and its neighbour's features, float [q, k]; NaN where there is none.
    """

    errors: np.ndarray
    hits: np.ndarray
    queries: np.ndarray
    neighbours: np.ndarray
    cosines: np.ndarray

    @property
    def pictures(self) -> list[int]:
        """Returns which cases need a picture, ascending."""
        shown = np.concatenate([self.errors, self.hits, self.queries, self.neighbours.ravel()])
        return [int(i) for i in np.unique(shown) if i >= 0]


def choose_cases(
    cases: Cases,
    scores: np.ndarray | None,
    features: np.ndarray | None,
    *,
    num_errors: int = 12,
    num_hits: int = 6,
    num_queries: int = 6,
    num_neighbours: int = 5,
    seed: int = 0,
) -> Strips:
    """Returns the cases to show; equal arguments give equal cases.

    Args:
      cases: the evaluated cases, n of them.
      scores: probabilities, float [n, classes]; None without any labels.
      features: of the encoder, float [n, d]; None: of no one encoder, so there are no queries.
      num_errors: maximum number of errors.
      num_hits: maximum number of hits, of as many different classes as there are.
      num_queries: maximum number of queries, of as many different classes as there are.
      num_neighbours: maximum number of neighbours of each.
      seed: draws the queries.
    """
    loss = np.full(len(cases.ids), np.nan) if scores is None else losses(cases.labels, scores)
    order = np.argsort(-loss, kind="stable")  # NaN comes last
    errors = order[: min(num_errors, int(np.isfinite(loss).sum()))]
    hits = _hits(cases, scores, loss, num_hits)
    if features is None:
        return Strips(errors, hits, np.zeros(0, int), *np.zeros((2, 0, num_neighbours)))
    queries = _queries(cases, num_queries, seed)
    near = nearest(features, cases.patients, queries, num_neighbours)
    return Strips(errors, hits, queries, *near)


def _hits(cases: Cases, scores: np.ndarray | None, loss: np.ndarray, number: int) -> np.ndarray:
    """Returns the surest right cases, class after class; none where a case has several labels."""
    if scores is None or cases.labels.ndim == 2:
        return np.zeros(0, int)
    right = np.flatnonzero(np.isfinite(loss) & (scores.argmax(axis=1) == cases.labels))
    order = right[np.argsort(loss[right], kind="stable")]
    turn = np.zeros(len(order), int)  # place within its class
    for c in np.unique(cases.labels[order]):
        in_class = cases.labels[order] == c
        turn[in_class] = np.arange(in_class.sum())
    return order[np.lexsort((loss[order], turn))][:number]


def losses(truth: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Returns the cross-entropy of each case, float [n]; NaN where nothing is known.

    Of several labels it is the mean over those that are known and have scores.

    Args:
      truth: class numbers, int [n], below 0 unknown; or float [n, L], NaN unknown.
      scores: probabilities, float [n, classes].
    """
    tiny = float(np.finfo(float).tiny)
    if truth.ndim == 1:
        true_probability = scores[np.arange(len(truth)), np.maximum(truth, 0)]
        return np.where(truth >= 0, -np.log(np.maximum(true_probability, tiny)), np.nan)
    true_probability = np.where(truth == 1, scores, 1 - scores)
    terms = np.where(np.isnan(truth), np.nan, -np.log(np.maximum(true_probability, tiny)))
    known = np.isfinite(terms)
    with np.errstate(invalid="ignore"):
        return np.where(known, terms, 0).sum(1) / known.sum(1)


def nearest(
    features: np.ndarray, patients: np.ndarray, queries: np.ndarray, num_neighbours: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns (neighbours int [q, k], cosines float [q, k]), as `Strips` holds them.

    Equal cosines go by the cases' order. Works through `features` in chunks of rows, so that they are
    never copied whole.

    Args:
      features: float [n, d]; a row of zeros has a cosine of 0 with all.
      patients: of the cases, [n].
      queries: indices, int [q].
      num_neighbours: k, at most.
    """
    query = _unit(features[queries])
    cosines = np.empty((len(queries), len(features)))
    for start in range(0, len(features), _CHUNK):
        cosines[:, start : start + _CHUNK] = query @ _unit(features[start : start + _CHUNK]).T
    cosines[patients[queries][:, None] == patients[None]] = -np.inf
    order = np.argsort(-cosines, axis=1, kind="stable")[:, :num_neighbours]
    cosines = np.take_along_axis(cosines, order, axis=1)
    missing = np.isneginf(cosines)
    columns = ~missing.all(axis=0)
    return (
        np.where(missing, -1, order)[:, columns],
        np.where(missing, np.nan, cosines)[:, columns],
    )


def _unit(rows: np.ndarray) -> np.ndarray:
    rows = np.asarray(rows, float)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def _queries(cases: Cases, number: int, seed: int) -> np.ndarray:
    """Returns cases drawn from class after class, the commonest first; unlabelled ones come last."""
    label = cases.labels
    if label.ndim == 2:  # the first label that a case has; to have none is a class of its own
        label = np.where((label == 1).any(1), (label == 1).argmax(1), label.shape[1])
    label = np.where(cases.labelled, label, -1)
    shuffled = np.random.default_rng(seed).permutation(len(label))
    turn, size = (
        np.empty(len(label)),
        np.empty(len(label)),
    )  # place in its class, cases of its class
    for c in np.unique(label):
        class_cases = shuffled[label[shuffled] == c]
        turn[class_cases], size[class_cases] = np.arange(len(class_cases)), len(class_cases)
    return np.lexsort((label, -size, turn, label < 0))[:number]
