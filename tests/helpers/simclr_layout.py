"""The names that SimCLR's TF 2 checkpoints give to the variables of our models, position by position.

Facts of the file format of google-research/simclr tf2 (checked against tests/golden/names_*.json
by tests/models/test_models.py): its blocks keep their layers in lists whose positions count layers
without variables too. Tests write files with it; checkpoints/weights/simclr_tf2.py reads them by
another rule, which knows nothing of this one.
"""

from __future__ import annotations

from collections.abc import Iterator

import tensorflow as tf

from simclr_med.models import Model
from simclr_med.models.layers import BatchNormRelu, Conv, SelectiveKernel
from simclr_med.models.resnet import ResidualBlock

SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"


def checkpoint_keys(model: Model) -> dict[str, tf.Variable]:
    """Returns {checkpoint key: variable} for every variable of a built model.

    The projection head of SimCLR's checkpoints has the full number of layers; a model with fewer
    asks for fewer.
    """
    named = dict(_encoder(model.encoder, "model/resnet_model"))
    for i, block in enumerate(model.projection_head.blocks):
        named.update(_dense(block.dense, f"model/_projection_head/linear_layers/{i}/dense"))
        named.update(_norm(block.norm, f"model/_projection_head/linear_layers/{i}/bn_relu"))
    if model.supervised_head is not None:
        named.update(
            _dense(model.supervised_head.dense, "model/supervised_head/linear_layer/dense")
        )
    return {key + SUFFIX: variable for key, variable in named.items()}


def _encoder(encoder, path: str) -> Iterator[tuple[str, tf.Variable]]:
    # The stem's list: convolutions and norms in turn, then 'initial_conv', the last norm,
    # the pool and 'initial_max_pool'; only the first of those has no variables before it.
    body = encoder.stem.body
    for i, layer in enumerate(body):
        position = i + 1 if i == len(body) - 1 else i
        yield from _layer(layer, f"{path}/initial_conv_relu_max_pool/{position}")
    for g, group in enumerate(encoder.groups):
        for b, block in enumerate(group):
            yield from _block(block, f"{path}/block_groups/{g}/layers/{b}")


def _block(block, path: str) -> Iterator[tuple[str, tf.Variable]]:
    small = isinstance(block, ResidualBlock)
    body_at = f"{path}/" + ("conv2d_bn_layers" if small else "conv_relu_dropblock_layers")
    for i, layer in enumerate(block.body):
        yield from _layer(layer, f"{body_at}/{i if small else _position(block.body, i)}")
    if block.shortcut:
        shortcut_at = f"{path}/" + ("shortcut_layers" if small else "projection_layers")
        first = 0
        if block.shortcut.pool:
            first = 2 if block.shortcut.pool.pad else 1
        yield from _layer(block.shortcut.conv, f"{shortcut_at}/{first}")
        yield from _layer(block.shortcut.norm, f"{shortcut_at}/{first + 1}")
    if block.se:
        se_at = (
            f"{path}/se_layer" if small else f"{body_at}/{_position(block.body, len(block.body))}"
        )
        yield from _dense(block.se.reduce, f"{se_at}/se_reduce")
        yield from _dense(block.se.expand, f"{se_at}/se_expand")


def _position(body, i: int) -> int:
    """Returns a bottleneck layer's place in SimCLR's list, with a DropBlock after each norm."""
    drop_blocks = sum(not isinstance(layer, Conv) for layer in body[:i])
    return i + drop_blocks


def _layer(layer, path: str) -> Iterator[tuple[str, tf.Variable]]:
    if isinstance(layer, Conv):
        yield f"{path}/conv2d/kernel", layer.conv2d.kernel
    elif isinstance(layer, BatchNormRelu):
        yield from _norm(layer, path)
    elif isinstance(layer, SelectiveKernel):
        yield f"{path}/conv2d_fixed_padding/conv2d/kernel", layer.conv.conv2d.kernel
        yield from _norm(layer.norm, f"{path}/batch_norm_relu")
        yield f"{path}/conv2d_0/kernel", layer.squeeze.conv2d.kernel
        yield from _norm(layer.squeeze_norm, f"{path}/batch_norm_relu_1")
        yield f"{path}/conv2d_1/kernel", layer.gate.conv2d.kernel


def _norm(layer: BatchNormRelu, path: str) -> Iterator[tuple[str, tf.Variable]]:
    for part in ("gamma", "beta", "moving_mean", "moving_variance"):
        variable = getattr(layer.bn, part)
        if variable is not None:
            yield f"{path}/bn/{part}", variable


def _dense(layer, path: str) -> Iterator[tuple[str, tf.Variable]]:
    yield f"{path}/kernel", layer.kernel
    if layer.bias is not None:
        yield f"{path}/bias", layer.bias


def write_checkpoint(model: Model, prefix: str, **beside) -> str:
    """Writes what SimCLR's training writes; returns the path of the checkpoint."""
    return tf.train.Checkpoint(model=tree(model), **beside).write(prefix)


def write_saved_model(model: Model, folder: str) -> None:
    """Writes a SavedModel as SimCLR's, which has Keras's lists of variables too.

    The keys are of the shortest ways: trainable variables from a list of the module, the others from
    one of the encoder.
    """
    module = tf.Module()
    module.model = tree(model)
    encoder = module.model.resnet_model
    statistics = list(model.encoder.non_trainable_variables)
    encoder.keras_api = tf.train.Checkpoint(non_trainable_variables=statistics)
    module.trainable_variables_list = list(model.trainable_variables)
    tf.saved_model.save(module, folder)


def tree(model: Model) -> tf.Module:
    """Returns objects that hold a model's variables under SimCLR's names, below `model`."""
    root = tf.Module()
    for key, variable in checkpoint_keys(model).items():
        *way, last = key.removesuffix(SUFFIX).removeprefix("model/").split("/")
        node = root
        for name in way:
            if not hasattr(node, name):
                setattr(node, name, tf.Module())
            node = getattr(node, name)
        setattr(node, last, variable)
    return root
