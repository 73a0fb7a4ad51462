"""Operations of a training step and peak operations of GPUs, for the share of the peak."""

from __future__ import annotations

import subprocess

BLOCKS_PER_GROUP = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}

# Dense TFLOP/s of the matrix units, (bfloat16, float32), by part of the card's name, first match. Float32
# products use TensorFloat-32 where the card has it, as TensorFlow, XLA and cuDNN do by default;
# bfloat16 stands for float16 where the card has no bfloat16. Source: NVIDIA's data sheets of each card
# (figures with sparsity halved), for GeForce the white papers of GA102 and AD102 (float32 accumulation).
PEAKS = {
    "H200": (989.4, 494.7),
    "H100 PCIe": (756.0, 378.0),
    "H100 NVL": (835.5, 417.8),
    "H100": (989.4, 494.7),  # SXM
    "B200": (2250.0, 1125.0),
    "A100": (311.9, 156.0),
    "A10G": (70.0, 35.0),
    "A10": (125.0, 62.5),
    "L40S": (362.0, 183.0),
    "L40": (181.0, 90.5),
    "L4": (121.0, 60.0),
    "V100": (125.0, 15.7),
    "T4": (65.0, 8.1),
    "RTX 4090": (165.2, 82.6),
    "RTX 3090": (71.0, 35.6),
}


def card() -> str | None:
    """Returns the name of the first NVIDIA card, None if there is none."""
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return output.splitlines()[0].strip() if output.strip() else None


def peak_flops(name: str | None, bfloat16: bool) -> float | None:
    """Returns the peak operations per second of a card, None if unknown.

    Args:
      name: of the card; None if there is none.
      bfloat16: whether to return the peak of bfloat16 rather than of float32.
    """
    for part, peaks in PEAKS.items():
        if name and part in name:
            return peaks[0 if bfloat16 else 1] * 1e12
    return None


def step_flops(depth: int, size: int, views: int) -> float:
    """Returns the operations of a step's convolutions and dense layers: 3 x forward, 2 x multiply-add.

    As in XLA's count, products with the padding's zeros and the gradient with respect to the pixels are
    left out. BatchNorm, ReLU, augmentation, loss and LARS are left out, too: 3 % of XLA's count for
    ResNet-50 at 224 px (gpu_check.py compares the two).

    Args:
      depth: of the ResNet: 18, 34, 50 or 101.
      size: side of a view, px.
      views: number of views that pass the network.
    """
    expansion = 4 if depth >= 50 else 1
    stem = _conv(size, 3, 64, 7, 2)
    total, size, channels = 0, size // 4, 64
    for group, count in enumerate(BLOCKS_PER_GROUP[depth]):
        filters = 64 * 2**group
        for i in range(count):
            stride = 2 if group and i == 0 else 1
            if i == 0:
                total += _conv(size, channels, filters * expansion, 1, stride)
            if expansion == 4:
                total += _conv(size, channels, filters, 1, 1) + _conv(
                    size, filters, filters, 3, stride
                )
                size //= stride
                total += _conv(size, filters, 4 * filters, 1, 1)
            else:
                total += _conv(size, channels, filters, 3, stride)
                size //= stride
                total += _conv(size, filters, filters, 3, 1)
            channels = filters * expansion
    total += channels * channels + channels * 128  # projection head
    return 2.0 * views * (3 * total + 2 * stem)


def _conv(size: int, channels: int, filters: int, kernel: int, stride: int) -> int:
    """Returns the multiply-adds of a convolution of a square image of `size` px."""
    before = (kernel - 1) // 2
    starts = range(-before, size - before, stride)
    taps = sum(min(start + kernel, size) - max(start, 0) for start in starts)
    return taps * taps * channels * filters
