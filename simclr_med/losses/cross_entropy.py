"""Supervised losses with their accuracies: cross-entropy of one class a bag, or of several labels.

Pure functions of tensors; replicas are reached through `distribution.py`.
"""

from __future__ import annotations

import tensorflow as tf

from simclr_med import distribution
from simclr_med.keras_api import at_least_float32


def supervised(
    labels: tf.Tensor,
    logits: tf.Tensor,
    class_weights: tf.Tensor | None = None,
    shares: tf.Tensor | None = None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns (loss, accuracy): of one class a bag (int labels [b]) or several labels (float [b, L]).

    Args:
      labels, logits, class_weights: as in `masked_cross_entropy`, or `masked_binary_cross_entropy`.
      shares: as in `masked_cross_entropy`; not used with several labels.
    """
    if labels.dtype.is_floating:
        return masked_binary_cross_entropy(labels, logits, class_weights)
    return masked_cross_entropy(labels, logits, class_weights, shares)


def masked_cross_entropy(
    labels: tf.Tensor,
    logits: tf.Tensor,
    class_weights: tf.Tensor | None = None,
    shares: tf.Tensor | None = None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns (loss, accuracy) over the labelled examples of the *global* batch.

    The local sums are divided by the global sum of weights times 1/R, so that the mean over
    replicas is the weighted mean over labelled examples however unevenly replicas hold them. An
    unlabelled batch gives 0 and 0. The accuracy is not weighted.

    Args:
      labels: class numbers, int [b]; below 0 means no label.
      logits: float [b, classes].
      class_weights: weight of each class, float [classes]; None: all 1.
      shares: soft targets, float [b, classes], each labelled row adding up to 1: the loss of an
        example is sum_c shares_c weight_c (-log p_c), and its weight sum_c shares_c weight_c. None:
        all of it on the label.
    """
    logits = at_least_float32(logits)
    hits = tf.argmax(logits, axis=-1, output_type=labels.dtype) == labels
    if shares is not None:
        weighted_shares = tf.cast(shares, logits.dtype)  # [b, classes]
        if class_weights is not None:
            weighted_shares *= tf.cast(class_weights, logits.dtype)
        weights = tf.reduce_sum(weighted_shares, axis=-1)
        losses = -tf.reduce_sum(weighted_shares * tf.nn.log_softmax(logits), axis=-1)
        losses = tf.math.divide_no_nan(losses, weights)
        return _mean_over_known(labels >= 0, losses, hits, weights)
    classes = tf.maximum(labels, 0)
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(classes, logits)
    example_weights = None if class_weights is None else tf.gather(class_weights, classes)
    return _mean_over_known(labels >= 0, losses, hits, example_weights)


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
    logits = at_least_float32(logits)
    known = ~tf.math.is_nan(labels)
    truth = tf.cast(tf.where(known, labels, 0.0), logits.dtype)
    losses = tf.nn.sigmoid_cross_entropy_with_logits(labels=truth, logits=logits)
    weights = None
    if class_weights is not None:
        weights = tf.where(truth > 0, class_weights[:, 1], class_weights[:, 0])
    return _mean_over_known(known, losses, (logits > 0) == (truth > 0), weights)


def _mean_over_known(known, losses, hits, weights) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the means of losses (weighted) and hits where `known`, over the global batch, times R."""
    counts = tf.cast(known, losses.dtype)
    weighted = counts if weights is None else counts * tf.cast(weights, losses.dtype)
    return _global_mean(losses, weighted), _global_mean(tf.cast(hits, losses.dtype), counts)


def _global_mean(values: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """Returns this replica's part of the weighted mean, times R: the mean over replicas is it."""
    total = distribution.sum_over_replicas(tf.reduce_sum(weights))
    local = tf.reduce_sum(tf.where(weights > 0, values * weights, 0.0))
    return local * distribution.num_replicas() / tf.where(total > 0, total, 1.0)
