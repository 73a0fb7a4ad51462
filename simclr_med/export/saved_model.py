"""SavedModel by TensorFlow's interface of reusable ones: run it, or train it further, anywhere.

https://www.tensorflow.org/hub/reusable_saved_models: `loaded(images, training=False)`,
`loaded.variables`, `loaded.trainable_variables`, `loaded.regularization_losses`. Beside these,
`loaded.model` is the model as a tree of its layers' names, which `--checkpoint` reads back.
"""

from __future__ import annotations

import functools
import os
from typing import Any

import tensorflow as tf

from simclr_med import run_folder
from simclr_med.augment.crop import decode_center_crop, evaluation_view
from simclr_med.checkpoints.variable_tree import copy_tree, copy_values
from simclr_med.config import Config
from simclr_med.export import network
from simclr_med.models import Model
from simclr_med.run_folder import data_json, files, gfile, leftovers
from simclr_med.transient import retried

FACTS = "simclr_med.json"
_IMAGES = {"serving_default": tf.uint8, "serving_uint16": tf.uint16}


def save(
    config: Config,
    trained: Model,
    step: int,
    class_names: tuple[str, ...],
    model_dir: str,
    keep: int,
) -> str:
    """Writes model_dir/saved_model/STEP and deletes all but the `keep` newest; returns the folder.

    Args:
      config: of the run.
      trained: the run's model with its weights; the checkpoint may be removed by now.
      step: of its checkpoint.
      class_names: of a fine-tuned run's logits.
      model_dir: of the run.
      keep: at least 1.
    """
    model = network.portable(config, len(class_names))
    copy_values(trained, model)
    root = os.path.join(model_dir, "saved_model")
    path = os.path.join(root, str(step))
    data = data_json.read(model_dir)
    write(model, network.facts(config, model, class_names, step, data), path)
    steps = sorted(int(name) for name in files.names(root) if name.isdigit())
    for old in steps[:-keep]:
        gfile.rmtree(os.path.join(root, str(old)))
    return path


def write(model: Model, facts: dict[str, Any], path: str) -> None:
    """Writes the SavedModel and simclr_med.json into the folder `path`, replacing its content.

    Images, uint8 or uint16 [n, H, W, 3], are cropped and resized as evaluation does; the result is
    that of `network.outputs`. The signature "serving_bytes" takes encoded JPEG or PNG images, string
    [n]; "classify" maps embeddings to logits and probabilities, because a case is classified by the mean
    embedding of its images.

    Args:
      model: from `network.portable`, with its weights.
      facts: from `network.facts`.
      path: of the folder.
    """
    leftovers.remove(os.path.dirname(path))
    temp_path = leftovers.temporary(path)
    if gfile.exists(temp_path):  # of an attempt of this process
        gfile.rmtree(temp_path)
    root, signatures = _reusable(model, facts)
    retried(lambda: tf.saved_model.save(root, temp_path, signatures=signatures), f"Writing {path}")
    run_folder.write_json(os.path.join(temp_path, FACTS), facts)
    files.replace_folder(temp_path, path)


def _reusable(model: Model, facts: dict[str, Any]) -> tuple[tf.train.Checkpoint, dict]:
    view = functools.partial(
        evaluation_view, size=facts["image_size"], antialias=facts["antialias"]
    )

    multilabel = facts["several_labels"]

    @tf.function(autograph=False)  # nothing to convert: a third less time
    def call(images, training=False):
        return network.outputs(model, view(images), training, multilabel)

    def traced(dtype, training):
        images = tf.TensorSpec([None, None, None, 3], dtype, "images")
        return call.get_concrete_function(images, training=training)

    signatures = {}
    for name, dtype in _IMAGES.items():
        signatures[name] = traced(dtype, False)
        traced(dtype, True)

    @tf.function(autograph=False)
    def call_bytes(encoded):
        decoded = functools.partial(
            decode_center_crop, size=facts["image_size"], antialias=facts["antialias"]
        )
        pixels = tf.map_fn(decoded, encoded, fn_output_signature=tf.float32)
        return network.outputs(model, pixels, False, multilabel)

    signatures["serving_bytes"] = call_bytes.get_concrete_function(
        tf.TensorSpec([None], tf.string, "encoded")
    )
    if model.supervised_head is not None:
        signatures["classify"] = tf.function(
            lambda embeddings: network.classified(model, embeddings, multilabel),
            input_signature=[
                tf.TensorSpec([None, facts["embedding_size"]], tf.float32, "embeddings")
            ],
        )
    parts = network.parts(model)
    # Names alone: a Keras layer would bring a trace of each of its calls along, twice time and size.
    root = tf.train.Checkpoint(model=copy_tree(model, lambda variable: variable))
    root.__call__ = call
    root.variables = [v for part in parts for v in part.variables]
    root.trainable_variables = [v for part in parts for v in part.trainable_variables]
    root.regularization_losses = []
    return root, signatures
