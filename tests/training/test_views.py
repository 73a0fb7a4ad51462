"""views.png: what is drawn and what not; captions and no names."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from simclr_med.training import views


def batch_of(n, num_views, size=40, valid=None):
    rng = np.random.default_rng(0)
    pixels = rng.integers(120, 255, (n, num_views, size, size, 3), np.uint8)
    batch = {"images": tf.constant(pixels)}
    if valid is not None:
        batch["images"] = tf.constant(np.where(valid[..., None, None, None], pixels, 0))
        batch["real"] = tf.constant(valid)
    return batch


@pytest.fixture
def drawn(monkeypatch):
    """Returns all texts that are written into pictures."""
    texts = []
    write = views.ImageDraw.ImageDraw.text

    def record(self, position, text, *args):
        texts.append(text)
        return write(self, position, text, *args)

    monkeypatch.setattr(views.ImageDraw.ImageDraw, "text", record)
    return texts


@pytest.mark.parametrize("kind, name", [("simclr", "pair"), ("micle", "case")])
def test_pairs_have_numbers_and_their_views_too(tmp_path, drawn, kind, name):
    picture = views.save(str(tmp_path / "views.png"), batch_of(30, 2), {}, 0, kind)
    assert [t for t in drawn if t.startswith(f"{name} ")] == [f"{name} {i}" for i in range(1, 25)]
    assert drawn.count("view 1") == drawn.count("view 2") == 24
    assert np.asarray(Image.open(tmp_path / "views.png")).shape == picture.shape
    assert picture.shape[1] < 850  # eight tiles of 96 px


@pytest.mark.parametrize("size, side", [(40, 96), (96, 96), (128, 128), (448, 160)])
def test_tiles_are_large_enough_to_see(size, side):
    white = [np.full((size, size, 3), 10, np.uint8)] * 2
    picture = np.asarray(views.sheet([white], "micle")).max(axis=2)
    rows = np.flatnonzero((picture == 10).mean(axis=1) > 0.2)
    columns = np.flatnonzero((picture == 10).mean(axis=0) > 0.2)
    assert len(rows) == side and len(columns) == 2 * side


def test_empty_places_of_a_case_are_not_drawn(tmp_path, drawn):
    counts = np.array([1, 4, 6, 2, 3])
    valid = np.arange(6) < counts[:, np.newaxis]
    picture = views.save(str(tmp_path / "v.png"), batch_of(5, 6, valid=valid), {}, 0, "finetune")
    assert [t for t in drawn if t.startswith("case ")] == [f"case {i}" for i in range(1, 6)]
    assert sum(t.startswith("image ") for t in drawn) == counts.sum()
    black = (picture == 0).all(axis=2)
    assert not black.any()  # letters are dark grey, and pixels are not below 120


def test_a_case_of_many_images_says_how_many_are_shown(drawn):
    pixels = [np.zeros((8, 8, 3), np.uint8)] * 11
    views.sheet([pixels, pixels[:1]], "finetune")
    assert "case 1, 8 of 11 images" in drawn and "case 2" in drawn
    assert views._rows([8, 1, 3, 5, 2]) == [[(0, 8)], [(1, 1), (2, 3)], [(3, 5), (4, 2)]]


def test_what_cannot_be_drawn_costs_a_warning(tmp_path, monkeypatch, capsys):
    def fails(*args):
        raise RuntimeError("no font")

    monkeypatch.setattr(views, "sheet", fails)
    assert views.save(str(tmp_path / "views.png"), batch_of(2, 2), {}, 0, "micle") is None
    assert "views.png could not be made (RuntimeError: no font)" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())
