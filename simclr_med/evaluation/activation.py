"""Class activation maps: where in an image the evidence for a class is (Zhou et al. 2016, CVPR).

The head is linear in the mean of the last feature map, so that a class's logit is the mean over places of
features @ kernel, plus a bias: without any gradient that product is the map.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from simclr_med.models import Model

_BATCH = 16


def why_not(train_mode: str, model: Model | None) -> str:
    """Returns why an evaluation can show no maps; "" where it can.

    Args:
      train_mode: of the run.
      model: that was evaluated; None where scores or features come from several networks, or elsewhere.
    """
    if train_mode != "finetune":
        return (
            "they are made of a fine-tuned network's own head, and the answers here are those of a "
            "classifier on frozen features"
        )
    if model is None:
        return "the scores are those of several networks, or were read from files"
    if model.supervised_head is None:
        return "the network has no supervised head"
    if model.selected_stage:
        return (
            f"the head stands on layer {model.selected_stage} of the projection head "
            "(--ft_proj_selector), behind which places in an image are not told apart"
        )
    return ""


def maps(model: Model, images: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Returns the map of one class of each image, float32 [n, h, w]: mean + bias is its logit.

    Args:
      model: with a supervised head, see `why_not`.
      images: as the network sees them, float32 [n, H, W, 3] in [0, 1].
      classes: int [n].
    """
    head = model.supervised_head
    if head is None:
        raise ValueError("A model without classes has no class activation maps.")
    kernel = tf.cast(head.dense.kernel, tf.float32)  # [d, classes]
    parts = []
    for start in range(0, len(images), _BATCH):
        rows = slice(start, start + _BATCH)
        features = tf.cast(model.encoder.feature_map(tf.constant(images[rows])), tf.float32)
        class_kernels = tf.gather(kernel, classes[rows], axis=1)  # [d, n]
        parts.append(tf.einsum("nhwd,dn->nhw", features, class_kernels).numpy())
    return np.concatenate(parts)
