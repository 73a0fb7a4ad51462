"""report.html: it parses, shows every number, escapes, reads offline; its curves are the metrics."""

import base64
import dataclasses
import io
import json
import re
import types

import numpy as np
import pytest
from PIL import Image

from helpers.report_pages import OWNER, Balanced, made_case, row_of, with_drawings
from helpers.saved_figures import saved_figures
from simclr_med import metrics
from simclr_med.config import FIELDS
from simclr_med.data.cases import Cases
from simclr_med.evaluation import training_cases
from simclr_med.evaluation.report import findings, gallery, near_duplicates, points, strips
from simclr_med.evaluation.report import html as report
from simclr_med.evaluation.report.results import predictions_csv


def _numbers(value):
    """Yields every float of a nested result, as the page writes it."""
    if isinstance(value, dict):
        for part in value.values():
            yield from _numbers(part)
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from _numbers(part)
    elif isinstance(value, float):
        yield f"{value:.3f}"


@pytest.mark.parametrize("multilabel", [False, True])
def test_the_page_parses_reads_offline_and_holds_every_class_and_number(multilabel, tmp_path):
    result, view = made_case(multilabel=multilabel, num_classes=5)
    path = tmp_path / "report.html"
    report.save(str(path), result, view)
    text = path.read_text(encoding="utf-8")
    page = Balanced(text)
    assert not re.search(r"https?:|@import|url\(|<script|<link|<iframe", text)
    assert all(link.startswith(("data:image/", "#")) for link in page.links)
    assert {tag for tag, _ in page.tags} >= {"title", "table", "img", "details"}
    for tag, attributes in page.tags:
        assert tag != "img" or attributes["alt"]
        assert tag != "th" or attributes["scope"] in ("row", "col")
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids)) and {f"#{i}" for i in ids} == {
        link for link in page.links if link.startswith("#")
    }
    row = result["classification"]["linear probe"]["trained"]
    for name, counts in row["per_class"].items():
        assert f"{name}" in page.words
        assert f"{counts['positives']}" in page.words and f"{counts['negatives']}" in page.words
    for number in _numbers(row):
        assert number in page.words
    assert "0.457" in page.words  # the untrained encoder
    for expected in (
        "not a medical device",
        "1,234",
        "f00dfeed",
        "used41",
        "uncertain_policy: ignore",
    ):
        assert expected in page.words
    assert "no picture" in page.words


@pytest.mark.filterwarnings("error::UserWarning")
def test_text_of_users_is_escaped():
    names = ("<script>alert(1)</script>", 'a "quoted" & <b>', "$x_1$", "湿疹")
    result, view = made_case(names=names, num_classes=4)
    result["subgroups"] = [{"column": "<i>", "value": "<u>", "cases": 3, "patients": 2}]
    page = report.render(result, dataclasses.replace(view, identifiers=True))
    assert "<script" not in page and "<b>alert" not in page and "<i>" not in page
    words = Balanced(page).words
    for text in (*names, "<i> = <u>", "derm_bags/x<y", "/runs/<r>/result.json", "/a&b.png"):
        assert text in words


def test_shift_subgroups_and_fewer_labels_are_shown():
    result, view = made_case()
    measured = {"macro_auc": 0.611, "macro_auc_95": [0.522, 0.733]}
    result["subgroups"] = [
        {"column": "sex", "value": "male", "cases": 25, "patients": 9, **measured},
        {"column": "sex", "value": "", "cases": 4, "patients": 2, "macro_auc": None},
    ]
    drop = {"inside": 0.901, "inside_95": [0.8, 0.95], "outside": 0.802, "drop": 0.099}
    result["shift"] = {
        "inside": {"dataset": "chexpert", "split": "test"},
        "metrics": {"macro_auc": {**drop, "drop_95": [0.044, 0.155]}},
    }
    curve = [
        {"method": method, "label_fraction": share, "macro_auc": value, "macro_auc_std": 0.012}
        for method, share, value in (
            ("MICLe", 0.1, 0.811),
            ("MICLe", 1.0, None),
            ("SimCLR", 1, 0.8),
        )
    ]
    page = report.render(result, dataclasses.replace(view, label_efficiency=curve))
    words = Balanced(page).words
    for text in (
        "0.611 [0.522, 0.733]",
        "+0.099 [+0.044, +0.155]",
        "MICLe",
        "0.811",
        "0.799",
        "10 %",
    ):
        assert text in words
    assert words.index("sex = –") < words.index("sex = male")  # the smallest first


def _without_labels(result, view):
    cases = dataclasses.replace(view.cases, labels=np.full(len(view.cases.ids), -1))
    empty = dataclasses.replace(view, cases=cases, scores=None, class_names=(), pictures={})
    return {**result, "classification": {}}, empty


def _without_labels_to_train_on(result, view):
    return {**result, "classification": {}}, dataclasses.replace(view, scores=None)


def _untrained_label(result, view):
    scores = view.scores.copy()
    scores[:, 1] = np.nan
    truth = view.cases.labels
    rows = {"trained": row_of(truth, scores, view.class_names)}
    return {**result, "classification": {"linear probe": rows}}, dataclasses.replace(
        view, scores=scores
    )


def _no_positives(result, view):
    labels = np.where(view.cases.labels == 1, 0, view.cases.labels)
    cases = dataclasses.replace(view.cases, labels=labels)
    rows = {"trained": row_of(labels[labels >= 0], view.scores[labels >= 0], view.class_names)}
    return {**result, "classification": {"kNN": rows}}, dataclasses.replace(view, cases=cases)


@pytest.mark.parametrize(
    "result, view",
    [
        _without_labels(*made_case()),
        _without_labels_to_train_on(*made_case(multilabel=True)),
        _untrained_label(*made_case(multilabel=True)),
        _no_positives(*made_case()),
        made_case(num_classes=1),
        made_case(num_classes=1, multilabel=True),
        made_case(n=1),
        made_case(n=1, multilabel=True),
        made_case(n=3),  # one patient: nobody has a neighbour
    ],
    ids=[
        "no labels",
        "no labels to train on",
        "NaN column",
        "no positives",
        "one class",
        "one label",
        "one case",
    ]
    + ["one case of several labels", "one patient"],
)
def test_what_is_missing_leaves_a_page(result, view):
    for values in (result, json.loads(json.dumps(result))):
        words = Balanced(report.render(values, view)).words
        numbers = words.replace(FIELDS["missing_labels"].default, "").lower().replace("nan_", "")
        assert "Configuration" in words and "nan" not in numbers


def test_27_classes_and_4000_cases_fit_in_3_megabytes():
    result, view = made_case(n=4000, num_classes=27)
    pictures = {
        i: np.random.default_rng(i).integers(0, 255, (224, 224, 3), np.uint8) for i in view.pictures
    }
    page = report.render(result, dataclasses.replace(view, pictures=pictures))
    assert len(page.encode()) < 3e6


def _legends(monkeypatch, make):
    """Returns the texts of the legend of each chart that `make` draws."""
    drawn = saved_figures(monkeypatch)
    make()
    return [[text.get_text() for text in figure.legends[0].get_texts()] for figure in drawn]


@pytest.mark.parametrize("num_classes", [8, 9, 27])
def test_curves_say_which_classes_they_leave_out(monkeypatch, num_classes):
    _, view = made_case(n=400, num_classes=num_classes)
    truth, scores = view.cases.labels[2:], view.scores[2:]
    truth[truth == 3] = 4  # a class without a case
    pages = []
    legends = _legends(
        monkeypatch, lambda: pages.append(findings.curves(truth, scores, view.class_names))
    )
    (words,) = [Balanced(page).words for page in pages]
    rarest = num_classes - 1 - 8
    assert words.count(f"1 of {num_classes} classes cannot be measured and have no curve") == 2
    assert words.count(f"mean of all {num_classes - 1} classes") == 2
    assert words.count(f"the {rarest} rarest are in the table “Each class”") == 2 * (rarest > 0)
    for legend in legends:
        named = {line.split(" ", 1)[1] for line in legend if line[0].isdigit()}
        assert len(named) == min(8, num_classes - 1)
        counts = {f"class {c}": (truth == c).sum() for c in range(num_classes)}
        counts_of_others = [count for name, count in counts.items() if name not in named]
        assert max(counts_of_others) <= min(counts[name] for name in named)
        expected = f"not drawn: the {rarest} rarest, see “Each class”"
        assert (expected in legend) == (rarest > 0)


def test_dots_of_too_few_patients_are_hollow(monkeypatch):
    result, _ = made_case()
    known = {"column": "sex", "macro_auc": 0.7, "cases": 30, "patients": 20}
    result["subgroups"] = [
        {**known, "value": "male", "macro_auc_95": [0.5, 0.9]},
        {**known, "value": "female", "macro_auc_95": None},
    ]
    drawn = saved_figures(monkeypatch)
    words = Balanced(findings.subgroups(result)).words
    ((filled, hollow, _),) = [figure.axes[0].get_lines() for figure in drawn]
    assert (len(filled.get_xdata()), len(hollow.get_xdata())) == (1, 1)
    assert filled.get_markerfacecolor() == filled.get_markeredgecolor()
    assert hollow.get_markerfacecolor() == "white" != hollow.get_markeredgecolor()
    assert hollow.get_label() == "too few patients for an interval"
    assert "A hollow dot is of too few patients" in words
    result["subgroups"].pop()
    assert "hollow" not in findings.subgroups(result)


def test_a_column_without_words_is_not_there():
    result, _ = made_case()
    assert "left out" not in findings.per_class(result)
    row = result["classification"]["linear probe"]["trained"]
    row["left_out"] = {"class 1": "no training case"}
    page = Balanced(findings.per_class(result))
    assert "left out of averages" in page.words and page.words.count("no training case") == 1
    cells = sum(tag == "td" for tag, _ in page.tags)
    assert cells == 5 * len(row["per_class"])


def test_without_maps_it_says_why_once():
    result, view = made_case(n=60)
    why = "they are made of a fine-tuned network's own head"
    words = Balanced(report.render(result, dataclasses.replace(view, no_maps=why))).words
    assert words.count(f"No class activation maps: {why}.") == 1
    assert "No class activation maps" not in Balanced(report.render(result, view)).words


def test_only_what_misleads_looks_like_a_warning():
    result, view = made_case(n=300)
    text = report.render(result, view)
    boxes = re.findall(r'<div class="box([^"]*)"><p class="title">([^<]*)', text)
    assert boxes == [(" notice", "For research only")]
    known = {"with": "probe", "patients": 3, "split": "x", "dataset": "d"}
    patients = {"in_common": [known], "evaluated": 9, "not_known": [], "told_apart_by": "id"}
    text = report.render({**result, "patients": patients}, view)
    assert (
        '<div class="box warning"><p class="title">Warning: patients that the model knows' in text
    )


@pytest.mark.parametrize("seed", range(30))
def test_the_areas_under_the_points_are_the_metrics(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 50))
    positive = rng.uniform(size=n) < 0.4
    positive[:2] = [True, False]
    scores = rng.integers(0, int(rng.integers(1, 12)), n) / 7  # ties; sometimes constant
    x, y = points.roc_points(positive, scores)
    area = np.sum(np.diff(x) * (y[1:] + y[:-1]) / 2)
    assert area == pytest.approx(metrics.roc_auc(positive, scores))
    recall, precision = points.pr_points(positive, scores)
    area = np.sum(np.diff(np.r_[0, recall]) * precision)
    assert area == pytest.approx(metrics.average_precision(positive, scores))


def test_the_areas_under_the_mean_curves_are_the_macro_metrics():
    rng = np.random.default_rng(0)
    truth, scores = rng.integers(0, 4, 300), rng.dirichlet(np.ones(4), 300)
    pairs = [(truth == c, scores[:, c]) for c in range(4)]
    x, y = points.macro_roc([points.roc_points(*pair) for pair in pairs])
    area = np.sum(np.diff(x) * (y[1:] + y[:-1]) / 2)
    assert area == pytest.approx(metrics.macro_roc_auc(truth, scores), abs=2e-3)
    recall, precision = points.macro_pr([points.pr_points(*pair) for pair in pairs])
    area = np.sum(np.diff(np.r_[0, recall]) * precision)
    assert area == pytest.approx(metrics.macro_average_precision(truth, scores), abs=2e-3)


def test_calibration_bins_equal_a_loop():
    rng = np.random.default_rng(0)
    probability = np.r_[rng.uniform(0.3, 1, 200), 0.0, 1.0, 0.4, 0.6]
    true = rng.uniform(size=204) < probability
    bins = points.calibration_bins(probability, true, num_bins=5)
    for b in range(5):
        low, high = b / 5, (b + 1) / 5
        inside = [i for i, p in enumerate(probability) if low < p <= high or (b == 0 and p == 0.0)]
        assert bins.counts[b] == len(inside)
        assert bins.stated[b] == pytest.approx(np.mean([probability[i] for i in inside]))
        assert bins.observed[b] == pytest.approx(np.mean([true[i] for i in inside]))
    assert np.isnan(points.calibration_bins(np.array([0.9]), np.array([True])).stated[0])


def test_neighbours_equal_a_slow_double_loop_and_share_no_patient(monkeypatch):
    monkeypatch.setattr(strips, "_CHUNK", 7)
    rng = np.random.default_rng(3)
    features = rng.integers(-2, 3, size=(45, 4)).astype(float)  # ties, and rows of zeros
    features[5] = 0
    patients = rng.integers(0, 9, 45)
    queries = np.array([0, 5, 44, 17])
    neighbours, cosines = strips.nearest(features, patients, queries, 6)
    for q, row, its_cosines in zip(queries, neighbours, cosines):
        slow = []
        for i in range(45):
            if patients[i] != patients[q]:
                product = np.linalg.norm(features[q]) * np.linalg.norm(features[i])
                cosine = features[q] @ features[i] / product if product else 0.0
                slow.append((-round(cosine, 9), i))
        slow = sorted(slow)[:6]
        np.testing.assert_allclose(its_cosines, [-value for value, _ in slow], atol=1e-8)
        assert not set(patients[row]) & {patients[q]}
        distinct = {value for value, _ in slow}
        assert len(distinct) < 6 or list(row) == [i for _, i in slow]
    few, none = strips.nearest(features[:4], np.array([0, 0, 0, 1]), np.array([0, 3]), 5)
    assert few.shape == (2, 3) and list(few[0]) == [3, -1, -1] and np.isnan(none[0, 1:]).all()


@pytest.mark.parametrize("multilabel", [False, True])
def test_worst_errors_are_those_of_the_highest_loss(multilabel):
    _, view = made_case(n=30, num_classes=4, multilabel=multilabel)
    losses = []
    for i, label in enumerate(view.cases.labels):
        scores = view.scores[i]
        if multilabel:
            terms = [-np.log(p if t else 1 - p) for t, p in zip(label, scores) if not np.isnan(t)]
            losses.append(np.mean(terms) if terms else -1.0)
        else:
            losses.append(-np.log(scores[label]) if label >= 0 else -1.0)
    slow = sorted(range(30), key=lambda i: -losses[i])[:7]
    shown = strips.choose_cases(view.cases, view.scores, view.features, num_errors=7)
    assert list(shown.errors) == slow


def test_queries_are_of_different_classes_and_repeat():
    _, view = made_case(n=60, num_classes=4)
    first, second = (strips.choose_cases(view.cases, view.scores, view.features) for _ in range(2))
    assert set(view.cases.labels[first.queries]) == {0, 1, 2, 3}
    assert len(set(first.queries)) == 6
    np.testing.assert_array_equal(first.neighbours, second.neighbours)
    assert set(first.pictures) == {
        *first.errors.tolist(),
        *first.hits.tolist(),
        *first.queries.tolist(),
        *first.neighbours.ravel().tolist(),
    }


def test_hits_are_the_surest_right_cases_of_each_class():
    _, view = made_case(n=90, num_classes=3)
    hits = strips.choose_cases(view.cases, view.scores, view.features, num_hits=5).hits
    truth, scores = view.cases.labels, view.scores
    assert (scores[hits].argmax(1) == truth[hits]).all()
    assert sorted(truth[hits][:3]) == [0, 1, 2]  # one of each class first
    for c in range(3):
        right = [i for i in range(90) if truth[i] == c and scores[i].argmax() == c]
        slow = sorted(right, key=lambda i: -scores[i, c])
        of_class = [i for i in hits if truth[i] == c]
        assert of_class == slow[: len(of_class)]
    _, multilabel = made_case(multilabel=True)
    assert not len(
        strips.choose_cases(multilabel.cases, multilabel.scores, multilabel.features).hits
    )


def test_maps_stand_beside_the_pictures_of_errors_and_hits():
    result, view = made_case(n=60)
    page = report.render(result, view)
    assert "class activation map" not in page
    shown = strips.choose_cases(view.cases, view.scores, view.features)
    with_picture = [int(i) for i in (*shown.errors, *shown.hits) if int(i) in view.pictures]
    maps = {i: ("class 1", np.eye(5)[:4]) for i in with_picture}
    page = Balanced(report.render(result, dataclasses.replace(view, maps=maps)))
    assert page.words.count("It does not show why") == 2  # in both sections
    assert page.words.count("4 × 5 places") == 2
    assert page.words.count("right: evidence for class 1") == len(with_picture)
    coarse = {i: (name, class_map[:2]) for i, (name, class_map) in maps.items()}
    page = Balanced(report.render(result, dataclasses.replace(view, maps=coarse)))
    assert "No class activation maps: at this image size" in page.words
    assert "right: evidence" not in page.words


def test_evidence_is_yellow_where_it_is_and_the_rest_is_grey():
    pixels = np.full((40, 60, 3), [200, 40, 40], np.uint8)
    evidence = np.array([[-5.0, 0.0, 0.0], [0.0, 0.0, 2.0]])
    drawn = gallery._overlay(pixels, evidence).astype(int)
    assert np.ptp(drawn[5, 5]) <= 1  # grey
    corner = drawn[35, 55]
    assert corner[0] > 150 and corner[1] > 150 and corner[2] < 60
    assert (
        gallery._overlay(pixels, -abs(evidence)) == gallery._overlay(pixels, 0 * evidence)
    ).all()


_PUBLIC_TEXT = {  # flags whose text is no file, folder, id or machine
    *("dataset", "train_split", "eval_split", "selection_split", "shift_dataset", "shift_split"),
    *("uncertain_policy", "export_formats", "label_fractions", "sweep_learning_rates"),
    *(
        "sweep_weight_decays",
        "sweep_train_steps",
        "sweep_flags",
        "sweep_label_fraction",
        "uses",
        "subgroups",
        "keep_metadata",
        "eval_name",
        "missing_labels",
        "split_column",
        "label_columns",
        "class_order",
        "positive_class",
    ),
}


def _of_anna():
    """Returns (result, view) of which each id, path and machine names its owner."""
    result, view = made_case()
    ids = np.array([f"{OWNER}-case-{i}" for i in range(len(view.cases.ids))])
    cases = dataclasses.replace(
        view.cases, ids=ids, patients=np.array([f"{OWNER}-{p}" for p in view.cases.patients])
    )
    private = {
        name: f"/home/{OWNER}/{name}"
        for name, field in FIELDS.items()
        if field.type.startswith("str") and not field.metadata["choices"]
    }
    private = {name: value for name, value in private.items() if name not in _PUBLIC_TEXT}
    assert len(private) > 10
    config = {**view.config, **private, "flags": f"--x=/home/{OWNER}", "host": f"{OWNER}s-laptop"}
    result["skipped_images"] = [[3, f"/{OWNER}.png", f"broken image (of /home/{OWNER}/x.png)"]]
    result["files"] = {"result": f"/home/{OWNER}/result.json", "report": f"/home/{OWNER}/r.html"}
    return result, dataclasses.replace(view, cases=cases, config=config, **with_drawings(view))


def test_the_page_names_no_case_patient_file_folder_or_machine():
    result, view = _of_anna()
    page = report.render(result, view)
    words = Balanced(page).words
    assert OWNER not in page
    assert "Set, and left out here as they name folders, files or machines: model_dir" in words
    assert "row of the table" in words and "broken image" in words
    assert "It names no patient, case id, file or folder" in words


def test_a_case_is_called_by_its_row_in_the_predictions():
    result, view = _of_anna()
    shown = strips.choose_cases(view.cases, view.scores, view.features)
    words = Balanced(report.render(result, view)).words
    table = predictions_csv(view.cases, view.scores, view.class_names).splitlines()
    for i in [*shown.errors, *shown.queries]:
        assert f"case {i + 1}" in words
        assert table[i + 1].startswith(f"{view.cases.ids[i]},")  # below the header


def test_identifiers_are_kept_on_request_and_the_page_says_so_first():
    result, view = _of_anna()
    page = report.render(result, dataclasses.replace(view, identifiers=True))
    words = Balanced(page).words
    for text in (
        str(view.cases.ids[strips.choose_cases(view.cases, view.scores, view.features).errors[0]]),
        f"/home/{OWNER}/manual_dir",
        f"/home/{OWNER}/result.json",
        f"/{OWNER}.png",
    ):
        assert text in words
    assert words.index("Not to hand on") < words.index("Results")
    assert "keep it to yourself" in words and "It names no patient" not in words


def test_pictures_and_charts_in_the_page_hold_nothing_beside_their_pixels():
    result, view = _of_anna()
    pictures = re.findall(
        r"data:image/([a-z+]+);base64,([A-Za-z0-9+/=]+)", report.render(result, view)
    )
    assert {kind for kind, _ in pictures} == {"jpeg", "svg+xml"}
    for kind, data in pictures:
        data = base64.b64decode(data)
        if kind == "jpeg":
            image = Image.open(io.BytesIO(data))
            assert not image.getexif() and set(image.info) <= {
                *("jfif", "jfif_version", "jfif_unit", "jfif_density")
            }
        else:
            assert OWNER.encode() not in data and b"<dc:date>" not in data


def test_curves_views_the_map_and_the_duration_are_in_the_page():
    result, view = made_case()
    page = Balanced(report.render(result, view))
    for heading in ("How training went", "Map of the cases", "Near-duplicates"):
        assert heading not in page.words
    trained = {"sessions": 2, "seconds": 751.0, "killed": 0, "commits": []}
    result["provenance"] = {"training": trained, "software": {}, "host": "h"}
    result["provenance"]["hardware"] = {"accelerators": {}, "cpus": 2, "cpu": "c", "memory_gib": 1}
    text = report.render(result, dataclasses.replace(view, **with_drawings(view)))
    page = Balanced(text)
    assert "Training took 0:12:31 in 2 sessions. Evaluated after 1,234 steps." in page.words
    alts = [attributes["alt"] for tag, attributes in page.tags if tag == "img"]
    for start in (
        "supervised loss over the steps of training",
        "learning rate over the steps of training",
        "The evaluated cases in two dimensions",
        "Augmented training images of the first step",
    ):
        assert sum(alt.startswith(start) for alt in alts) == 1
    assert "answering with the classes' shares, without a look at an image" in page.words


def test_captions_stand_outside_the_boxes_that_scroll():
    result, view = made_case(multilabel=True)
    text = report.render(result, dataclasses.replace(view, **with_drawings(view)))
    assert "<caption" not in text and text.count("<figcaption") > 5
    boxes = re.findall(r'<div class="scroll"[^>]*>(.*?)</div>', text, re.DOTALL)
    assert boxes and not any("caption" in box for box in boxes)
    for picture in re.findall(r'<figure class="broad">(.*?)</figure>', text, re.DOTALL):
        assert re.fullmatch(
            r'<div class="scroll"[^>]*><img [^>]*></div><figcaption>[^<]+</figcaption>', picture
        )


def test_near_duplicates_equal_a_slow_double_loop(monkeypatch):
    monkeypatch.setattr(near_duplicates, "_CHUNK", 7)
    rng = np.random.default_rng(2)
    features = rng.normal(size=(12, 4))[rng.integers(0, 12, 40)] + 0.02 * rng.normal(size=(40, 4))
    features[3] = 0
    patients = rng.integers(0, 25, 40).astype(str)
    centred = features - features.mean(axis=0)
    centred[3] = 0  # a row of zeros is like nothing
    slow = []
    for i in range(40):
        for j in range(i + 1, 40):
            norms = np.linalg.norm(centred[i]) * np.linalg.norm(centred[j])
            cosine = centred[i] @ centred[j] / norms if norms else 0.0
            if patients[i] != patients[j] and cosine > 0.995:
                slow.append((cosine, i, j))
    slow.sort(reverse=True)
    duplicates = near_duplicates.find(features, patients, 0.995, num_shown=9)
    assert duplicates.count == len(slow) > 9 and duplicates.compared == 40
    assert duplicates.num_cases == len({k for _, *pair in slow for k in pair})
    assert duplicates.pairs.tolist() == [pair for _, *pair in slow[:9]]
    np.testing.assert_allclose(duplicates.cosines, [cosine for cosine, *_ in slow[:9]], atol=1e-6)


def test_near_duplicates_are_counted_and_shown_or_reported_as_none():
    result, view = made_case(n=30)
    features = np.eye(30)
    features[7] = features[20]  # of two patients
    features[1] = features[0]  # of one
    alike = near_duplicates.find(features, view.cases.patients)
    assert (alike.count, alike.num_cases, alike.pairs.tolist()) == (1, 2, [[7, 20]])
    pictures = {i: np.zeros((20, 30, 3), np.uint8) for i in range(30)}
    view = dataclasses.replace(view, near_duplicates=alike, pictures=pictures)
    text = report.render(result, view)
    words = Balanced(text).words
    assert (
        "whose features, less their mean, have a cosine above 0.98: 1, among 30 evaluated cases, "
        "of which 2 are" in words
    )
    assert "case 8 and case 21similarity 1.0000" in words
    none = near_duplicates.find(np.eye(30), view.cases.patients)
    words = Balanced(report.render(result, dataclasses.replace(view, near_duplicates=none))).words
    assert (
        "No two cases of different patients whose features, less their mean, have a cosine above 0.98, "
        "among 30 evaluated cases." in words
    )


def _training(features, patients, num_bags=None):
    """Training cases of made-up ids, of a split that may have more."""
    ids = np.array([f"{OWNER}-train-{i}" for i in range(len(features))])
    bags = types.SimpleNamespace(num_bags=num_bags or len(features))
    return training_cases.TrainingCases("train", bags, ids, patients, features)


def test_near_duplicates_of_training_cases_equal_a_slow_double_loop(monkeypatch):
    monkeypatch.setattr(near_duplicates, "_CHUNK", 7)
    rng = np.random.default_rng(4)
    base = rng.normal(size=(12, 4))
    features, training_features = (
        base[rng.integers(0, 12, n)] + 0.02 * rng.normal(size=(n, 4)) for n in (40, 29)
    )
    patients, training_patients = (rng.integers(0, 25, n).astype(str) for n in (40, 29))
    mean = training_features.mean(axis=0)
    slow = []
    for i in range(40):
        for j in range(29):
            a, b = features[i] - mean, training_features[j] - mean
            cosine = a @ b / (np.linalg.norm(a) * np.linalg.norm(b))
            if patients[i] != training_patients[j] and cosine > 0.995:
                slow.append((cosine, i, j))
    slow.sort(reverse=True)
    training = _training(training_features, training_patients, num_bags=500)
    duplicates = near_duplicates.find_in_training(features, patients, training, 0.995, num_shown=9)
    assert duplicates.count == len(slow) > 9 and duplicates.compared == 40
    assert (duplicates.split, duplicates.of_split) == ("train", (29, 500))
    assert duplicates.num_cases == len({i for _, i, _ in slow})
    assert duplicates.pairs.tolist() == [pair for _, *pair in slow[:9]]
    np.testing.assert_allclose(duplicates.cosines, [cosine for cosine, *_ in slow[:9]], atol=1e-6)


def test_the_number_of_compared_cases_is_limited_on_either_side(monkeypatch):
    monkeypatch.setattr(near_duplicates, "MOST_CASES", 5)
    monkeypatch.setattr(training_cases, "MOST_CASES", 5)
    features, patients = np.eye(9)[[0, 0, 0, 0, 1, 2, 3, 4, 5]], np.arange(9)
    cases = Cases(patients, patients + 100, patients, patients)
    bags = types.SimpleNamespace(num_bags=9)
    training = training_cases.TrainingCases.of("train", bags, cases, features)
    assert [len(part) for part in (training.ids, training.patients, training.features)] == [5] * 3
    duplicates = near_duplicates.find_in_training(features, patients, training)
    assert (duplicates.count, duplicates.compared, duplicates.of_split) == (4 * 4 + 1, 5, (5, 9))


@pytest.mark.parametrize("identifiers", [False, True])
def test_training_cases_that_look_like_evaluated_ones_are_shown(identifiers):
    result, view = made_case(n=30)
    features = np.eye(31)[:30]
    patients = np.array([f"{OWNER}-{i}" for i in range(3)])
    training = _training(np.eye(31)[[30, 7, 30]], patients, num_bags=1234)
    view = dataclasses.replace(
        view,
        identifiers=identifiers,
        near_duplicates=near_duplicates.find(features, view.cases.patients),
        near_training=near_duplicates.find_in_training(features, view.cases.patients, training),
        training_ids=training.ids,
        training_pictures={1: np.zeros((20, 30, 3), np.uint8)},
        pictures={i: np.zeros((20, 30, 3), np.uint8) for i in range(30)},
    )
    text = report.render(result, view)
    words = Balanced(text).words
    assert (
        "whose features, less their mean, have a cosine above 0.98: 1, all 30 evaluated cases compared "
        "with the first 3 of 1,234 cases of split “train”. Evaluated cases in such a pair: 1."
        in words
    )
    pair = f"case 7 and {OWNER}-train-1" if identifiers else "case 8 and training case 2"
    assert f"{pair}similarity 1.0000" in words
    assert identifiers or OWNER not in text
    none = near_duplicates.find_in_training(features[:5], view.cases.patients[:5], training)
    words = Balanced(report.render(result, dataclasses.replace(view, near_training=none))).words
    assert (
        "No pair of different patients whose features, less their mean, have a cosine above 0.98: the "
        "first 5 of" in words
    )


def test_the_reason_for_no_comparison_with_training_cases_is_shown():
    result, view = made_case()
    alike = near_duplicates.find(view.features, view.cases.patients)
    view = dataclasses.replace(view, near_duplicates=alike, no_training="it was trained elsewhere")
    assert "Not compared: it was trained elsewhere." in Balanced(report.render(result, view)).words
