"""SavedModel of the encoder, for inference elsewhere."""

from __future__ import annotations

import os
import shutil

import tensorflow as tf


def save(model, model_dir: str, step: int, keep: int) -> str:
    """Writes model_dir/saved_model/STEP and deletes all but the `keep` newest.

    Its one signature maps images float32 [n, H, W, 3] in [0, 1] to {"features": float32 [n, d]},
    the layer that `--ft_proj_selector` names, with BatchNorm at inference.

    Returns:
      The folder.
    """
    root = os.path.join(model_dir, "saved_model")
    module = tf.Module()
    module.model = model

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.float32, "images")])
    def features(images):
        return {"features": model(images, training=False)["features"]}

    module.features = features
    path, unfinished = os.path.join(root, str(step)), os.path.join(root, f"unfinished-{step}")
    tf.saved_model.save(module, unfinished, signatures={"serving_default": features})
    shutil.rmtree(path, ignore_errors=True)
    os.replace(unfinished, path)
    steps = sorted(int(name) for name in os.listdir(root) if name.isdigit())
    for old in steps[:-keep]:
        shutil.rmtree(os.path.join(root, str(old)))
    return path
