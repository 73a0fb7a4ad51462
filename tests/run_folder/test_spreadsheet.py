"""Tables that a spreadsheet opens: nothing is executed, and what is read back is what was written."""

import csv
import io

import numpy as np
import pytest

from simclr_med.data.cases import Cases
from simclr_med.evaluation import compare_runs
from simclr_med.evaluation.report import results
from simclr_med.metrics.predictions import read_predictions
from simclr_med.run_folder import spreadsheet

TEXTS = (
    *("=1+1", "+1", "-7331921087437583245", "-0.5", "@SUM(A1)", "\t=1", "\r=1", " =1", "＝1"),
    *("'", "''", "'=1", "''=1", "'s-Hertogenbosch", 'a "b", c', "湿疹", "plain", "a=1", "a-b", ""),
)


@pytest.mark.parametrize("text", TEXTS)
def test_no_cell_begins_as_a_formula_and_each_reads_back(text):
    cell = spreadsheet.cell(text)
    assert cell.strip()[:1] not in tuple("=+-@＝＋－＠") and cell[:1] not in tuple("\t\r\n")
    assert spreadsheet.original(cell) == text
    assert spreadsheet.original(text) == text or text.startswith("'")  # a table of before


def test_numbers_and_ordinary_text_stay_as_they_are():
    assert spreadsheet.cells([-0.5, -3, None, "a-b", "0017"]) == [-0.5, -3, None, "a-b", "0017"]


@pytest.mark.parametrize("multilabel", [False, True])
def test_predictions_hold_no_formula_and_read_back(tmp_path, multilabel):
    names = ("=cmd|' /C calc'!A0", "-eczema", "plain")
    ids = np.array([text for text in TEXTS if text])
    n = len(ids)
    rng = np.random.default_rng(0)
    labels = np.arange(n) % 4 - 1
    if multilabel:
        labels = rng.integers(0, 2, (n, 3)).astype(float)
        labels[0] = np.nan
    cases = Cases(ids, ids[::-1], labels, np.ones(n, int), {"=site": ids})
    scores = rng.dirichlet(np.ones(3), n)
    scores[3, 1] = -0.25  # a number stays one
    path = tmp_path / "predictions.csv"
    path.write_text(results.predictions_csv(cases, scores, names), encoding="utf-8", newline="")
    rows = list(csv.reader(io.StringIO(path.read_bytes().decode(), newline="")))
    for row in rows:
        for cell in row:
            assert cell == "-0.25" or cell.strip()[:1] not in tuple("=+-@＝＋－＠"), cell
    predictions = read_predictions(str(path))
    assert (
        predictions.ids.tolist() == ids.tolist()
        and predictions.patients.tolist() == ids[::-1].tolist()
    )
    assert predictions.class_names == names
    np.testing.assert_array_equal(predictions.truth, labels)
    np.testing.assert_allclose(predictions.scores, scores, rtol=1e-8)


def test_predictions_of_before_read_as_they_did(tmp_path):
    path = tmp_path / "predictions.csv"
    path.write_text("case_id,patient_id,truth,prediction,-a,b\n-17,'s-x,-a,b,0.25,0.75\n")
    predictions = read_predictions(str(path))
    assert predictions.ids[0] == "-17" and predictions.patients[0] == "'s-x"
    assert predictions.class_names == ("-a", "b") and predictions.truth[0] == 0


def test_a_comparison_holds_no_formula():
    row = dict.fromkeys(("a", "b", "p", "p_holm"), 0.5)
    row |= {"difference": -0.125, "difference_95": [-0.25, 0.125]}
    text = compare_runs._csv([{"a": "=run", "b": "@run", "metrics": {"macro_auc": row}}])
    (line,) = csv.DictReader(io.StringIO(text))
    assert (line["run_a"], line["run_b"], line["difference"]) == ("'=run", "'@run", "-0.125")
