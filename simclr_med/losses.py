"""The contrastive and the supervised loss, and what is read off their logits.

Pure functions of tensors; replicas are reached through `distribution.py`.
"""

from __future__ import annotations

import tensorflow as tf

from simclr_med import distribution

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

    Negatives come from all replicas. Always computed in float32. The value is
    `mean(loss_a + loss_b)` over the local batch, as in SimCLR's code: twice the paper's Eq. (1)
    averaged over 2N views; without information each half is ln(2N - 1). Divide it by the number
    of replicas before taking gradients that are summed over replicas.

    Args:
      z1: projections of the first views, [b, p], float.
      z2: projections of the second views, [b, p], float.
      temperature: divides the similarities.
      normalize: similarities are cosines (True) or dot products.
      group_ids: int [b], or None. Views of different pairs with an equal id (two bags of one
        patient) are no negatives of each other: they leave the denominator.

    Returns:
      loss: float32 scalar.
      logits_ab: similarities of first views to all second views, float32 [b, B].
      labels: one-hot position of each first view's partner, float32 [b, 2B].

    Source: Azizi et al. 2021, Eq. (1) and Algorithm 1; google-research/simclr tf2/objective.py.
    """
    z1, z2 = tf.cast(z1, tf.float32), tf.cast(z2, tf.float32)
    if normalize:
        z1, z2 = tf.math.l2_normalize(z1, axis=-1), tf.math.l2_normalize(z2, axis=-1)
    all_z1, all_z2 = distribution.all_gather(z1), distribution.all_gather(z2)  # [B, p]
    b, B = tf.shape(z1)[0], tf.shape(all_z1)[0]
    positions = distribution.replica_id() * b + tf.range(b)
    partner = tf.one_hot(positions, B, on_value=True, off_value=False)  # [b, B]

    not_across = tf.zeros_like(partner)  # pairs (view 1, view 2) that are no negatives
    if group_ids is not None:
        same_group = group_ids[:, tf.newaxis] == distribution.all_gather(group_ids)[tf.newaxis, :]
        not_across = same_group & ~partner
    not_within = not_across | partner  # within one side, a view is no negative of itself

    def logits(queries, keys, masked):
        similarity = tf.matmul(queries, keys, transpose_b=True) / temperature
        return tf.where(masked, _MASKED, similarity)

    logits_ab = logits(z1, all_z2, not_across)
    logits_ba = logits(z2, all_z1, not_across)
    logits_aa = logits(z1, all_z1, not_within)
    logits_bb = logits(z2, all_z2, not_within)
    labels = tf.one_hot(positions, 2 * B)  # [b, 2B]
    loss_a = tf.nn.softmax_cross_entropy_with_logits(labels, tf.concat([logits_ab, logits_aa], 1))
    loss_b = tf.nn.softmax_cross_entropy_with_logits(labels, tf.concat([logits_ba, logits_bb], 1))
    return tf.reduce_mean(loss_a + loss_b), logits_ab, labels


def contrastive_accuracy(logits_ab: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Returns the share of first views whose nearest second view is their partner, in [0, 1].

    Args:
      logits_ab: [b, B] from `nt_xent`.
      labels: [b, 2B] from `nt_xent`. Among B second views chance is 1/B, as in SimCLR's metric.
    """
    partner = tf.argmax(labels[:, : logits_ab.shape[1]], axis=1)
    return tf.reduce_mean(tf.cast(tf.argmax(logits_ab, axis=1) == partner, tf.float32))


def contrastive_entropy(logits_ab: tf.Tensor) -> tf.Tensor:
    """Returns the mean entropy, in nats, of the softmax over second views; `logits_ab` [b, B]."""
    probabilities = tf.nn.softmax(logits_ab)
    return -tf.reduce_mean(tf.reduce_sum(probabilities * tf.math.log(probabilities + 1e-8), -1))


def supervised(
    labels: tf.Tensor, logits: tf.Tensor, class_weights: tf.Tensor | None = None
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns (loss, accuracy): of one class a bag (int labels [b]) or several labels (float [b, L]).

    `class_weights` is as in `masked_cross_entropy`, or `masked_binary_cross_entropy`.
    """
    if labels.dtype.is_floating:
        return masked_binary_cross_entropy(labels, logits, class_weights)
    return masked_cross_entropy(labels, logits, class_weights)


def masked_cross_entropy(
    labels: tf.Tensor, logits: tf.Tensor, class_weights: tf.Tensor | None = None
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns (loss, accuracy) over the labelled examples of the *global* batch.

    The local sums are divided by the global sum of weights times 1/R, so that the mean over
    replicas is the weighted mean over labelled examples however unevenly replicas hold them. An
    unlabelled batch gives 0 and 0. The accuracy is not weighted.

    Args:
      labels: class numbers, int [b]; below 0 means no label.
      logits: float [b, classes].
      class_weights: weight of each class, float [classes]; None: all 1.
    """
    logits = tf.cast(logits, tf.float32)
    classes = tf.maximum(labels, 0)
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(classes, logits)
    hits = tf.argmax(logits, axis=-1, output_type=labels.dtype) == labels
    weights = None if class_weights is None else tf.gather(class_weights, classes)
    return _mean_over_known(labels >= 0, losses, hits, weights)


def masked_binary_cross_entropy(
    labels: tf.Tensor, logits: tf.Tensor, class_weights: tf.Tensor | None = None
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns (loss, accuracy) over the known labels of the *global* batch, each one term.

    As `masked_cross_entropy`, with a sigmoid for each label.

    Args:
      labels: 1, 0 or NaN (unknown), float [b, L].
      logits: float [b, L]; above 0 counts as a positive for the accuracy.
      class_weights: weights of the absence and of the presence of each label, float [L, 2].
    """
    logits = tf.cast(logits, tf.float32)
    known = ~tf.math.is_nan(labels)
    truth = tf.where(known, labels, 0.0)
    losses = tf.nn.sigmoid_cross_entropy_with_logits(labels=truth, logits=logits)
    weights = None
    if class_weights is not None:
        weights = tf.where(truth > 0, class_weights[:, 1], class_weights[:, 0])
    return _mean_over_known(known, losses, (logits > 0) == (truth > 0), weights)


def _mean_over_known(known, losses, hits, weights) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the means of losses (weighted) and hits where `known`, over the global batch, times R."""
    counts = tf.cast(known, tf.float32)
    return (
        _global_mean(losses, counts if weights is None else counts * weights),
        _global_mean(tf.cast(hits, tf.float32), counts),
    )


def _global_mean(values: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """Returns this replica's part of the weighted mean, times R: the mean over replicas is it."""
    total = distribution.sum_over_replicas(tf.reduce_sum(weights))
    local = tf.reduce_sum(tf.where(weights > 0, values * weights, 0.0))
    return local * distribution.num_replicas() / tf.where(total > 0, total, 1.0)
