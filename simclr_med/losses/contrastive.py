"""NT-Xent and what is read off its logits, in one piece or in chunks of its rows.

Pure functions of tensors; replicas are reached through `distribution.py`. A row of logits belongs to
a query, one of the local 2b views; a column to a key, one of the global 2B views. The gradient is
written out, because it needs nothing that the value does not: a chunk's logits can go at once, and
memory is O(chunk B) for any B.
"""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from simclr_med import distribution
from simclr_med.keras_api import at_least_float32

_MASKED = -1e9  # a logit that softmax turns into exactly 0 in float32


def nt_xent(
    z1: tf.Tensor,
    z2: tf.Tensor,
    *,
    temperature: float,
    normalize: bool = True,
    group_ids: tf.Tensor | None = None,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns the NT-Xent loss of the pairs (z1[i], z2[i]), with every other view as a negative.

        l(i, j) = -log(exp(sim(i, j) / t) / sum over k != i of exp(sim(i, k) / t))
        loss = mean over i of (l(z1[i], z2[i]) + l(z2[i], z1[i]))

    with sim the cosine, t the temperature, and k over all other 2N - 1 views. Negatives come from all
    replicas. Computed in float32 (float64 if given that). The value is `mean(loss_a + loss_b)` over the
    local batch, as in SimCLR's code: twice the paper's Eq. (1) averaged over 2N views; without
    information each half is ln(2N - 1). Divide it by the number of replicas before taking gradients
    that are summed over replicas.

    Args:
      z1: projections of the first views, [b, p], float.
      z2: projections of the second views, [b, p], float.
      temperature: divides the similarities.
      normalize: similarities are cosines (True) or dot products.
      group_ids: int [b], or None. Views of different pairs with an equal id (two bags of one
        patient) are not negatives of each other: they are left out of the denominator.

    Returns:
      loss: float32 scalar.
      logits_ab: similarities of first views to all second views, float32 [b, B], cut off from the
        gradient.
      labels: one-hot position of each first view's partner, float32 [b, 2B].

    Source: Azizi et al. 2021, Eq. (1) and Algorithm 1; google-research/simclr tf2/objective.py.

    Examples:
        >>> z = tf.eye(4)  # four pairs of equal views, orthogonal to each other
        >>> loss, logits, labels = nt_xent(z, z, temperature=1.0)
        >>> round(float(loss) / 2, 4)  # -log(e / (e + 6)): one partner, six negatives
        1.1654
    """
    z1, z2, keys = _queries_and_keys(z1, z2, normalize)
    rows = _rows_of(z1, keys, temperature, group_ids)

    @tf.custom_gradient
    def value_of(z1, z2, keys):
        logits, loss_a, gradient_z1, gradient_keys_a = rows(z1, keys, second=False)
        with tf.control_dependencies([gradient_z1, gradient_keys_a]):  # then their logits are gone
            _, loss_b, gradient_z2, gradient_keys_b = rows(z2, keys, second=True)
        gradients = gradient_z1, gradient_z2, gradient_keys_a + gradient_keys_b
        logits_ab = logits[:, tf.shape(keys)[0] // 2 :]
        return (loss_a + loss_b, logits_ab), lambda up, _: [up * gradient for gradient in gradients]

    loss, logits_ab = value_of(z1, z2, keys)
    labels = tf.one_hot(rows.indices, tf.shape(keys)[0])
    return loss, tf.stop_gradient(logits_ab), labels


def nt_xent_in_chunks(
    z1: tf.Tensor,
    z2: tf.Tensor,
    *,
    temperature: float,
    normalize: bool = True,
    group_ids: tf.Tensor | None = None,
    chunk: int,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns (loss, contrastive accuracy, contrastive entropy), scalars, equal to those of `nt_xent`.

    Args:
      z1, z2, temperature, normalize, group_ids: as in `nt_xent`.
      chunk: maximum number of rows of logits in memory.
    """
    z1, z2, keys = _queries_and_keys(z1, z2, normalize)
    rows = _rows_of(z1, keys, temperature, group_ids)

    @tf.custom_gradient
    def value_of(z1, z2, keys):
        sums, gradient_z1, gradient_keys = _over_chunks(rows, z1, keys, chunk, second=False)
        with tf.control_dependencies([gradient_z1, gradient_keys]):
            sums_b, gradient_z2, gradient_keys_b = _over_chunks(rows, z2, keys, chunk, second=True)
        gradients = gradient_z1, gradient_z2, gradient_keys + gradient_keys_b
        loss = sums[0] + sums_b[0]
        return (loss, sums[1], sums[2]), lambda up, *_: [up * gradient for gradient in gradients]

    loss, accuracy, entropy = value_of(z1, z2, keys)
    return loss, tf.stop_gradient(accuracy), tf.stop_gradient(entropy)


def contrastive_accuracy(logits_ab: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Returns the share of first views whose nearest second view is their partner, in [0, 1].

    Args:
      logits_ab: [b, B] from `nt_xent`.
      labels: [b, 2B] from `nt_xent`. Among B second views chance is 1/B, as in SimCLR's metric.
    """
    partner = tf.argmax(labels[:, : logits_ab.shape[1]], axis=1, output_type=tf.int32)
    return tf.reduce_mean(_hits(logits_ab, partner))


def contrastive_entropy(logits_ab: tf.Tensor) -> tf.Tensor:
    """Returns the mean entropy, in nats, of the softmax over second views; `logits_ab` [b, B]."""
    return tf.reduce_mean(_entropies(logits_ab))


def negative_pairs(b: int, group_ids: tf.Tensor | None = None) -> tf.Tensor:
    """Returns how many pairs of the global batch are negatives of each local one, float32 [b].

    Two views each: a view has twice as many negatives, and without information its half of the loss
    is ln(1 + 2 negative_pairs). B - 1 where no two pairs have one group.

    Args:
      b: pairs of this replica.
      group_ids: as of `nt_xent`, int [b].
    """
    B = b * distribution.num_replicas()
    if group_ids is None:
        return tf.fill([b], tf.constant(B - 1, tf.float32))
    # Sorted, not compared with each other: [b, B] is what chunks are there to avoid.
    ordered = tf.sort(distribution.all_gather(group_ids))
    after = tf.searchsorted(ordered, group_ids, side="right")
    same_group = after - tf.searchsorted(ordered, group_ids, side="left")  # itself among them
    return tf.cast(B - same_group, tf.float32)


@dataclasses.dataclass(frozen=True)
class _Rows:
    """Computes rows of logits, and their part of the loss and of its gradient.

    Attributes:
      indices: of the local pairs in the global batch, int32 [b].
      groups: of the local pairs, int [b], or None.
      key_groups: of the keys, int [2B], or None.
      temperature: divides the similarities.
    """

    indices: tf.Tensor
    groups: tf.Tensor | None
    key_groups: tf.Tensor | None
    temperature: float

    def __call__(self, queries, keys, *, second: bool, index=None, weights=None):
        """Returns (logits [c, 2B], loss scalar, its gradients for queries [c, p] and keys [2B, p]).

        Args:
          queries: some of the local views of one side, [c, p].
          keys: [2B, p], all first views, then all second views.
          second: they are second views.
          index: which ones, int32 [c]; None: all.
          weights: of each in the loss, [c]; None: 1/b, their mean.
        """
        indices = self.indices if index is None else tf.gather(self.indices, index)
        if weights is None:
            weights = tf.fill(tf.shape(indices), 1.0 / tf.cast(tf.shape(indices)[0], keys.dtype))
        B = tf.shape(keys)[0] // 2
        own_column, partner = (indices + B, indices) if second else (indices, indices + B)
        columns = tf.range(2 * B)
        is_partner = columns == partner[:, tf.newaxis]  # [c, 2B]
        masked = columns == own_column[:, tf.newaxis]
        if self.groups is not None:
            groups = self.groups if index is None else tf.gather(self.groups, index)
            masked |= (self.key_groups == groups[:, tf.newaxis]) & ~is_partner
        logits = tf.matmul(queries / self.temperature, keys, transpose_b=True)
        logits = tf.where(masked, tf.constant(_MASKED, logits.dtype), logits)  # [c, 2B]
        top = tf.reduce_max(logits, axis=1, keepdims=True)
        exponentials = tf.exp(logits - top)
        total = tf.reduce_sum(exponentials, axis=1, keepdims=True)
        positive = tf.gather(logits, partner, axis=1, batch_dims=1)  # [c]
        losses = tf.math.log(total[:, 0]) - (positive - top[:, 0])
        gradient = exponentials / total - tf.cast(is_partner, keys.dtype)
        gradient *= weights[:, tf.newaxis] / self.temperature  # of the loss by query . key
        by_keys = tf.matmul(gradient, queries, transpose_a=True)
        return logits, tf.reduce_sum(losses * weights), tf.matmul(gradient, keys), by_keys


def _over_chunks(rows: _Rows, queries: tf.Tensor, keys: tf.Tensor, chunk: int, *, second: bool):
    """Returns (sums [3], gradients for queries [b, p], for keys [2B, p]) of one side.

    The sums are the loss and, of first views, accuracy and entropy. The last chunk is filled up
    with rows that weigh nothing.
    """
    b, p = queries.shape
    chunk = min(chunk, b)
    count = -(-b // chunk)
    B = tf.shape(keys)[0] // 2

    def step(i, sums, gradients, by_keys):
        index = i * chunk + tf.range(chunk)
        weights = tf.cast(index < b, keys.dtype) / b
        index = tf.minimum(index, b - 1)
        chunk_queries = tf.gather(queries, index)
        logits, loss, gradient, by_keys_here = rows(
            chunk_queries, keys, second=second, index=index, weights=weights
        )
        chunk_sums = [loss, tf.zeros_like(loss), tf.zeros_like(loss)]
        if not second:
            logits_ab = logits[:, B:]
            hits = _hits(logits_ab, tf.gather(rows.indices, index))
            hits = tf.cast(hits, keys.dtype)
            chunk_sums[1:] = [tf.reduce_sum(x * weights) for x in (hits, _entropies(logits_ab))]
        return (
            i + 1,
            sums + tf.stack(chunk_sums),
            gradients.write(i, gradient),
            by_keys + by_keys_here,
        )

    gradients = tf.TensorArray(keys.dtype, size=count, element_shape=[chunk, p])
    start = (0, tf.zeros([3], keys.dtype), gradients, tf.zeros_like(keys))
    # One at a time: TensorFlow would otherwise begin ten chunks at once, and hold their logits.
    _, sums, gradients, by_keys = tf.while_loop(
        lambda i, *_: i < count, step, start, parallel_iterations=1, maximum_iterations=count
    )
    return sums, gradients.concat()[:b], by_keys


def _queries_and_keys(z1, z2, normalize: bool) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns z1 [b, p], z2 [b, p] and the views of all replicas [2B, p]."""
    z1, z2 = at_least_float32(z1), at_least_float32(z2)
    if normalize:
        z1, z2 = tf.math.l2_normalize(z1, axis=-1), tf.math.l2_normalize(z2, axis=-1)
    return z1, z2, tf.concat([distribution.all_gather(z1), distribution.all_gather(z2)], axis=0)


def _rows_of(z1, keys, temperature: float, group_ids) -> _Rows:
    b = tf.shape(z1)[0]
    indices = distribution.replica_id() * b + tf.range(b)
    key_groups = None
    if group_ids is not None:
        key_groups = tf.tile(distribution.all_gather(group_ids), [2])
    return _Rows(indices, group_ids, key_groups, temperature)


def _hits(logits_ab: tf.Tensor, partner: tf.Tensor) -> tf.Tensor:
    """Returns 1 where the largest of a row of logits [c, B] is its partner's, else 0, float32 [c]."""
    return tf.cast(tf.argmax(logits_ab, axis=1, output_type=tf.int32) == partner, tf.float32)


def _entropies(logits: tf.Tensor) -> tf.Tensor:
    """Returns the entropy of the softmax of each row of logits [c, B], [c]; as SimCLR computes it."""
    probabilities = tf.nn.softmax(logits)
    return -tf.reduce_sum(probabilities * tf.math.log(probabilities + 1e-8), axis=-1)
