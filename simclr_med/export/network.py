"""What is exported: a model in float32 with its weights, and its outputs for pixels."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from simclr_med.build import make_model
from simclr_med.config import Config
from simclr_med.keras_api import keras
from simclr_med.models import Model

# Of the projection head, of which the classifier may use some layers.
_OF_HEAD = ("proj_head_mode", "num_proj_layers", "proj_out_dim", "ft_proj_selector")


def portable(config: Config, num_classes: int) -> Model:
    """Returns the model of a run, for its weights to be restored: float32, all of it trainable.

    --mixed_precision, --remat, --global_bn and --fine_tune_after_block have no effect: they are about
    training here. The linear head that may be trained beside pretraining is left out.

    Args:
      config: of the run, its input range settled.
      num_classes: of the supervised head; 0 without one.
    """
    config = config.replace(
        remat=False,
        global_bn=False,  # its sum over replicas is an operation whose gradient cannot be saved
        fine_tune_after_block=-1,
        lineareval_while_pretraining=False,
    )
    policy = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy("float32")
    try:
        return make_model(config, num_classes)
    finally:
        keras.mixed_precision.set_global_policy(policy)


def outputs(
    model: Model, pixels: tf.Tensor, training: bool = False, multilabel: bool | None = None
) -> dict[str, tf.Tensor]:
    """Returns {"embeddings": [n, d], "logits": [n, classes], "probabilities": [n, classes]}.

    Logits and probabilities of a fine-tuned run only.

    Args:
      model: from `portable`.
      pixels: float32 [n, H, W, 3] in [0, 1].
      training: BatchNorm uses, and moves, its statistics.
      multilabel: whether an image can have several labels: a sigmoid each, not a softmax.
    """
    embeddings = model.encoder(pixels, training=training)
    for layer in _projection(model):
        embeddings = layer(embeddings, training=training)
    if model.supervised_head is None:
        return {"embeddings": embeddings}
    return {"embeddings": embeddings, **classified(model, embeddings, multilabel)}


def classified(
    model: Model, embeddings: tf.Tensor, multilabel: bool | None
) -> dict[str, tf.Tensor]:
    """Returns {"logits", "probabilities"}, [n, classes] each.

    Args:
      model: from `portable`, with a supervised head.
      embeddings: [n, d].
      multilabel: a sigmoid for each label, not a softmax.
    """
    logits = model.classify(embeddings)
    return {
        "logits": logits,
        "probabilities": (tf.sigmoid if multilabel else tf.nn.softmax)(logits),
    }


def parts(model: Model) -> list[keras.layers.Layer]:
    """Returns the layers that `outputs` uses: of the projection head only those below embeddings."""
    head = [] if model.supervised_head is None else [model.supervised_head]
    return [model.encoder, *_projection(model), *head]


def _projection(model: Model) -> list[keras.layers.Layer]:
    stage = model.selected_stage
    return model.projection_head.blocks[: None if stage == -1 else stage]


def facts(config: Config, model: Model, class_names, step: int, data: dict) -> dict[str, Any]:
    """Returns the content of simclr_med.json: how the network is built, its input and its output.

    Args:
      config: of the run.
      model: from `portable`.
      class_names: of the logits; empty without.
      step: of the run's checkpoint; 0 for weights that no run of simclr_med trained.
      data: of `data_json.read`.
    """
    network = config.model
    names = ("encoder", "resnet_depth", "width_multiplier", "sk_ratio", "se_ratio")
    return {
        **{name: getattr(network, name) for name in names},
        "input_range": model.encoder.input_range,
        "image_size": config.augment.image_size,
        "antialias": config.augment.is_antialiased,
        **{name: getattr(network, name) for name in _OF_HEAD},
        "build_long_side": config.data.build_long_side,
        "dicom_frame": config.data.dicom_frame,
        "embedding_size": width(model),
        "class_names": list(class_names),
        "several_labels": data.get("several_labels") if class_names else None,
        "global_step": step,
        "dataset": data.get("dataset"),
        "fingerprint": data.get("fingerprint"),
    }


def width(model: Model) -> int:
    """Returns d of the embeddings [n, d] of a model."""
    below = _projection(model)
    return below[-1].dense.units if below else model.encoder.num_features
