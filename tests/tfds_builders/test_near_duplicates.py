"""near_duplicates: the pairs that comparing every pair finds; copies found, others let alone."""

import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from tfds_builders import derm_bags
from tfds_builders.near_duplicates import CORRELATION, Thumbnails, near_pairs, thumbnail
from tfds_builders.verify import verify
from tfds_builders.verify_tables import tables


def picture(seed, height=300, width=400):
    """A soft blob on skin, as RGB."""
    rng = np.random.default_rng(seed)
    values = gaussian_filter(rng.normal(size=(height, width, 3)), (25, 25, 0))
    values = 128 + values / values.std() * 35 + rng.normal(size=(height, width, 1)) * 4
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))


def encode(image, kind="JPEG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


COPIES = {
    "quality 40": lambda image: encode(image, quality=40),
    "PNG": lambda image: encode(image, "PNG"),
    "grey": lambda image: encode(image.convert("L"), "PNG"),
    "half": lambda image: encode(image.resize((200, 150), Image.BICUBIC), quality=85),
    "odd size": lambda image: encode(image.resize((131, 97), Image.BILINEAR), quality=75),
    "square": lambda image: encode(image.resize((224, 224), Image.LANCZOS), quality=90),
    "brighter": lambda image: encode(image.point(lambda v: min(255, v * 1.05 + 4))),
}


@pytest.mark.parametrize("copy", COPIES)
def test_copies_are_found_and_nothing_else(copy):
    images = [picture(seed) for seed in range(12)]
    originals = np.stack([thumbnail(encode(image, quality=92)) for image in images])
    copies = np.stack([thumbnail(COPIES[copy](image)) for image in images[4:]])
    assert {(i, j) for i, j, _ in near_pairs(originals, copies)} == {(i + 4, i) for i in range(8)}
    assert {(j, i) for i, j, _ in near_pairs(copies, originals)} == {(i + 4, i) for i in range(8)}


def test_the_pairs_of_comparing_all():
    """Slow and obvious: every dot product. Most are far apart, some at the very threshold."""
    rng = np.random.default_rng(0)
    first = rng.normal(size=(300, 16, 16))
    first = gaussian_filter(first, (0, 2, 2)).reshape(300, -1)
    noise = gaussian_filter(rng.normal(size=(500, 16, 16)), (0, 1, 1)).reshape(500, -1)
    second = first[rng.integers(0, 300, 500)] + noise * rng.uniform(0, 0.15, (500, 1))
    first, second = (
        (x - x.mean(1, keepdims=True))
        / np.linalg.norm(x - x.mean(1, keepdims=True), axis=1)[:, None]
        for x in (first, second)
    )
    first, second = first.astype(np.float16), second.astype(np.float16)
    products = first.astype(np.float32) @ second.astype(np.float32).T
    pairs = near_pairs(first, second)
    sure = {tuple(pair) for pair in np.argwhere(products > CORRELATION + 1e-4).tolist()}
    perhaps = {tuple(pair) for pair in np.argwhere(products > CORRELATION - 1e-4).tolist()}
    assert 100 < len(sure) < 450 and sure <= {pair[:2] for pair in pairs} <= perhaps
    assert [pair[2] for pair in pairs] == sorted((pair[2] for pair in pairs), reverse=True)
    assert near_pairs(first[:0], second) == near_pairs(first, second[:0]) == []


def test_pictures_without_contrast_are_not_compared():
    flat = Image.fromarray(np.full((90, 120), 240, np.uint8))
    assert thumbnail(encode(flat)) is None and thumbnail(encode(flat, "PNG")) is None
    collected = Thumbnails()
    for number in range(600):
        collected.add(str(number), encode(flat if number % 2 else picture(number % 7, 60, 80)))
    names, thumbnails = collected.finish()
    assert names == [str(number) for number in range(0, 600, 2)] and thumbnails.shape == (300, 256)


def test_verify_names_images_by_what_is_wrong(tmp_path):
    """Two copies of one picture in two splits, an exact copy, a white and a tiny one, three broken."""
    (tmp_path / "img").mkdir()
    files = {
        "a.jpg": encode(picture(0)),
        "b.jpg": encode(picture(1)),
        "white.png": encode(Image.new("L", (60, 40), 255), "PNG"),
        "tiny.png": encode(picture(3).resize((7, 30)), "PNG"),
        "cut1.jpg": encode(picture(4))[:-900],
        "cut2.jpg": encode(picture(5))[:-900],
        "empty.jpg": b"",
        "smaller_a.png": COPIES["half"](picture(0)),
        "same_b.jpg": encode(picture(1)),
        "c.jpg": encode(picture(2)),
    }
    for name, data in files.items():
        (tmp_path / "img" / name).write_bytes(data)
    split = ["train"] * 7 + ["test"] * 3
    rows = [(f"c{i}", f"img/{name}", where) for i, (name, where) in enumerate(zip(files, split))]
    columns = ["case_id", "image_path", "split"]
    pd.DataFrame(rows, columns=columns).to_csv(tmp_path / "manifest.csv", index=False)
    for keep in ("all", "usual"):  # with names of files in the data, and without
        options = {"on_bad_image": "skip", "keep_metadata": keep}
        config = derm_bags.folder_config(str(tmp_path), **options)
        builder = derm_bags.Builder(config=config, data_dir=tmp_path / "tfds")
        builder.download_and_prepare()
        result = verify(builder)
        ((first, second, alike),) = result.look_alikes["train", "test"]
        assert (first, second) == ("img/a.jpg", "img/smaller_a.png") and alike > CORRELATION
        assert result.common_images["train", "test"] == (("img/b.jpg", "img/same_b.jpg"),)
    text = "\n".join(result.problems)
    assert "look the same" in text and "img/a.jpg ~ img/smaller_a.png" in text
    assert "(all white): 1" in text and "(8 px or less on its shorter side): 1" in text
    assert "2 x truncated image, first row 6, img/cut1.jpg" in text
    assert "row 8, img/empty.jpg: the file has 0 bytes" in text
    listed = builder.data_path / "images_with_problems.csv"
    assert str(listed) in text and len(listed.read_text().splitlines()) == 1 + 3 + 2
    rows_of = {title: rows for title, _, rows in tables(result)}
    assert rows_of["Unreadable, by reason"][0] == ["truncated image", "2", "row 6, img/cut1.jpg"]
    assert [row[:2] for row in rows_of["Notes on images"]] == [
        ["all white", "1"],
        ["8 px or less on its shorter side", "1"],
    ]
    assert rows_of["In common"] == [["train, test", "0", "1", "1"]]
