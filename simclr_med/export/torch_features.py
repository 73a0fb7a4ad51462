"""A script for a process without TensorFlow: runs a network of timm with weights from a file.

    python -P torch_features.py ARCHITECTURE CLASSES WEIGHTS.safetensors PIXELS.npy OUT.npz

Of pixels float32 [n, H, W, 3] OUT.npz has "features" [n, d], "logits" [n, classes] if CLASSES is not 0,
and "versions". Not imported beside TensorFlow: both bring an LLVM, and TensorFlow 2.21 with the Triton of
torch 2.13 ends in a segmentation fault.
"""

from __future__ import annotations

import sys

import numpy as np


def main(name: str, num_classes: str, weights: str, pixels: str, out: str) -> None:
    import timm
    import torch
    from safetensors.torch import load_file

    network = timm.create_model(name, pretrained=False, num_classes=int(num_classes))
    network.load_state_dict(load_file(weights))  # strictly
    network.eval()
    features, logits = [], []
    with torch.no_grad():
        for image in np.load(pixels):
            maps = network.forward_features(torch.from_numpy(image.transpose(2, 0, 1)[None].copy()))
            features.append(network.forward_head(maps, pre_logits=True).numpy())
            logits.append(network.forward_head(maps).numpy())
    outputs = {"features": np.concatenate(features)}
    if int(num_classes):
        outputs["logits"] = np.concatenate(logits)
    np.savez(out, versions=f"torch {torch.__version__}, timm {timm.__version__}", **outputs)


if __name__ == "__main__":
    main(*sys.argv[1:])
