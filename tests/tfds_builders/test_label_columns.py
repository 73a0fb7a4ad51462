"""derm_bags: several labels a case, each a column of the manifest (--label_columns)."""

import csv
import itertools

import numpy as np
import openpyxl
import pytest

from helpers.cxr_twins import draw_chexpert
from helpers.derm_folders import draw
from simclr_med.data.bags import open_split
from simclr_med.data.labels import CHEXPERT5, LabelReading
from tfds_builders import chexpert_studies, prepare
from tfds_builders.derm_bags import Builder, folder_config
from tfds_builders.derm_bags.manifest import read_manifest
from tfds_builders.errors import DataError
from tfds_builders.problems import ProblemsError
from tfds_builders.stored_bags import read_encoded
from tfds_builders.verify import verify
from tfds_builders.verify_tables import tables

HEAD = ["case_id", "image_path", "split", "edema", "effusion"]
NAN = float("nan")
NUMBERS = {"1": 1, "0": 0, "-1": -1, "": NAN, "1.0": 1, "0.0": 0, "-1.0": -1}
NUMBERS |= {"1,0": 1, "0,0": 0, "-1,0": -1, "NA": NAN, "nan": NAN}


def folder(root, rows, head=HEAD, separator=","):
    """Writes a manifest of lists, and draws its images."""
    for i, row in enumerate(rows):
        draw(root / row[1], seed=i)
    with open(root / "manifest.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=separator).writerows([head, *rows])
    return root


def rows_of(values, split="train"):
    """Returns rows, one case each, of pairs of label values."""
    return [[f"c{i}", f"{i}.png", split, *pair] for i, pair in enumerate(values)]


def labels_of(manifest):
    return np.array([case.labels for case in manifest.cases])


def error_of(root, **options):
    with pytest.raises(DataError) as caught:
        folder_config(str(root), **options)
    return str(caught.value)


def test_every_spelling_is_its_number(tmp_path):
    pairs = list(itertools.product(NUMBERS, repeat=2))
    root = folder(tmp_path, rows_of(pairs))
    manifest = read_manifest(root, label_columns="edema, effusion", keep_metadata="all")
    np.testing.assert_array_equal(labels_of(manifest), [[NUMBERS[a], NUMBERS[b]] for a, b in pairs])
    assert manifest.label_columns == ("edema", "effusion") and manifest.classes == ()
    assert manifest.metadata_columns == ()  # labels are no metadata
    blank = sum(text in ("", "NA", "nan") for pair in pairs for text in pair)
    written = sum(text in ("NA", "nan") for pair in pairs for text in pair)
    uncertain = sum(text.startswith("-1") for pair in pairs for text in pair)
    assert manifest.notes[-2] == (
        f"Several labels a case, from the columns edema, effusion of {len(pairs)} rows; blank: {blank} "
        f"({written} of them written as NA or nan), negative unless --blank_policy says otherwise; "
        f"uncertain (-1): {uncertain}, see --uncertain_policy."
    )
    assert manifest.notes[-1] == f"9 of {len(pairs)} cases have no value in any label column."


def test_however_the_table_was_saved(tmp_path):
    rows = rows_of([("1,0", "0,0"), ("", "-1,0"), ("0,0", "1,0")])
    want = [[1, 0], [NAN, -1], [0, 1]]
    root = folder(tmp_path, rows, separator=";")
    manifests = [read_manifest(root, label_columns="edema,effusion")]
    (root / "manifest.csv").unlink()
    book = openpyxl.Workbook()
    book.active.append(HEAD)
    for row, values in zip(rows, want):
        book.active.append([*row[:3], *(None if np.isnan(v) else v for v in values)])
    book.save(root / "manifest.xlsx")
    manifests.append(read_manifest(root, label_columns="edema,effusion"))
    for manifest in manifests:
        np.testing.assert_array_equal(labels_of(manifest), want)


def test_bad_values_are_named_each_with_row_and_column(tmp_path):
    values = [("1", "0"), ("2", "0"), ("unknown", "yes"), ("", "-"), ("0.5", "1")]
    root = folder(tmp_path, rows_of(values))
    with pytest.raises(ProblemsError) as caught:
        read_manifest(root, label_columns="edema,effusion")
    problems = {(p.kind, p.row, p.what) for p in caught.value.problems}
    assert problems == {
        ("labels that cannot be read", row, f"column {column!r} is {value!r}")
        for row, column, value in [
            *((3, "edema", "2"), (4, "edema", "unknown"), (6, "edema", "0.5")),
            *((4, "effusion", "yes"), (5, "effusion", "-")),
        ]
    }
    root_of_one = folder(tmp_path / "one", rows_of([("1", "0"), ("2", "0")]))
    assert error_of(root_of_one, label_columns="edema").endswith(
        "manifest.csv, row 3: column 'edema' is '2': write 1, 0, -1 (uncertain) or nothing."
    )


@pytest.mark.parametrize(
    "columns, words",
    [
        ("edema,efusion", "no column 'efusion' (found: case_id, image_path, split, edema, effusion): "
         "did you mean 'effusion'?"),
        ("edema,edema", "'edema' is there twice"),
        ("edema,,effusion", "there is an empty name"),
        ("edema,split", "column 'split' has another meaning"),
        ("label", "column 'label' has another meaning"),
    ],
)  # fmt: skip
def test_columns_that_cannot_be_labels(tmp_path, columns, words):
    root = folder(tmp_path, rows_of([("1", "0")]))
    assert words in error_of(root, label_columns=columns)


def test_one_label_and_several_together_are_refused(tmp_path):
    rows = [[*row, "nv"] for row in rows_of([("1", "0")])]
    root = folder(tmp_path, rows, [*HEAD, "label"])
    assert "column 'label' holds one" in error_of(root, label_columns="edema")
    plain = folder(tmp_path / "plain", rows_of([("1", "0")]))
    for option in ({"top_conditions": 2}, {"missing_labels": "x"}):
        assert "is for one label a case" in error_of(plain, label_columns="edema", **option)
    words = error_of(plain, label_columns="edema,effusion", split_column="effusion")
    assert "'effusion' names the splits" in words
    (plain / "manifest.csv").unlink()
    assert "--label_columns=edema names columns of manifest.csv, and " in error_of(
        plain, label_columns="edema", bag_regex="(.)"
    )


def test_a_blank_column_is_said_and_a_copy_of_its_own_is_made(tmp_path):
    root = folder(tmp_path, rows_of([("1", ""), ("0", "")]))
    both, single = (folder_config(str(root), label_columns=c) for c in ("edema,effusion", "edema"))
    assert "Label column 'effusion' is blank in every row." in both.notes
    assert not any("blank in every row" in note for note in single.notes)
    plain = folder_config(str(root))
    assert len({both.name, single.name, plain.name}) == 3
    assert folder_config(str(root), label_columns="edema , effusion").name == both.name


def chosen(values, rule):
    """Returns the value of a case whose rows have `values`, the slow way."""
    values_given = [v for v in values if v != ""]
    if not values_given:
        return NAN
    if len(set(values_given)) == 1 or rule == "latest":
        return float(values_given[-1])
    most = [
        v
        for v in set(values_given)
        if values_given.count(v) == max(map(values_given.count, values_given))
    ]
    return float(most[0]) if rule == "majority" and len(most) == 1 else -1.0


def test_rows_of_one_case_that_disagree_in_a_column(tmp_path):
    """A blank says nothing; what is left open is uncertain, never blank, which would be negative."""
    cases = [v for n in (2, 3) for v in itertools.product(["1", "0", "-1", ""], repeat=n)]
    rows = [
        [f"c{i}", f"{i}_{j}.png", "train", value, "0"]
        for i, values in enumerate(cases)
        for j, value in enumerate(values)
    ]
    root = folder(tmp_path, rows)
    conflicts = sum(len({*values} - {""}) > 1 for values in cases)
    for rule in ("unlabelled", "latest", "majority"):
        manifest = read_manifest(root, label_columns="edema,effusion", on_label_conflict=rule)
        want = [[chosen(values, rule), 0] for values in cases]
        np.testing.assert_array_equal(labels_of(manifest), want)
        start = f"{conflicts} cases have rows with different labels in 'edema', "
        assert any(note.startswith(start) for note in manifest.notes)
    with pytest.raises(ProblemsError) as caught:
        read_manifest(root, label_columns="edema,effusion")
    assert len(caught.value.problems) == conflicts
    first = caught.value.problems[0]
    assert first.kind == "cases with different labels"
    assert first.what == "case 'c1' has edema '0', but '1' in row 4"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A prepared folder of 60 cases whose labels are drawn, and the values, float [60, 2]."""
    root, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    texts = rng.choice(["1", "0", "-1", ""], (60, 2))
    rows = [
        [f"c{i:02d}", f"{i}_{j}.png", ("train", "validation")[i % 3 == 0], *texts[i]]
        for i in range(60)
        for j in range(1 + i % 2)
    ]
    builder = prepare.prepare(
        "derm_bags",
        manual_dir=str(folder(root, rows)),
        data_dir=str(tmp_path_factory.mktemp("tfds")),
        options=prepare.BuildOptions(label_columns="effusion,edema"),
    )
    return builder, np.array([[NUMBERS[text] for text in pair] for pair in texts])


def test_stored_in_the_order_that_was_given(prepared):
    builder, values = prepared
    assert tuple(builder.info.features["labels"]) == ("effusion", "edema")
    num_cases = 0
    for split in builder.info.splits:
        for example in read_encoded(builder, split, ["bag_id", "labels"]):
            edema, effusion = values[int(example["bag_id"][1:])]
            np.testing.assert_array_equal(example["labels"]["edema"], np.float32(edema))
            np.testing.assert_array_equal(example["labels"]["effusion"], np.float32(effusion))
            num_cases += 1
    assert num_cases == 60


@pytest.mark.parametrize("uncertain", ["ignore", "zeros", "ones", "ones,edema:zeros"])
@pytest.mark.parametrize("blank", ["negative", "ignore"])
def test_policies_are_those_of_chest_x_rays(prepared, uncertain, blank):
    builder, values = prepared
    reading = LabelReading(uncertain_policy=uncertain, blank_policy=blank)
    bags = open_split(builder, "train", reading)
    assert bags.multilabel and bags.class_names == ("effusion", "edema")
    numbers = {"ignore": NAN, "zeros": 0.0, "ones": 1.0}
    for bag in bags.dataset.as_numpy_iterator():
        for name, got, stored in zip(
            bags.class_names, bag["label"], values[int(bag["bag_id"][1:])][::-1]
        ):
            policy = "zeros" if uncertain.endswith("zeros") and name == "edema" else uncertain
            want = numbers[policy.split(",")[0]] if stored == -1 else stored
            if np.isnan(stored):
                want = 0.0 if blank == "negative" else NAN
            np.testing.assert_array_equal(got, want)


def test_features_are_those_of_chexpert(prepared, tmp_path):
    draw_chexpert(tmp_path, num_patients=4, seed=0, size=16)
    builder = chexpert_studies.Builder(
        config=chexpert_studies.folder_config(str(tmp_path)), data_dir=tmp_path / "tfds"
    )
    first, second = (b.info.features["labels"] for b in (builder, prepared[0]))
    kinds = [
        {(type(f), f.dtype, f.shape) for f in features.values()} for features in (first, second)
    ]
    assert kinds[0] == kinds[1]


def test_columns_named_as_chexperts_five_are_that_set(tmp_path):
    names = [*CHEXPERT5[::-1], "mass"]
    rows = [[f"c{i}", f"{i}.png", "train", *(str(int(i == c)) for c in range(6))] for i in range(6)]
    root = folder(tmp_path, rows, [*HEAD[:3], *names])
    config = folder_config(str(root), label_columns=",".join(names))
    builder = Builder(config=config, data_dir=tmp_path / "tfds")
    builder.download_and_prepare()
    bags = open_split(builder, "train", LabelReading(label_set="chexpert5"))
    assert bags.class_names == CHEXPERT5
    labels = {bag["bag_id"]: bag["label"].tolist() for bag in bags.dataset.as_numpy_iterator()}
    for i in range(6):
        assert labels[f"c{i}".encode()] == [float(names[i] == name) for name in CHEXPERT5]


def test_verify_counts_what_was_drawn(prepared):
    builder, values = prepared
    result = verify(builder)
    number = np.array([1 + i % 2 for i in range(60)])
    in_train = np.arange(60) % 3 != 0
    for column, name in enumerate(("edema", "effusion")):
        counts, of = result.splits["train"].labels[name], values[:, column]
        for state, is_it in (
            *(("positive", of == 1), ("negative", of == 0)),
            *(("uncertain", of == -1), ("blank", np.isnan(of))),
        ):
            assert getattr(counts, state) == number[is_it & in_train].sum()
    titles = [title for title, *_ in tables(result)]
    assert "Labels of train, by image" in titles and "Bags by label" not in titles


def test_a_label_whose_positive_images_are_all_missing_is_a_problem(tmp_path):
    root = folder(tmp_path, rows_of([("1", "0"), ("0", "1"), ("0", "0")]))
    (root / "1.png").unlink()
    config = folder_config(str(root), label_columns="edema,effusion", on_missing_image="skip")
    builder = Builder(config=config, data_dir=tmp_path / "tfds")
    builder.download_and_prepare()
    assert verify(builder).lost_labels == {"effusion": 1}
