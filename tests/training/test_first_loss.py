"""The first loss of a seed does not depend on the format that the same pictures are stored in."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from helpers.command_line import run

CASES, SIDE = 32, 1024


def photograph(seed):
    """Returns a smooth picture with edges and sensor noise, uint8 [1024, 1024, 3]."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE
    picture = np.zeros((SIDE, SIDE, 3))
    for _ in range(12):
        centre, radius = rng.uniform(size=2), rng.uniform(0.05, 0.4)
        inside = (x - centre[0]) ** 2 + (y - centre[1]) ** 2 < radius**2
        picture[inside] += rng.uniform(-60, 60, size=3)
    picture += 128 + 40 * np.sin(9 * (x + y))[..., None]
    picture += rng.normal(scale=10, size=picture.shape)
    return np.clip(picture, 0, 255).round().astype(np.uint8)


@pytest.mark.slow
@pytest.mark.one_stack
def test_jpeg_and_png_of_the_same_pictures_begin_with_the_same_loss(tmp_path):
    """Of a whole ResNet-18 at 64 px. Before, JPEGs were decoded at 1/4 or 1/8: 10 % apart."""
    losses = {}
    for kind in ("png", "jpg"):
        folder = tmp_path / kind
        folder.mkdir()
        rows = ["case_id,image_path,label"]
        for i in range(CASES):
            compressed = io.BytesIO()
            Image.fromarray(photograph(i)).save(compressed, "jpeg", quality=97, subsampling=0)
            if kind == "jpg":
                (folder / f"{i}.jpg").write_bytes(compressed.getvalue())
            else:  # the same pixels, not those before the compression
                Image.open(compressed).save(folder / f"{i}.png")
            rows.append(f"case{i},{i}.{kind},{'ab'[i % 2]}")
        (folder / "manifest.csv").write_text("\n".join(rows) + "\n")
        out = tmp_path / f"run_{kind}"
        code, _, errors = run(
            "--mode=train", "--dataset=derm_bags", f"--manual_dir={folder}", f"--model_dir={out}",
            f"--data_dir={tmp_path}/tfds", "--train_split=all", f"--train_batch_size={CASES}",
            "--train_steps=1", "--resnet_depth=18", "--image_size=64", "--warmup_epochs=0",
            "--keep_hub_module_max=0",
        )  # fmt: skip
        assert code == 0, errors
        first = json.loads((out / "metrics.jsonl").read_text().splitlines()[0])
        losses[kind] = first["contrast_loss"]
    assert losses["jpg"] == pytest.approx(losses["png"], rel=0.005)
