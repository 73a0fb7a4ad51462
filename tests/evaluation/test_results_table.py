"""The table on the terminal: whole at any width; subgroups with an interval, the others counted."""

import re

import pytest

from simclr_med import printing
from simclr_med.evaluation.report import results
from simclr_med.run_folder import terminal

LONG = "a very long name of a class [hand], with commas (ICD-10 L40.0) and more words"


def group(value, interval):
    row = {"column": "sex", "value": value, "cases": 50, "patients": 50}
    for name in results._OF_SUBGROUPS:
        row |= {name: 0.8, f"{name}_95": interval, f"{name}_why": "" if interval else "too few"}
    return row


def test_only_subgroups_with_an_interval_are_shown():
    large, small = group("f", [0.7, 0.9]), group("m", None)
    result = {"subgroups": [small, large], "min_subgroup": 10}
    ((title, _, rows),) = results._subgroup_table(result)
    assert [row[0] for row in rows] == ["sex: f"] and "more in the report" not in title
    assert "too few patients for an interval: 1;" in results._too_small(result)
    assert results._subgroup_table({"subgroups": [small], "min_subgroup": 10}) == []
    assert results._too_small({"subgroups": [large], "min_subgroup": 10}) == ""


def result_of(metrics, encoders=("trained", "untrained")):
    """A result of two evaluators, each number another one."""
    count = iter(range(1000))

    def estimates():
        values = {name: next(count) / 1000 for name in metrics}
        limits = {f"{n}_95": [next(count) / 1000, next(count) / 1000] for n in metrics}
        left_out = {LONG: "no training case"}
        of_all = {"cases": 1234, "patients": 987, "per_class": {}, "left_out": left_out}
        return {**values, **limits, **of_all}

    rows = {name: {which: estimates() for which in encoders} for name in ("linear probe", "kNN")}
    groups = [{**estimates(), "column": "anatomical_site_general", "value": LONG}]
    return {
        **{
            "dataset": "derm_bags/folder_2e297843e6/1.2.0",
            "eval_split": "test",
            "global_step": 250,
        },
        **{"classification": rows, "contrastive": {}, "subgroups": groups, "min_subgroup": 10},
        **{"selection": {}, "operating_points": [], "positive_class": None, "calibration": None},
        **{"labels": {}, "encoders": {"untrained": {"batch_norm_images": 1920}}},
        **{"skipped_images": [[3, "/" + "x" * 150 + ".png", "broken image"]]},
        "files": {"result": f"/{'folder/' * 20}result.json"},
    }


def printed(result, monkeypatch, capsys, width, quiet=False):
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr(results, "_calibrated", lambda result: [])
    with printing.only_results(quiet):
        results.print_table(result)
    return capsys.readouterr().out


@pytest.mark.parametrize("width", [80, 100, 120, 200])
@pytest.mark.parametrize(
    "metrics, encoders",
    [
        (results._OF_TABLE, ("trained", "untrained")),
        (results._OF_TABLE, ("trained", "before this run", "untrained")),
        (("chexpert5_auc", "macro_auc", "macro_ap"), ("trained", "untrained")),
        (("macro_auc",), ("trained",)),
    ],
)
def test_the_main_table_is_whole_at_any_width(monkeypatch, capsys, metrics, encoders, width):
    result = result_of(metrics, encoders)
    text = printed(result, monkeypatch, capsys, width)
    lines = [line for line in text.splitlines() if re.match("[┏┃┡│├└]", line)]
    assert lines and max(map(len, lines)) <= width and "…" not in text
    table = text.split("└")[0]
    for row in (row for rows in result["classification"].values() for row in rows.values()):
        for name in metrics:
            low, high = row[f"{name}_95"]
            assert f"{row[name]:.3f}" in table and f"[{low:.3f}, {high:.3f}]" in table
    for word in (*encoders, "linear probe", "kNN"):
        assert word in " ".join(re.sub("[│┃]", " ", table).split())


def test_where_there_is_room_a_row_is_an_encoder(monkeypatch, capsys):
    result = result_of(("balanced_accuracy", "macro_auc"))
    row = result["classification"]["kNN"]["trained"]
    wide = printed(result, monkeypatch, capsys, 80)
    tall = printed(result, monkeypatch, capsys, 60)
    (line,) = [line for line in wide.splitlines() if "kNN" in line and " trained" in line]
    assert f"{row['balanced_accuracy']:.3f}" in line and f"{row['macro_auc']:.3f}" in line
    (line,) = re.findall("│   macro-AUC.*", tall.split("kNN")[1])
    untrained_row = result["classification"]["kNN"]["untrained"]
    assert f"{row['macro_auc']:.3f}" in line and f"{untrained_row['macro_auc']:.3f}" in line


def test_paths_and_sentences_are_not_broken_in_a_file(monkeypatch, capsys):
    result = result_of(("macro_auc",))
    text = printed(result, monkeypatch, capsys, 80)
    assert f"  {result['files']['result']}  all numbers" in text.splitlines()
    assert f"  row 3: /{'x' * 150}.png: broken image" in text.splitlines()
    line = f"Left out of averages over classes: {LONG} (no training case)."
    assert line in text.splitlines()


def test_quiet_leaves_the_main_table_and_the_files(monkeypatch, capsys):
    result = result_of(("macro_auc", "balanced_accuracy"))
    loud = printed(result, monkeypatch, capsys, 120)
    text = printed(result, monkeypatch, capsys, 120, quiet=True)
    assert "Subgroups" in loud and "Subgroups" not in text
    assert loud.split("└")[0] in text and f"  {result['files']['result']}  all numbers" in text
    assert "1 unreadable images were left out" in text


def test_a_table_breaks_intervals_before_words(monkeypatch):
    monkeypatch.setenv("COLUMNS", "50")
    out = terminal.console()
    with out.capture() as capture:
        out.print(terminal.table(out, "", ["", "a", "b"], [["x [y]", *["0.5 [0.400, 0.600]"] * 2]]))
    text = capture.get()
    assert "x [y]" in text and text.count("[0.400, 0.600]") == 2
    assert not re.search(r"0\.5 \[", text)
