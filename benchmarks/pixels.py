"""Pixels of one window by path and file format: how far from the definition, in grey levels of 255.

    python benchmarks/pixels.py [--tree OTHER_CLONE]

A drawn photograph of 1,024 px (edges, texture, noise) and a drawn X-ray of 2,000 to 3,000 px, in each
format. Evaluation's window of each is shown by training's input, by evaluation, by what an exported
SavedModel computes of the decoded array (uint8, uint16), and by the matrices of model.onnx; a window
whose edges are multiples of 8 px (of a JPEG, training decodes it smaller) by training's and ONNX's. The
definition: area means of the decoded pixels, in float64. --tree measures another version of simclr_med.
"""

from __future__ import annotations

import argparse
import io
import itertools
import os
import sys

import numpy as np

_HERE = os.path.dirname(os.path.abspath(__file__))
SIZES = (64, 224)


def photograph(side: int = 1024) -> np.ndarray:
    """Returns uint8 [side, side, 3]: colours, hard edges, fine texture, noise; clips nowhere."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:side, :side]
    image = np.stack([60 + x * 80 / side, 70 + y * 70 / side, 100 + 30 * np.sin(x / 9)], -1)
    for _ in range(40):
        row, column, radius = rng.uniform(0, side, 2).tolist() + [rng.uniform(8, side / 6)]
        image[(y - row) ** 2 + (x - column) ** 2 < radius**2] += rng.uniform(-30, 30, 3)
    image += 12 * np.sin(x * 1.7)[..., None] * np.sin(y * 1.3)[..., None]
    image += rng.normal(0, 8, (side, side, 1))
    return image.clip(0, 255).astype(np.uint8)


def files_of(pixels: np.ndarray) -> dict[str, bytes]:
    """Returns {format: bytes} of pixels [H, W, 3] or [H, W]."""
    from PIL import Image

    def encode(kind, **options):
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, kind, **options)
        return buffer.getvalue()

    found = {"JPEG q95": encode("JPEG", quality=95), "PNG": encode("PNG"), "BMP": encode("BMP")}
    return found | ({"GIF": encode("GIF")} if pixels.ndim == 3 else {})


def windows_of(pixels: np.ndarray, crop) -> list[tuple[int, int, int, int]]:
    """Returns evaluation's window (top, left, height, width), and the same on a grid of 8 px."""
    side = round(crop.CENTER_CROP_PROPORTION * min(pixels.shape[:2]))
    top, left = ((length - side + 1) // 2 for length in pixels.shape[:2])
    return [(top, left, side, side), (top // 8 * 8, left // 8 * 8, side // 8 * 8, side // 8 * 8)]


def overlap(length: int, size: int) -> np.ndarray:
    """Returns the share of each of `size` pixels that each of `length` covers, float64 [size, length]."""
    edges, pixel = np.arange(size + 1) * length / size, np.arange(length)
    covered = np.minimum(pixel + 1, edges[1:, None]) - np.maximum(pixel, edges[:-1, None])
    return np.maximum(covered, 0) * size / length


def shown_by(crop, bicubic, encoded: bytes, inside: np.ndarray, window, size: int) -> dict:
    """Returns {path: pixels [size, size, 3] in 0..255}."""
    import tensorflow as tf

    crop.random_crop_window = lambda *_: tf.constant(window)
    top, left, height, width = window
    cut = inside[top : top + height, left : left + width].astype(np.float32)
    rule = () if "antialias" not in bicubic.resize.__code__.co_varnames else (True,)
    graph = tf.function(lambda images: crop.evaluation_view(images, size), autograph=False)
    return {
        "training": crop.decode_random_crops(encoded, tf.constant([[0, 0]]), size)[0],
        "evaluation": crop.decode_center_crop(encoded, size) * 255,
        "SavedModel, uint8": graph(tf.constant(inside[np.newaxis]))[0] * 255,
        "SavedModel, uint16": graph(tf.constant(inside[np.newaxis].astype(np.uint16) * 257))[0]
        * 255,
        "ONNX": np.clip(bicubic.resize(tf.constant(cut[np.newaxis]), size, *rule)[0], 0, 255),
    }


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tree", default=os.path.join(_HERE, ".."), help="clone to measure")
    options = parser.parse_args()
    sys.path[:0] = [options.tree, _HERE]
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import input_paths
    import tensorflow as tf
    from PIL import Image

    from simclr_med.augment import crop

    try:
        from simclr_med.export import matrices as bicubic
    except ImportError:
        from simclr_med.export import bicubic

    xray = np.array(Image.open(io.BytesIO(input_paths.radiograph(0, "PNG"))))
    print(f"TensorFlow {tf.__version__}, {os.path.realpath(options.tree)}")
    print("mean / maximal difference from the definition, contrast of neighbouring pixels")
    for name, pixels in (("photograph", photograph()), ("X-ray", xray)):
        for kind, encoded in files_of(pixels).items():
            inside = np.array(Image.open(io.BytesIO(encoded)).convert("RGB"))
            for size, window in itertools.product(SIZES, windows_of(inside, crop)):
                top, left, side, _ = window
                cut = inside[top : top + side, left : left + side].astype(float)
                weights = overlap(side, size)
                rows = np.tensordot(weights, cut, (1, 0))
                expected = np.tensordot(rows, weights, (1, 1)).transpose(0, 2, 1)
                cells = []
                found = shown_by(crop, bicubic, encoded, inside, window, size)
                if window != windows_of(inside, crop)[0]:  # not evaluation's
                    found = {path: found[path] for path in ("training", "ONNX")}
                for path, shown in found.items():
                    shown = np.asarray(shown, float)
                    off = np.abs(shown - expected)
                    contrast = np.abs(np.diff(shown, axis=1)).mean()
                    cells.append(f"{path} {off.mean():.2f} / {off.max():.1f}, {contrast:.1f}")
                print(f"{name} {kind}, {window} to {size} px: {'; '.join(cells)}", flush=True)


if __name__ == "__main__":
    main()
