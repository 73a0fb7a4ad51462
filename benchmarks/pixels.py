"""Pixels of one window by code path and file format: difference from the definition, in grey levels.

    python benchmarks/pixels.py [--tree OTHER_CLONE]

A drawn photograph of 1,024 px (edges, texture, noise) and a drawn X-ray of 2,000 to 3,000 px, in each
format. Evaluation's window of each is resized by the training input, by evaluation, by an exported
SavedModel from the decoded array (uint8, uint16), and by the matrices of model.onnx; a window whose
edges are multiples of 8 px (which training decodes smaller from a JPEG) by training and ONNX only. The
definition is the area mean of the decoded pixels, in float64; differences are of 255. --tree measures
another version of simclr_med.
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
    """Returns uint8 [side, side, 3] with colours, hard edges, fine texture and noise, nowhere clipped."""
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
    """Returns {format: encoded bytes} of pixels uint8 [H, W, 3] or [H, W]."""
    from PIL import Image

    def encode(kind, **options):
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, kind, **options)
        return buffer.getvalue()

    files = {"JPEG q95": encode("JPEG", quality=95), "PNG": encode("PNG"), "BMP": encode("BMP")}
    return files | ({"GIF": encode("GIF")} if pixels.ndim == 3 else {})


def windows_of(pixels: np.ndarray, crop) -> list[tuple[int, int, int, int]]:
    """Returns evaluation's window (top, left, height, width), and it on multiples of 8 px."""
    side = round(crop.CENTER_CROP_PROPORTION * min(pixels.shape[:2]))
    top, left = ((length - side + 1) // 2 for length in pixels.shape[:2])
    return [(top, left, side, side), (top // 8 * 8, left // 8 * 8, side // 8 * 8, side // 8 * 8)]


def overlap(length: int, size: int) -> np.ndarray:
    """Returns the weights of the area mean along one axis, float64 [size, length].

    Args:
      length: pixels before the resize.
      size: pixels after it; each row sums to 1.
    """
    edges, pixel = np.arange(size + 1) * length / size, np.arange(length)
    covered = np.minimum(pixel + 1, edges[1:, None]) - np.maximum(pixel, edges[:-1, None])
    return np.maximum(covered, 0) * size / length


def render(crop, bicubic, encoded: bytes, decoded: np.ndarray, window, size: int) -> dict:
    """Returns {code path: resized pixels [size, size, 3] in 0..255}.

    Args:
      crop: module `simclr_med.augment.crop`.
      bicubic: module with the `resize` of model.onnx.
      encoded: a file.
      decoded: its pixels, uint8 [H, W, 3].
      window: (top, left, height, width).
      size: px.
    """
    import tensorflow as tf

    crop.random_crop_window = lambda *_: tf.constant(window)
    top, left, height, width = window
    cut = decoded[top : top + height, left : left + width].astype(np.float32)
    antialias = () if "antialias" not in bicubic.resize.__code__.co_varnames else (True,)
    graph = tf.function(lambda images: crop.evaluation_view(images, size), autograph=False)
    return {
        "training": crop.decode_random_crops(encoded, tf.constant([[0, 0]]), size)[0],
        "evaluation": crop.decode_center_crop(encoded, size) * 255,
        "SavedModel, uint8": graph(tf.constant(decoded[np.newaxis]))[0] * 255,
        "SavedModel, uint16": graph(tf.constant(decoded[np.newaxis].astype(np.uint16) * 257))[0]
        * 255,
        "ONNX": np.clip(bicubic.resize(tf.constant(cut[np.newaxis]), size, *antialias)[0], 0, 255),
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
            decoded = np.array(Image.open(io.BytesIO(encoded)).convert("RGB"))
            for size, window in itertools.product(SIZES, windows_of(decoded, crop)):
                top, left, side, _ = window
                cut = decoded[top : top + side, left : left + side].astype(float)
                weights = overlap(side, size)
                rows = np.tensordot(weights, cut, (1, 0))
                expected = np.tensordot(rows, weights, (1, 1)).transpose(0, 2, 1)
                cells = []
                views = render(crop, bicubic, encoded, decoded, window, size)
                if window != windows_of(decoded, crop)[0]:  # the aligned one
                    views = {path: views[path] for path in ("training", "ONNX")}
                for path, view in views.items():
                    view = np.asarray(view, float)
                    error = np.abs(view - expected)
                    contrast = np.abs(np.diff(view, axis=1)).mean()
                    cells.append(f"{path} {error.mean():.2f} / {error.max():.1f}, {contrast:.1f}")
                print(f"{name} {kind}, {window} to {size} px: {'; '.join(cells)}", flush=True)


if __name__ == "__main__":
    main()
