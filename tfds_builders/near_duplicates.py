"""Finds copies of one picture that differ in their bytes: encoded again, resized, brighter.

A picture becomes 16 x 16 means of grey, less their mean, divided by their length: the dot product of
two is their correlation. Two pictures are called near duplicates if it is at least CORRELATION. Such
pairs are to be looked at; it is no proof. On real pictures, each against all others of other people:
  - HAM10000 at 200 x 150 px, 8,014: one pair of two lesions, which look the same (r 0.9987; 0.9893 for
    the next); of copies at JPEG quality 50, half, a third or twice the size, 99 % and more are found;
  - NIH ChestX-ray14 at 64 px, 1,001: none, though all look alike (r at most 0.973; of one person's
    0.988). In all 112,120 a few are expected by chance: nearest neighbours' distances fall with the
    10th root of the number of pictures.
Cropped, turned or mirrored copies are not found. Own code, since ImageHash's 64 bits do not tell one
chest X-ray from another, and it compares every pair.
"""

import collections
import concurrent.futures
import io

import joblib
import numpy as np
import simplejpeg
from PIL import Image
from scipy.spatial import KDTree

CORRELATION = 0.995
SIDE = 16
_LEAST_CONTRAST = 3  # standard deviation of the means, in grey levels: below, noise decides
_COARSE = 4  # lowest frequencies that the search tree compares, each way
_CANDIDATES = 8  # neighbours of a picture that are looked at closely
_AHEAD = 256  # pictures waiting to be decoded
_CHUNK = 10_000


def thumbnail(encoded: bytes) -> np.ndarray | None:
    """Returns float16 [SIDE**2] of length 1; None for a picture with hardly any contrast.

    Args:
      encoded: a JPEG or PNG as the builders here store it. A JPEG is decoded at an eighth of its size,
        unless that is too small.
    """
    if encoded.startswith(b"\xff\xd8"):
        least_size = {"min_height": 8 * SIDE, "min_width": 8 * SIDE}
        try:
            grey = Image.fromarray(simplejpeg.decode_jpeg(encoded, "GRAY", **least_size)[..., 0])
        except ValueError:  # stored by an older version, whose check was less strict
            grey = Image.open(io.BytesIO(encoded)).convert("L")
    else:
        grey = Image.open(io.BytesIO(encoded)).convert("L")
    small = np.asarray(grey.resize((SIDE, SIDE), Image.Resampling.BICUBIC), np.float32).ravel()
    small -= small.mean()
    length = np.linalg.norm(small)
    if length < _LEAST_CONTRAST * SIDE:
        return None
    return (small / length).astype(np.float16)


class Thumbnails:
    """Thumbnails of one split, computed by threads while more pictures are added; 0.5 kB each."""

    def __init__(self) -> None:
        self._pool = concurrent.futures.ThreadPoolExecutor(joblib.cpu_count())
        self._pending: collections.deque = collections.deque()
        self._names: list[str] = []
        self._thumbnails: list[np.ndarray] = []

    def add(self, name: str, encoded: bytes) -> None:
        """Schedules the thumbnail of a picture.

        Args:
          name: id of the picture.
          encoded: a JPEG or PNG.
        """
        self._pending.append((name, self._pool.submit(thumbnail, encoded)))
        if len(self._pending) > _AHEAD:
            self._take()

    def _take(self) -> None:
        name, future = self._pending.popleft()
        if (vector := future.result()) is not None:
            self._names.append(name)
            self._thumbnails.append(vector)

    def finish(self) -> tuple[list[str], np.ndarray]:
        """Returns names and float16 [n, SIDE**2]."""
        while self._pending:
            self._take()
        self._pool.shutdown()
        return self._names, np.array(self._thumbnails, np.float16).reshape(-1, SIDE**2)


def near_pairs(first: np.ndarray, second: np.ndarray) -> list[tuple[int, int, float]]:
    """Returns (row of `first`, row of `second`, correlation), the highest correlation first.

    Each picture of the smaller set is looked up in a search tree of the other's coarse thumbnails, whose
    distances are never greater: no near duplicate is missed, up to _CANDIDATES for each.
    Time grows as n log n.

    Args:
      first, second: float16 [n, SIDE**2] of length 1.
    """
    if len(first) > len(second):
        return sorted(((i, j, r) for j, i, r in near_pairs(second, first)), key=lambda p: -p[2])
    if not len(first):
        return []
    reach = (2 - 2 * CORRELATION) ** 0.5  # |a - b|^2 = 2 - 2 r
    tree = KDTree(_coarse(second))
    pairs: list[tuple[int, int, float]] = []
    for begin in range(0, len(first), _CHUNK):
        piece = first[begin : begin + _CHUNK]
        _, near = tree.query(
            _coarse(piece), k=_CANDIDATES, distance_upper_bound=reach * 1.01, workers=-1
        )
        rows, ranks = np.nonzero(near < len(second))
        columns = near[rows, ranks]
        products = piece[rows].astype(np.float32) * second[columns].astype(np.float32)
        correlations = products.sum(1)
        is_near = correlations >= CORRELATION
        pairs += zip(
            (begin + rows[is_near]).tolist(),
            columns[is_near].tolist(),
            correlations[is_near].tolist(),
            strict=True,
        )
    return sorted(pairs, key=lambda pair: -pair[2])


def _coarse(thumbnails: np.ndarray) -> np.ndarray:
    """Returns float32 [n, _COARSE**2 - 1], the lowest frequencies of the cosine transform (DCT-II)."""
    positions = np.arange(SIDE)
    waves = np.cos(np.pi * (positions + 0.5) * np.arange(_COARSE)[:, None] / SIDE)
    waves *= np.where(np.arange(_COARSE) == 0, 1, 2**0.5)[:, None] / SIDE**0.5  # [_COARSE, SIDE]
    basis = np.einsum("ay,bx->abyx", waves, waves).reshape(_COARSE**2, -1)[1:]  # its mean is 0
    pieces = [
        thumbnails[begin : begin + _CHUNK].astype(np.float32) @ basis.T.astype(np.float32)
        for begin in range(0, len(thumbnails), _CHUNK)
    ]
    return np.concatenate(pieces)
