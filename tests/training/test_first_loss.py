"""The file format is no cue: the same large pictures give the same first loss as JPEG and as PNG."""

import json

import numpy as np
import pytest
from PIL import Image

from helpers import tiny_runs
from simclr_med import build
from simclr_med.training import train
from tfds_builders.derm_bags import Builder, folder_config

SIDE, CASES = 1024, 8


def picture(seed):
    """Returns shapes, fine texture and noise, uint8 [SIDE, SIDE, 3]."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIDE, :SIDE]
    image = np.full((SIDE, SIDE, 3), 100.0) + rng.uniform(-30, 30, 3)
    for _ in range(30):
        row, column = rng.uniform(0, SIDE, 2)
        inside = (y - row) ** 2 + (x - column) ** 2 < rng.uniform(10, SIDE / 5) ** 2
        image[inside] += rng.uniform(-25, 25, 3)
    image += rng.normal(0, 25, (SIDE, SIDE, 1))
    return image.clip(0, 255).astype(np.uint8)


def first_loss(root, kind, **options):
    """Returns the contrastive loss of the first step on the pictures stored in that format."""
    photos = root / kind / "photos"
    photos.mkdir(parents=True)
    rows = ["case_id,image_path,label,split"]
    for case in range(CASES):
        Image.fromarray(picture(case)).save(photos / f"{case}.{kind}", **options)
        rows.append(f"c{case},{case}.{kind},a,train")
    (photos / "manifest.csv").write_text("\n".join(rows))
    builder = Builder(config=folder_config(photos), data_dir=root / kind / "tfds")
    builder.download_and_prepare()
    config = tiny_runs.BASE.replace(
        image_size=64, train_batch_size=CASES, train_steps=1, use_blur=False, learning_rate=0.1
    )
    run = root / kind / "run"
    train.train(config, builder, str(run), build.set_up(config), {})
    return json.loads((run / "metrics.jsonl").read_text().splitlines()[0])["contrast_loss"]


@pytest.mark.slow
@pytest.mark.usefixtures("one_block")
def test_the_first_loss_does_not_depend_on_the_file_format(tmp_path):
    jpeg = first_loss(tmp_path, "jpg", quality=95)
    png = first_loss(tmp_path, "png", compress_level=1)
    print(f"first loss: JPEG {jpeg:.5f}, PNG {png:.5f}, {abs(jpeg / png - 1):.2%} apart")
    assert jpeg == pytest.approx(png, rel=0.005)
    assert jpeg != png  # the pictures were read from two files
