"""report.html for who hears it, prints it or has a phone: headings, names of tables and pictures."""

import dataclasses
import re

import numpy as np
import pytest

from helpers.report_pages import Balanced, made_case, with_drawings
from simclr_med.evaluation.report import embedding, overview, page, strips
from simclr_med.evaluation.report import html as report
from simclr_med.run_folder.curves import Panel


def whole_page(multilabel=False, identifiers=False):
    """Returns a page with every section that there is."""
    result, view = made_case(n=60, num_classes=4, multilabel=multilabel)
    measured = {"macro_auc": 0.7, "macro_auc_95": [0.5, 0.9], "macro_ap": None}
    group = {"column": "sex", "value": "male", "cases": 30, "patients": 20, **measured}
    result["subgroups"] = [group, {**group, "value": "female", "macro_auc_95": None}]
    drop = {"inside": 0.9, "outside": 0.8, "drop": 0.1, "drop_95": [0.0, 0.2]}
    inside = {"dataset": "chexpert", "split": "test"}
    result["shift"] = {"inside": inside, "metrics": {"macro_auc": drop}}
    first = {"class": "class 1", "chosen_for": "90 % specificity", "threshold": 0.5}
    first |= {"sensitivity": 0.5, "specificity": 0.9, "no_interval": {}}
    first |= {"chosen_on_positives": 9, "chosen_on_negatives": 30}
    result["operating_points"] = [first, {**first, "class": "class 2"}]
    result["positive_class"] = "class 1"
    curve = [{"label_fraction": 0.1, "macro_auc": 0.6, "macro_auc_std": 0.1}]
    shown = strips.choose_cases(view.cases, view.scores, view.features).pictures
    view = dataclasses.replace(
        view,
        label_efficiency=curve,
        identifiers=identifiers,
        maps={i: ("class 1", np.eye(5)) for i in shown},
        **with_drawings(view),
    )
    return report.render(result, view)


@pytest.fixture(params=[(False, False), (True, False), (False, True)])
def pages(request):
    text = whole_page(*request.param)
    return text, Balanced(text)


def of(read, tag):
    return [attributes for name, attributes in read.tags if name == tag]


def test_headings_come_in_order_and_everything_is_in_main(pages):
    text, read = pages
    levels = [int(tag[1]) for tag, _ in read.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1 and len(levels) > 12
    assert all(level <= before + 1 for before, level in zip(levels, levels[1:]))
    body = re.search("<body>(.*)</body>", text, re.DOTALL)[1].strip()
    assert body.startswith("<main>") and body.endswith("</main>") and body.count("<main>") == 1
    assert re.search("<h2[^>]*></h2>", text) is None
    assert of(read, "html") == [{"lang": "en"}] and of(read, "title")


def test_every_picture_says_what_it_shows(pages):
    _, read = pages
    alts = [attributes["alt"] for attributes in of(read, "img")]
    assert len(alts) > 20 and all(len(alt.split()) >= 4 for alt in alts)
    charts = [alt for alt in alts if not alt.startswith("First image")]
    assert len(charts) == len(set(charts))


def test_every_table_has_a_name_of_its_own_and_every_heading_cell_a_scope(pages):
    text, read = pages
    tables = re.findall("<table.*?</table>", text, re.DOTALL)
    names = [attributes["aria-label"] for attributes in of(read, "table")]
    assert len(names) == len(tables) == len(set(names)) > 6 and all(names)
    scopes = [attributes["scope"] for attributes in of(read, "th")]
    assert set(scopes) == {"row", "col"}
    for table in tables:
        columns = table.count('<th scope="col">')
        rows = re.findall("<tr>(.*?)</tr>", table.split("<tbody>")[1], re.DOTALL)
        for row in rows:
            assert row.startswith('<th scope="row">')
            assert row.count("<th") + row.count("<td>") == columns > 1


def test_what_scrolls_can_be_reached_by_the_keyboard_and_has_a_name(pages):
    _, read = pages
    boxes = [box for box in of(read, "div") if box.get("class") == "scroll"]
    assert len(boxes) >= len(of(read, "table"))
    assert all(box["tabindex"] == "0" and box["role"] == "region" for box in boxes)
    names = [box["aria-label"] for box in boxes]
    assert len(set(names)) == len(names) and all(names)


def test_what_is_folded_is_open_in_print(pages):
    text, read = pages
    assert of(read, "details") and all("open" not in folded for folded in of(read, "details"))
    assert (
        "details::details-content { content-visibility: visible; }" in text.split("@media print")[1]
    )


def test_the_confusion_matrix_can_be_heard():
    read = Balanced(whole_page())
    (alt,) = [a["alt"] for a in of(read, "img") if a["alt"].startswith("Confusion matrix")]
    assert "class 1: 4 class 0, 5 class 1, 6 class 2, 7 class 3" in alt  # `made_case`: 0, 1, 2, ...


def test_a_curve_says_where_it_begins_and_ends():
    steps, values = np.arange(1, 1001), np.linspace(5, 0.25, 1000)
    values[-1] = np.nan
    panel = Panel("loss", steps, values, np.full(1000, 4.5), "chance")
    expected = (
        "loss over the steps of training: from 5 at step 1 to 0.255 at step 999; chance gives 4.5"
    )
    assert overview._alt(panel) == expected


def test_classes_on_the_map_differ_in_form_too():
    looks = [embedding._look(c) for c in range(64)]
    assert (
        len({look["marker"] for look in looks[:8]})
        == len({look["color"] for look in looks[:8]})
        == 8
    )
    assert len({(look["marker"], look["color"]) for look in looks}) == 64


def test_a_table_of_many_columns_breaks_intervals_in_print():
    few, many = (page.table("a", ["x"] * n, [["1"] * n]) for n in (9, 10))
    assert 'class="numbers"' in few and 'class="numbers wide"' in many
