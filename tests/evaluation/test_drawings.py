"""Figures never cost numbers, and come out whatever classes are called and however few the cases."""

import json
import os
import shutil
from html import escape

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_hex
from PIL import Image

from helpers import tiny_runs
from helpers.saved_figures import saved_figures
from simclr_med.config import Config
from simclr_med.data.cases import Cases
from simclr_med.evaluation import draw, evaluate, measure, training_cases
from simclr_med.evaluation.report import charts, embedding, findings, html
from simclr_med.run_folder import figures

CONFIG = Config().replace(train_mode="finetune", keep_hub_module_max=0)
LONG = "a very long name of a class, with commas, " * 12
NAMES = {
    "formulas": ("$x^", "a$b$c", "$\\frac{", "5 $", "100 %"),
    "scripts": ("黑色素瘤", "痣", "שומה", "شامة", "มะเร็ง"),
    "odd": (LONG, "_hidden", "<b>&amp;</b>", "tab\there", "new\nline"),
    "two": ("no", "yes"),
    "many": tuple(f"class {i}" for i in range(200)),
}


def measured_of(names, num_cases, *, multilabel=False):
    """Returns what `measure` would of random cases, scores and features."""
    rng = np.random.default_rng(0)
    labels = np.arange(num_cases) % len(names)
    scores = rng.dirichlet(np.ones(len(names)), num_cases)
    if multilabel:
        labels = rng.integers(0, 2, (num_cases, len(names))).astype(float)
        scores = rng.random((num_cases, len(names)))
    ids = np.array([f"c{i}" for i in range(num_cases)])
    groups = {"sex": np.array(["$f$", "m"])[np.arange(num_cases) % 2]}
    cases = Cases(ids, ids, labels, np.ones(num_cases, int), groups)
    main = {("supervised head", "trained"): scores}
    result = {
        **{"global_step": 1, "dataset": "d/$1", "fingerprint": None, "train_split": "train"},
        **{"eval_split": "test", "label_fraction": 1.0, "seed": 0, "trained_on": "d/$1"},
        **{"patients": {}, "evaluated": {}, "selection": {}, "contrastive": {}, "encoders": {}},
        **{"skipped_images": [], "labels": {}},
        **measure.metrics_of_scores(CONFIG, cases, names, main, None, []),
        **measure._acted_on(CONFIG, cases, names, main, {}),
    }
    return measure.Measured(
        result=result,
        checkpoint="ckpt-1",
        models={},
        bags=None,
        cases=cases,
        class_names=tuple(names),
        features={"trained": rng.normal(size=(num_cases, 16))},
        predictions={"predictions": scores},
        shift_from=None,
    )


@pytest.fixture
def written(tmp_path, monkeypatch):
    """A function that writes all files of such an evaluation; returns result.json and their folder."""
    monkeypatch.setattr(draw, "case_pictures", lambda bags, cases, size: {})

    def write(*args, **kwargs):
        measured = measured_of(*args, **kwargs)
        evaluate._write(CONFIG, str(tmp_path), measured, True, None)
        return json.loads((tmp_path / "result.json").read_text()), tmp_path

    return write


@pytest.mark.slow
@pytest.mark.parametrize("multilabel", [False, True])
@pytest.mark.parametrize("kind", list(NAMES))
def test_whatever_classes_are_called(written, kind, multilabel):
    names = NAMES[kind]
    result, folder = written(names, 60 if kind == "many" else 30, multilabel=multilabel)
    assert result["not_drawn"] == {} and {"report", "embedding"} <= set(result["files"])
    with Image.open(folder / "embedding.png") as picture:
        assert picture.width < 2500 and 400 < picture.height < 800
    page = (folder / "report.html").read_text(encoding="utf-8")
    for name in names[:5]:
        assert escape(name.strip()[:20].split("\t")[0].split("\n")[0]) in page


@pytest.mark.slow
@pytest.mark.parametrize("multilabel", [False, True])
@pytest.mark.parametrize("num_cases", [1, 2, 7])
def test_however_few_cases_there_are(written, num_cases, multilabel):
    result, folder = written(("no", "yes"), num_cases, multilabel=multilabel)
    assert result["not_drawn"] == {}
    assert {"report.html", "embedding.png", "predictions.csv"} <= set(os.listdir(folder))


@pytest.mark.parametrize("kind", list(NAMES))
def test_the_map_of_cases_with_whatever_names(tmp_path, kind, recwarn):
    features = np.random.default_rng(0).normal(size=(48, 4))
    labels = np.arange(48) % len(NAMES[kind])
    embedding.save(str(tmp_path / "a.png"), {"$x^": features}, labels, NAMES[kind])
    assert not [w for w in recwarn if "Glyph" in str(w.message)]
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.size == (760, 500)


def test_the_map_says_what_it_is_and_shows_cases_in_the_colour_of_their_class(
    tmp_path, monkeypatch
):
    drawn = saved_figures(monkeypatch)
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 12 - 1  # one is no label
    requested = []

    def pictures_of(cases):
        requested.extend(cases)
        return {i: rng.integers(0, 255, (9, 9, 3), np.uint8) for i in cases}

    features = {"trained": rng.normal(size=(60, 4)), "untrained": np.ones((60, 4))}
    names = tuple(f"k{i}" for i in range(11))
    embedding.save(str(tmp_path / "a.png"), features, labels, names, "val", pictures_of)
    (figure,) = drawn
    number = len(requested)
    assert 3 < number <= 14
    assert figure.get_suptitle() == f"60 cases of split 'val', {number} of them as pictures"
    first, second = figure.axes
    assert (first.get_title(), second.get_title()) == ("t-SNE, trained", "all alike, untrained")
    assert len(first.artists) == number and not second.artists
    looks = [
        (to_hex(dots.get_facecolor()[0]), dots.get_paths()[0].vertices.shape)
        for dots in first.collections
    ]
    assert len({*looks}) == 12  # 8 colours, and again with another marker
    assert [colour for colour, _ in looks[1:9]] == list(charts.COLOURS)
    frames = [to_hex(box.patch.get_edgecolor()) for box in first.artists]
    assert frames == [looks[labels[i] + 1][0] for i in requested]


@pytest.mark.parametrize("seed", range(5))
def test_pictures_on_the_map_do_not_cover_each_other(seed):
    points = np.random.default_rng(seed).normal(size=(300, 2)) * [1, 50]
    chosen = embedding.spread(points)
    unit = (points - points.min(0)) / np.ptp(points, axis=0)
    apart = [abs(unit[i] - unit[j]).max() for i in chosen for j in chosen if i != j]
    assert len(set(chosen)) == len(chosen) > 5 and min(apart) >= 0.16
    assert embedding.spread(np.zeros((4, 2))) == [0]


@pytest.mark.parametrize("num_cases", [1, 2, 3, 6, 7])
@pytest.mark.parametrize("width, constant", [(16, False), (1, False), (16, True)])
def test_the_map_of_few_cases_or_features(tmp_path, num_cases, width, constant):
    features = np.random.default_rng(0).normal(size=(num_cases, width)) * (not constant)
    labels = np.arange(num_cases) % 2
    embedding.save(str(tmp_path / "a.png"), {"trained": features}, labels, ("no", "yes"))
    assert (tmp_path / "a.png").stat().st_size > 1000


def test_of_many_classes_those_that_are_mixed_up_most_are_shown(monkeypatch):
    shown = []
    monkeypatch.setattr(charts, "confusion", lambda *args: shown.append(args) or "data:")
    counts = np.diag(np.full(60, 3))
    counts[50, 59], counts[7, 50] = 2, 4
    text = findings.confusion({"confusion": counts}, [f"k{i}" for i in range(60)])
    ((matrix, names, cases),) = shown
    assert len(names) == 40 and {"k7", "k50", "k59"} <= set(names)
    index_of = {name: i for i, name in enumerate(names)}
    assert (
        matrix[index_of["k7"], index_of["k50"]] == 4
        and matrix[index_of["k50"], index_of["k59"]] == 2
    )
    assert cases[index_of["k7"]] == 7 and cases[index_of["k50"]] == 5
    assert "Of 60 classes the 40 that are in most mistakes are shown" in text


def test_names_that_no_font_writes_are_numbered_with_a_note(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(figures, "_families", lambda: ("DejaVu Sans",))
    figures._signs.cache_clear()
    labels, number = figures.writable(["nevus", "黑色素瘤", "naevus – é", "痣"])
    assert labels == ["nevus", "class 2", "naevus – é", "class 4"] and number == 2
    rng = np.random.default_rng(0)
    path = tmp_path / "embedding.png"
    embedding.save(str(path), {"a": rng.normal(size=(8, 4))}, np.arange(8) % 2, ("痣", "a"))
    assert "cannot write 1 names of classes in embedding.png: 'class N'" in capsys.readouterr().out
    figures._signs.cache_clear()


def test_a_formula_is_text_in_every_figure(tmp_path):
    for path in ("a.png", "b.png"):
        with matplotlib.rc_context(figures.style()):
            figure = matplotlib.figure.Figure()
            figure.text(0, 0, "$\\frac{" if path == "a.png" else "plain")
            figure.savefig(tmp_path / path)
    with pytest.raises(ValueError, match="frac"):  # what matplotlib does by itself
        figure = matplotlib.figure.Figure()
        figure.text(0, 0, "$\\frac{$")
        figure.savefig(tmp_path / "c.png")


def fails(*args, **kwargs):
    raise RuntimeError("no font of that name")


@pytest.fixture
def run(tiny_tuned, tmp_path, one_block):
    """A copy of an evaluated run, with drawings of before."""
    folder = tmp_path / "run"
    shutil.copytree(tiny_tuned, folder)
    for name in ("result.json", "predictions.csv"):
        (folder / name).unlink()
    for name in ("report.html", "embedding.png"):
        (folder / name).write_text("of another evaluation")
    return folder


def numbers(result):
    return {k: v for k, v in result.items() if k not in ("files", "not_drawn", "provenance")}


def test_a_figure_that_fails_costs_a_warning(
    run, tiny_data, strategy, tiny_tuned, monkeypatch, capsys
):
    monkeypatch.setattr(embedding, "save", fails)
    monkeypatch.setattr(findings, "curves", fails)
    evaluate.evaluate(tiny_runs.FINETUNE, tiny_data, str(run), strategy)
    result = json.loads((run / "result.json").read_text())
    before = json.loads((tiny_tuned / "result.json").read_text())
    assert numbers(result) == numbers(before) and (run / "predictions.csv").exists()
    why = "RuntimeError: no font of that name"
    assert result["not_drawn"] == {"embedding.png": why, "report.html: Curves": why}
    assert not (run / "embedding.png").exists() and "embedding" not in result["files"]
    page = (run / "report.html").read_text()
    assert "This part could not be made" in page and "Calibration" in page
    out = capsys.readouterr().out
    assert f"Warning: embedding.png could not be made ({why}); all numbers are kept." in out
    assert f"Warning: 'Curves' of the report could not be made ({why})." in out


@pytest.mark.parametrize("known", [True, False])
def test_training_cases_are_compared_where_they_are_known(
    run, tiny_data, strategy, monkeypatch, known
):
    read, requested = training_cases.read, []

    def spy(*args):
        requested.append(args[-1])
        return read(*args)

    monkeypatch.setattr(training_cases, "read", spy)
    monkeypatch.setattr(evaluate, "_knows_its_training", lambda measured: known)
    evaluate.evaluate(tiny_runs.FINETUNE, tiny_data, str(run), strategy)
    page = (run / "report.html").read_text()
    sentence = "all 4 evaluated cases compared with all 8 cases of split “train”"
    assert (sentence in page, "Not compared:" in page) == (known, not known)
    assert requested == ["train"] * known


class Died(BaseException):
    """Stands for SIGKILL, or a matplotlib that ends the process."""


@pytest.mark.parametrize("where", [(embedding, "save"), (html, "save")])
def test_a_process_that_dies_while_it_draws_has_written_all_numbers(
    run, tiny_data, strategy, tiny_tuned, monkeypatch, where
):
    def dies(*args, **kwargs):
        raise Died

    monkeypatch.setattr(*where, dies)
    with pytest.raises(Died):
        evaluate.evaluate(tiny_runs.FINETUNE, tiny_data, str(run), strategy)
    result = json.loads((run / "result.json").read_text())
    before = json.loads((tiny_tuned / "result.json").read_text())
    assert numbers(result) == numbers(before) and (run / "predictions.csv").exists()
    assert not (run / "report.html").exists()  # beside other numbers it would be believed
