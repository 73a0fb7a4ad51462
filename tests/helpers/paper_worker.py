"""The paper's studies with encoders of one block a group, in a process that can be killed.

Usage: python paper_worker.py FLAG ...: run.py of these flags. `write_weights` makes what they start from.
"""

import sys

import pytest

from helpers import encoders
from simclr_med.commands import main
from simclr_med.models import resnet

# Small encoders in place of the paper's; supervised weights of Keras for the one that has none published.
MINE = """
[encoders.r50_1x]
resnet_depth = 18
[encoders.r50_4x]
resnet_depth = 34
width_multiplier = 1
[encoders.r152_2x]
resnet_depth = 34
width_multiplier = 2
[encoders.bit_r101x3]
resnet_depth = 101
width_multiplier = 1
[encoders.keras]
title = "ResNet-50 (1×)"
encoder = "keras_resnet"
resnet_depth = 50
[weights.supervised.path]
keras = "keras.h5"
[arms.r50_4x-supervised]
encoder = "keras"
"""
TINY = (
    *("--image_size=34", "--train_batch_size=4", "--train_steps=2", "--checkpoint_steps=2"),
    *("--eval_batch_size=8", "--bootstrap_resamples=100", "--keep_hub_module_max=0"),
    *("--warmup_epochs=0", "--label_subsets=1", "--label_fractions=0.5,1", "--nouse_blur"),
    *("--sweep_learning_rates=0.01", "--sweep_weight_decays=0"),
)


def shorten(patch):
    """Encoders of one block a group, but for Keras's ResNet-50."""
    encoders.shorten(patch, resnet50=resnet.BLOCKS_PER_GROUP[50])


def write_weights(folder):
    """Writes random weights, in the layouts and at the places that the paper's two files name."""
    import numpy as np

    from helpers import simclr_layout, weights_checks
    from helpers.bit_layout import public
    from simclr_med.keras_api import keras

    folder.mkdir()
    for path, depth, width in (
        ("simclrv1/pretrain/1x", 18, 1),
        ("simclrv1/pretrain/4x", 34, 1),
        ("simclrv2/pretrained/r152_2x_sk0", 34, 2),
        ("simclrv2/supervised/r152_2x_sk0", 34, 2),
    ):
        model = weights_checks.make(image_size=34, resnet_depth=depth, width_multiplier=width)
        simclr_layout.write_saved_model(model, str(folder / path / "saved_model"))
    np.savez(folder / "BiT-M-R101x3.npz", **public((1,)))
    model = keras.applications.ResNet50(weights=None, include_top=False, pooling="avg")
    model.save_weights(str(folder / "keras.h5"))


if __name__ == "__main__":
    with pytest.MonkeyPatch.context() as patch:
        shorten(patch)
        sys.exit(main.main(["run.py", *sys.argv[1:]]))
