"""study.md: its first lines say what the numbers show and no more; tables and figures have them."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from helpers.made_study import BASE, CONTROL, FRACTIONS, MICLE, SIMCLR, USES, VALUES, study
from helpers.saved_figures import saved_figures
from simclr_med.experiments import (
    study_compare,
    study_figures,
    study_report,
    study_sentences,
    study_tables,
)

TEN, ALL = "with 10 % of the labels (598 cases)", "with all labels (5,980 cases)"


def made(**how):
    """Returns a study as it is read from study.json."""
    return json.loads(json.dumps(study(**how)))


def answer(content, start):
    (text,) = [a.text for a in study_sentences.answers(content) if a.question.startswith(start)]
    return text


def moved(arm, by):
    """Returns VALUES with one arm moved by so much in every use, at 10 % only."""
    values = {use: (value[0] + by, value[1]) for use, value in VALUES[arm].items()}
    return VALUES | {arm: values}


# The first lines


def test_a_gain_is_said_with_both_uses_the_number_of_labels_and_the_interval():
    text = answer(made(), "Does pretraining pay?")
    assert text == (
        f"Yes {TEN}: SimCLR (linear probe) reaches macro-AUC 0.860, no pretraining (fine-tuned) 0.820, "
        "difference +0.040 [+0.020, +0.060]. Both fine-tuned: difference +0.020 [+0.000, +0.040]: "
        "better. "
        f"Not shown {ALL}: SimCLR (fine-tuned) reaches macro-AUC 0.905, no pretraining (fine-tuned) "
        "0.900, difference +0.005 [-0.015, +0.025]."
    )


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({}, "Yes"),
        ({"half": 0.041}, "Not shown"),  # the interval holds 0
        ({"seeds": 2}, "Not shown"),
        ({"seeds": 1}, "Not shown"),
        ({"values": moved(SIMCLR, -0.1)}, "No, it does harm"),
        ({"values": moved(SIMCLR, -0.1), "seeds": 2}, "Not shown"),
        (
            {"values": moved(MICLE, 0.1), "half": 0.041},
            "Not shown",
        ),  # SimCLR decides, not the best arm
    ],
)
def test_only_an_interval_without_0_of_three_pretrainings_is_an_answer(how, words):
    text = answer(made(**how), "Does pretraining pay?")
    assert text.startswith(f"{words} {TEN}: ")
    low, high = map(float, re.search(r"\[([+-][\d.]+), ([+-][\d.]+)\]", text).groups())
    assert low < high
    few = how.get("seeds", 3) < 3
    assert ("nothing is known of the recipe" in text) == few


@pytest.mark.parametrize(
    ("by", "words"), [(0.0, "Not shown"), (0.02, "Yes"), (-0.03, "No, it is worse")]
)
def test_micle_is_compared_with_as_many_steps_of_simclr_by_case(by, words):
    content = made(values=moved(MICLE, by))
    text = answer(content, "Does MICLe add")
    assert text.startswith(f"{words} {TEN}: SimCLR → MICLe (linear probe) reaches macro-AUC ")
    assert f"{CONTROL} (linear probe) 0.862" in text


def test_what_the_correction_takes_back_is_said():
    text = answer(made(p_holm=0.2), "Does pretraining pay?")
    assert "(p 0.200 after Holm's correction: confirm it with more seeds)" in text
    assert "Holm" not in answer(made(p_holm=0.049), "Does pretraining pay?")


def test_the_best_use_of_each_arm_is_named_with_the_number_of_labels():
    text = answer(made(), "Which use is best?")
    assert (
        f"With 10 % of the labels (598 cases): fine-tuned for {BASE}; linear probe for {SIMCLR}, "
        f"{CONTROL} and {MICLE}. With all labels (5,980 cases): fine-tuned for all arms. Chosen by"
        in text
    )
    only = answer(made(uses=("finetune",)), "Which use is best?")
    assert "Chosen" not in only  # there was nothing to choose from


def test_without_a_selection_split_uses_are_compared_one_by_one(tmp_path, monkeypatch):
    content = made(chosen=False)
    pays = answer(content, "Does pretraining pay?")
    assert (
        f"Yes {TEN}: SimCLR (linear probe) reaches macro-AUC 0.860, no pretraining (linear" in pays
    )
    assert f"Not shown {ALL}: SimCLR (fine-tuned)" in pays
    assert "none was chosen: no --selection_split is given." in answer(content, "Which use")
    monkeypatch.setattr(study_figures, "by_use", lambda *args: None)
    study_report.save(str(tmp_path), content)
    page = (tmp_path / "study.md").read_text()
    assert not (tmp_path / "figure5_labels.png").exists() and "figure5_labels" not in page
    assert "**0." not in page and "Bold" not in page


def test_what_is_not_known_says_seeds_patients_and_what_would_go_unnoticed():
    text = answer(made(half=0.0123), "What is not known?")
    assert text.startswith("3 pretrainings of each kind, 1,494 patients, one dataset: ")
    assert "A true difference below about 0.012 would usually go unnoticed" in text
    one = answer(made(seeds=1), "What is not known?")
    assert one.startswith("1 pretraining of each kind") and "use --repeats=3" in one
    assert "other seeds" not in one and "Below 3 pretrainings" in answer(made(seeds=2), "What is")
    assert "drawn by our own code" in answer(made() | {"is_demo": True}, "What is not known?")


def test_cases_kept_elsewhere_have_an_answer_of_their_own():
    assert len(study_sentences.answers(made())) == 4
    text = answer(made(shift=True), "And on derm_bags/elsewhere:1.0.0")
    assert text.startswith(
        f"Yes {TEN}: SimCLR (linear probe) reaches macro-AUC 0.760, no pretraining"
    )


def test_of_the_calibration_error_less_is_better():
    row = {"metric": "ece", "difference": -0.02, "difference_95": [-0.03, -0.01]}
    row |= {"over": "runs and patients", "pretrainings": 3}
    assert study_sentences.verdict(row) == "better"
    assert study_sentences.verdict(row | {"metric": "macro_auc"}) == "worse"
    assert study_sentences.verdict(row | {"over": "patients"}) == "not shown"
    assert study_sentences.verdict(row | {"difference_95": [-0.03, 0.0]}) == "not shown"


# The page


def tables(page):
    """Returns the tables of a Markdown page: a list of rows of cells each."""
    blocks = re.findall(r"(?:^\|.*\|\n?)+", page, re.M)
    return [[line.strip("| ").split(" | ") for line in block.splitlines()] for block in blocks]


@pytest.mark.parametrize(
    "how", [{}, {"shift": True}, {"chosen": False}, {"seeds": 1}, {"uses": ("probe",)}]
)
def test_the_page_holds_every_number_and_whole_tables(how):
    content = made(**how)
    page = study_report.page(content)
    for table in tables(page):
        assert len({len(row) for row in table}) == 1, table
    for row in content["results"]:
        if row["place"] != "selection":
            value = row["macro_auc"]
            assert study_tables.interval(value) in page
    compared = [row for row in content["comparisons"] if row["metric"] == "macro_auc"]
    planned = [row for row in compared if row["p_holm"] is not None]
    assert f"corrected for all {study_compare.num_planned(content)} of them together (Holm)" in page
    lines = [row for table in tables(page) if "difference [95 %]" in table[0] for row in table[2:]]
    exploratory = [r for r in compared if r["p_holm"] is None and r["place"] == "inside"]
    assert len(lines) == len(planned) + len(exploratory)


def test_the_best_use_of_an_arm_is_bold_where_the_selection_split_chose_it():
    content = made()
    for row in content["best_use"]:
        if (row["arm"], row["fraction"]) == (SIMCLR, 0.1):
            row["use"] = "finetune"  # not the best on the evaluated cases
    first = next(table for table in tables(study_report.page(content)) if table[0][0] == "arm")
    of_simclr = next(row for row in first if row[0] == SIMCLR)
    assert [cell.startswith("**") for cell in of_simclr] == [False, False, True, False]


def test_undefined_and_unknown_numbers_are_dashes_and_reasons(tmp_path):
    content = made()
    for row in content["results"]:
        row["labels"] = None if row["fraction"] == 1 else row["labels"]
        if row["arm"] == SIMCLR:
            row["macro_auc"] |= {
                "mean": None,
                "interval": None,
                "why": "one class only",
                "values": [None],
            }
    for row in content["comparisons"]:
        if SIMCLR in (row["a"], row["b"]):
            row |= {"difference": None, "difference_95": None, "value_b": None, "p": None}
            row["p_holm"] = None
    text = answer(content, "Does pretraining pay?")
    assert (
        "cannot be compared, as macro-AUC is undefined" in text
        and "Not shown with all labels:" in text
    )
    study_report.save(str(tmp_path), content)
    page = (tmp_path / "study.md").read_text()
    assert f"| {SIMCLR} | – | – | – |" in page and page.count("No interval: one class only.") == 1


def test_the_page_says_whether_runs_were_compared_in_pairs():
    content = made(shift=True)
    all_pairs = [r for r in content["comparisons"] if r["pairs"]]
    some = (
        "Where all runs have a counterpart, arms are compared in pairs of runs with the same seed"
    )
    assert some in study_sentences.how_to_read(content)
    content["comparisons"] = all_pairs
    assert " Arms are compared in pairs of runs" in study_sentences.how_to_read(content)
    for row in content["comparisons"]:
        del row["pairs"]  # as an older version wrote it
    assert "in pairs" not in study_sentences.how_to_read(content)


def test_the_terminal_ends_with_the_first_lines_of_the_page(tmp_path, capsys):
    content = made(shift=True)
    study_report.save(str(tmp_path), content)
    printed = " ".join(capsys.readouterr().out.split())
    page = (tmp_path / "study.md").read_text()
    assert page.index("Does pretraining pay?") < 200
    position = 0
    for one in study_sentences.answers(content):
        assert f"**{one.question}** {one.text}" in page
        position = printed.index(f"{one.question} {one.text}", position)
    assert "In brackets: 95 % intervals over runs and patients." in printed[position:]
    for name in re.findall(r"\]\((.*?\.png)\)", page):
        assert Image.open(tmp_path / name).size[0] >= 800
    assert "Warning" not in printed


# The figures


def test_the_label_curve_is_of_best_uses_with_their_intervals_and_names_apart(
    tmp_path, monkeypatch
):
    figures = saved_figures(monkeypatch)
    path = tmp_path / "f.png"
    study_figures.label_efficiency(str(path), made())
    assert Image.open(path).size[0] == 800
    (axis,) = figures[0].axes
    of_arm = dict(zip((BASE, SIMCLR, CONTROL, MICLE), axis.containers))
    for arm, container in of_arm.items():
        line, _, (bars,) = container
        best = [max(VALUES[arm][use][i] for use in USES) for i in range(2)]
        np.testing.assert_allclose(line.get_ydata().astype(float), best)
        np.testing.assert_allclose(
            [segment[:, 1] for segment in bars.get_segments()], [[y - 0.01, y + 0.01] for y in best]
        )
        np.testing.assert_allclose(line.get_xdata().astype(float), [598, 5980], rtol=0.05)
    names = {text.get_text(): text for text in axis.texts}
    assert set(names) == set(of_arm)
    boxes = sorted((t.get_window_extent() for t in names.values()), key=lambda box: box.y0)
    assert all(below.y1 <= above.y0 + 1 for below, above in zip(boxes, boxes[1:]))
    assert max(box.x1 for box in boxes) <= 800
    for arm, container in of_arm.items():
        assert names[arm].get_color() == container[0].get_color()


def test_each_arm_has_a_panel_with_all_uses_and_full_markers_where_best(tmp_path, monkeypatch):
    figures = saved_figures(monkeypatch)
    study_figures.by_use(str(tmp_path / "f.png"), made())
    panels = {axis.get_title(loc="left"): axis for axis in figures[0].axes}
    assert list(panels) == [BASE, SIMCLR, CONTROL, MICLE]
    for arm, axis in panels.items():
        lines = [container[0].get_ydata().astype(float) for container in axis.containers]
        np.testing.assert_allclose(lines, [VALUES[arm][use] for use in USES])
        dots = [line for line in axis.lines if len(line.get_xdata()) == 1]
        full = {d.get_ydata()[0] for d in dots if d.get_markerfacecolor() != "white"}
        assert full == {max(VALUES[arm][use][i] for use in USES) for i in range(len(FRACTIONS))}
        dashed = [line for line in axis.lines if line.get_linestyle() == "--"]
        assert len(dashed) == (arm != BASE)
        for line in dashed:
            np.testing.assert_allclose(line.get_ydata(), [0.82, 0.9])  # the baseline's best


def test_the_loss_of_every_seed_is_drawn_beside_chance(tmp_path, monkeypatch):
    figures, content = saved_figures(monkeypatch), made(seeds=2)
    for stage in ("simclr", "control", "micle"):
        for seed in range(2):
            folder = tmp_path / f"pretrain_{stage}" / f"seed_{seed}"
            folder.mkdir(parents=True)
            rows = [
                {
                    **{
                        "step": step,
                        "contrast_loss": 8.0 - seed - step / 10,
                        "contrast_acc": step / 9,
                    },
                    **{"contrast_chance_loss": 9.6, "contrast_chance_acc": 0.25},
                }
                for step in range(1, 6)
            ]
            text = "".join(json.dumps(row) + "\n" for row in rows)
            (folder / "metrics.jsonl").write_text(text)
    study_figures.pretraining(str(tmp_path / "f.png"), content, str(tmp_path))
    axes = np.reshape(figures[0].axes, [2, 3])
    assert [axis.get_title(loc="left") for axis in axes[0]] == [
        *("SimCLR", "SimCLR → SimCLR by case"),
        "SimCLR → MICLe",
    ]
    for loss, accuracy in axes.T:
        drawn = [list(line.get_ydata()) for line in loss.lines]
        for seed in range(2):
            raw = [(8.0 - seed - step / 10) / 2 for step in range(1, 6)]
            assert [pytest.approx(raw)] * 2 == [d for d in drawn if d == pytest.approx(raw)]
        assert [4.8] * 5 in drawn and [0.25] * 5 in [list(li.get_ydata()) for li in accuracy.lines]
        assert sorted(label for label in loss.get_legend_handles_labels()[1]) == [
            "seed 0",
            "seed 1",
        ]
