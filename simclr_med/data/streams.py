"""An epoch as streams: parts of a split that are read side by side, each in an order of its own.

A global batch is B / S examples of each of S streams, one after the other. So a worker reads the
streams of its part of the batch alone, and every batch holds something of all of the split. How many
streams there are, and where they begin, depends on the split, its files and the size of the batch,
never on who reads.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import joblib
import numpy as np
import tensorflow as tf

from simclr_med.data.bags import Bags
from simclr_med.data.pieces import Pieces
from simclr_med.errors import UserError

MOST = 64
_LEAST = 100  # examples of a stream
_UNEQUAL = 0.02  # by how much streams may differ: by one example, or by a bag's images
# Share of its records that each of four workers may read past, whose streams begin within a file.
_SKIPPED, _WORKERS = 0.1, 4


@dataclasses.dataclass(frozen=True)
class Streams:
    """Where the streams of a split begin.

    Attributes:
      cuts: stream s has the bags from cuts[s] up to cuts[s + 1], int64 [S + 1].
      lengths: examples of an epoch of each stream, int64 [S].
    """

    cuts: np.ndarray
    lengths: np.ndarray

    @property
    def count(self) -> int:
        """S."""
        return len(self.lengths)

    def of_part(self, part: tuple[int, int]) -> range:
        """Returns the streams that part i of n of each global batch is of, some of them in part."""
        index, count = part
        return range(index * self.count // count, -(-(index + 1) * self.count // count))


def one_stream(bags: Bags, num_examples: int) -> Streams:
    """Returns a split as one stream, which every worker reads whole.

    Args:
      bags: of the split.
      num_examples: of an epoch.
    """
    return Streams(np.array([0, bags.num_bags]), np.array([num_examples]))


def streams_of(
    bags: Bags,
    num_examples: int,
    batch_size: int,
    keep_bags: bool,
    repeats: int,
    count: int | None = None,
) -> Streams:
    """Returns the streams of a split: a power of two of them, that divides the batch.

    At most MOST, and as many as files; fewer, down to one, where streams would be short or unequal, or,
    beginning in the middle of files, would have one of four workers read past 10 % more. Where they
    begin depends on the bags and their number alone. Bags, and so patients of --bag_by=patient, are
    never torn. Where examples are images or bags are repeated, their sizes are needed: unless all are
    1, the split is read once for that.

    Args:
      bags: of the split.
      num_examples: of an epoch.
      batch_size: B.
      keep_bags, repeats: see `pipeline.training_batches`.
      count: how many there are, of a run that has begun; None: as above.

    Raises:
      UserError: the data cannot be read in that number of streams.
    """
    pieces, counts = bags.pieces, [count or 1]
    if counts[0] > 1 and (pieces is None or batch_size % counts[0]):
        raise UserError(
            f"config.json of the run has num_streams={count}, in which --train_batch_size={batch_size} "
            "or these prepared data cannot be read. Go on with the data and flags with which it began."
        )
    if pieces is not None and count is None:
        most = min(MOST, len(pieces.files) - 1, num_examples // _LEAST)
        powers = [2**k for k in range(MOST.bit_length()) if 2**k <= most]
        counts = [power for power in reversed(powers) if batch_size % power == 0]
    if pieces is None or counts[:1] in ([], [1]):
        return one_stream(bags, num_examples)
    ends = np.cumsum(_examples_of_bags(bags, keep_bags, repeats))
    for each in counts:
        streams = _cut(ends, each)
        shortest = streams.lengths.min()
        equal = streams.lengths.max() - shortest <= _UNEQUAL * shortest
        if count or (equal and _share_skipped(pieces, streams.cuts) <= _SKIPPED):
            return streams
    return one_stream(bags, num_examples)


def _cut(ends: np.ndarray, count: int) -> Streams:
    """Returns `count` streams of bags that end at the examples `ends`, int64 [n]."""
    # Rounded as TFDS does where it deals records out to files, so that equal files are whole.
    targets = [round(int(ends[-1]) * s / count) for s in range(count + 1)]
    cuts = np.asarray(np.searchsorted(ends, targets, side="right"))
    return Streams(cuts, np.diff(np.append(0, ends)[cuts]))


def numbered_examples(
    streams: Streams,
    own: range,
    epochs_of: Callable[[tf.Tensor], Callable[[tf.Tensor], tf.data.Dataset]],
    batch_size: int,
    start_step: int,
) -> tf.data.Dataset:
    """Returns (number, example), without an end: what some streams have of one batch after another.

    The numbers count the examples of all batches from 0. Streams are read side by side, also what comes
    before `start_step` in the epoch of each.

    Args:
      streams: of the split.
      own: those that are read.
      epochs_of: (stream) to (epoch) to the examples of an epoch of a stream, in their order; int64.
      batch_size: B, a multiple of the number of streams.
      start_step: batches to leave out.
    """
    of_each = batch_size // streams.count
    epochs, positions = np.divmod(start_step * of_each, streams.lengths)

    def endless(stream):
        def number(position, example):
            step, position = position // of_each, position % of_each
            return step * batch_size + stream * of_each + position, example

        examples = (
            tf.data.Dataset.range(tf.gather(epochs, stream), tf.int64.max)
            .flat_map(epochs_of(stream))
            .skip(tf.gather(positions, stream))
            .enumerate(start=start_step * of_each)
        )
        return examples if streams.count == 1 else examples.map(number)

    if len(own) == 1:
        return endless(tf.constant(own.start, tf.int64))
    return tf.data.Dataset.range(own.start, own.stop).interleave(
        endless,
        cycle_length=len(own),
        block_length=of_each,
        num_parallel_calls=min(len(own), joblib.cpu_count()),
        deterministic=True,
    )


def _examples_of_bags(bags: Bags, keep_bags: bool, repeats: int) -> np.ndarray:
    """Returns the number of examples of each bag, int64 [n]."""
    assert bags.pieces is not None
    if not keep_bags:
        return bags.pieces.sizes()
    if repeats == 1:
        return np.ones(bags.num_bags, np.int64)
    return np.where(bags.pieces.sizes() > 1, repeats, 1)


def _share_skipped(pieces: Pieces, cuts: np.ndarray) -> float:
    """Returns how many records are before the first of each stream in its file, against those of all.

    The largest of _WORKERS workers' shares, or of the streams', if there are fewer.
    """
    first = pieces.record_of(cuts[:-1])
    file = np.searchsorted(pieces.files, first, side="right") - 1
    skipped = (first - pieces.files[file]).reshape(min(_WORKERS, len(first)), -1).sum(1)
    return float(skipped.max() * len(skipped) / pieces.files[-1])
