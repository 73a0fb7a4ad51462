"""derm_bags: all problems in one error message; labels that mean nothing, or have several spellings."""

import csv
import itertools

import openpyxl
import pytest

from helpers.derm_folders import draw, ham_folder, pad_folder, scin_folder, write_csv
from tfds_builders import prepare as preparation
from tfds_builders.derm_bags import folder_config
from tfds_builders.derm_bags.labels import read_labels
from tfds_builders.derm_bags.manifest import read_manifest
from tfds_builders.errors import DataError
from tfds_builders.problems import SHOWN, Problems, ProblemsError
from tfds_builders.splits import hash_split

HEAD = ["case_id", "image_path", "label", "patient_id"]


def folder(root, rows, head=HEAD, images=()):
    """Writes a manifest of lists, and draws its images (or `images`)."""
    for name in images or {row[1] for row in rows if len(row) > 1}:
        draw(root / name)
    with open(root / "manifest.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([head, *rows])
    return root


def cases_of(labels, split="train"):
    """Returns a manifest's rows, one case for each label, in one split."""
    return [[f"c{i}", f"{i}.png", label, split] for i, label in enumerate(labels)]


def labels_of(root, labels, **options):
    root = folder(root, cases_of(labels), [*HEAD[:3], "split"])
    manifest = read_manifest(root, **options)
    return [case.label for case in manifest.cases], manifest


# All problems at once


def test_one_message_has_all_problems_and_the_csv_each_of_them(tmp_path):
    """The slow way: each problem that was planted is looked for in the list."""
    rows = [
        [f"c{i // 2}", f"{i}.png", "nv" if i // 2 % 2 else "mel", f"{i // 2:04d}"]
        for i in range(40)
    ]
    missing = [2, 9, 14, 25, 38]
    for i in (6, 11, 19):  # three conflicts
        rows[i][2] = "bcc"
    rows[29] = rows[29][:3]
    rows[32] = rows[32][:2]
    rows += [["c90", "90.png", "nv", "5"], ["c91", "91.png", "nv", "7.0"]]
    images = [row[1] for i, row in enumerate(rows) if i not in missing]
    root = folder(tmp_path / "data", rows, images=images)
    with pytest.raises(DataError) as caught:
        preparation.prepare("derm_bags", manual_dir=str(root), data_dir=str(tmp_path / "tfds"))
    message = str(caught.value)
    path = tmp_path / "tfds/derm_bags/problems_data.csv"
    assert message.startswith(f"12 problems in {root}: ")
    assert message.endswith(f"\nThe whole list: {path}")
    with open(path, encoding="utf-8-sig", newline="") as file:
        listed = [(row["kind"], int(row["row"])) for row in csv.DictReader(file)]
    want = [("missing images", i + 2) for i in missing]
    want += [("cases with different labels", i + 2) for i in (7, 11, 19)]
    want += [("rows of another length", i + 2) for i in (29, 32)]
    want += [("identifiers written in several ways", row) for row in (42, 43)]
    assert sorted(listed) == sorted(want)
    for kind in {kind for kind, _ in want}:
        assert f"{kind} ({sum(kind == other for other, _ in want)})" in message
    assert sum(line.startswith("    manifest.csv, row ") for line in message.splitlines()) == SHOWN
    assert sorted(p.name for p in root.iterdir()) == sorted([*images, "manifest.csv"])


def test_where_the_list_cannot_be_written(tmp_path):
    root = folder(tmp_path / "data", [["a", "a.png", "x", ""], ["b", "b.png", "x", ""]])
    (tmp_path / "tfds").write_text("a file, no folder")
    with pytest.raises(DataError, match="could not be written to .*tfds/derm_bags/problems_data"):
        preparation.prepare("derm_bags", manual_dir=str(root), data_dir=str(tmp_path / "tfds"))


@pytest.mark.parametrize("sizes", [(1, 1), (30,), (2, 40), (1, 1, 1, 90), (20, 20, 20)])
def test_ten_are_shown_and_some_of_each_kind(sizes):
    problems = Problems()
    for kind, size in enumerate(sizes):
        for row in range(size):
            problems.add(f"kind {kind}", f"/data/{kind}.csv", row, f"what {kind} {row}", "advice")
    with pytest.raises(ProblemsError) as caught:
        problems.raise_if_any()
    message = str(caught.value)
    shown = [message.count(f": what {kind} ") for kind in range(len(sizes))]
    assert sum(shown) == min(SHOWN, sum(sizes)) and min(shown) >= 1
    assert len(caught.value.problems) == sum(sizes)
    hidden = [size - n for size, n in zip(sizes, shown) if size > n]
    assert all(f"and {n} more." in message for n in hidden)


def test_rows_blank_bad_paths_and_splits_are_all_named(tmp_path):
    head = [*HEAD, "split"]
    rows = [
        ["", "a.png", "x", "p1", "train"],
        ["b", "/etc/passwd", "x", "p2", "train"],
        ["c", "a.png", "{'x': }", "p3", "train"],
        ["d", "a.png", "x", "p4", "my split"],
        ["e", "a.png", "x", "p5", "nan"],
        ["f", "a.png", "x", "p6", "train"],
        ["f", "a.png", "x", "p7", "train"],
        ["g", "b.png", "x", "p8", "train"],
        ["h", "b.png", "x", "p8", "test"],
    ]
    with pytest.raises(ProblemsError) as caught:
        read_manifest(folder(tmp_path, rows, head, ["a.png", "b.png"]))
    problems = {(problem.row, problem.what[:12]) for problem in caught.value.problems}
    want = {(2, "case_id is b"), (3, "image_path '"), (4, "label \"{'x':"), (5, "split 'my sp")}
    want |= {(6, "split is 'na"), (8, "case 'f' has"), (8, "image 'a.png"), (10, "patient 'p8'")}
    assert want <= problems


# Missing images


def test_on_missing_image_is_apart_from_on_bad_image(tmp_path):
    root = folder(tmp_path, cases_of("ab"), [*HEAD[:3], "split"], ["0.png"])
    with pytest.raises(DataError, match="on_missing_image=skip"):
        folder_config(str(root))
    with pytest.raises(DataError, match=r"1\.png"):
        folder_config(str(root), on_bad_image="skip", on_missing_image="error")
    skipping = folder_config(str(root), on_missing_image="skip")
    assert [image[:2] for image in skipping.manifest.missing] == [(3, "1.png")]
    old = folder_config(str(root), on_bad_image="skip")
    assert old.manifest.missing == skipping.manifest.missing and old.name != skipping.name
    with pytest.raises(DataError, match="on_missing_image is 'no'"):
        folder_config(str(root), on_missing_image="no")


# Labels that mean nothing


def test_values_that_mean_nothing_are_no_label_and_counted(tmp_path):
    nothing = ["nan", "NaN", "NA", "n/a", "None", "null", "UNKNOWN", "-", "\u2013", " ", " nan "]
    labels, manifest = labels_of(tmp_path, ["nv", "none of these", *nothing])
    assert labels == ["nv", "none of these"] + [""] * len(nothing)
    assert manifest.classes == ("none of these", "nv")
    assert manifest.notes[0].startswith("10 labels mean that there is none: 'nan' (2), ")
    assert manifest.notes[-1] == "11 of 13 cases have no label."


def test_missing_labels_are_what_the_flag_says(tmp_path):
    labels, _ = labels_of(tmp_path, ["nv", "None", "tbd", ""], missing_labels="TBD, ?")
    assert labels == ["nv", "None", "", ""]
    assert labels_of(tmp_path, ["nv", "nan"], missing_labels="")[0] == ["nv", "nan"]


def test_what_means_nothing_inside_a_differential():
    column = read_labels(
        ["{'eczema': 0.5, 'Unknown': 0.3, 'nv': 0.2}", "{'nan': 1.0}", "{'none': 1, 'nv': 0}"]
    )
    assert list(column.weights.values()) == [(("eczema", 0.5), ("nv", 0.2)), (), ()]
    assert column.notes[0].startswith("3 labels mean that there is none: 'Unknown' (1)")


def test_in_every_layout(tmp_path):
    inside = [i for i in range(200) if hash_split(f"HAM_{i:07d}") == "train"][:2]
    ham_folder(tmp_path / "ham", [(inside[0], "nv", 1), (inside[1], "unknown", 1)])
    patients = [i for i in range(200) if hash_split(f"PAT_{i}") == "train"][:2]
    pad_folder(tmp_path / "pad", [(patients[0], 1, "NEV", 1), (patients[1], 2, "NA", 1)])
    names = [f"t{i}" for i in range(99) if hash_split(f"t{i}") == "train"][:3]
    scin_folder(
        tmp_path / "scin",
        [(names[0], ["1"], {"nv": 1.0}), (names[1], ["2"], {"None": 0.6, "nan": 0.4})],
    )
    for name, label in zip(names, ("nv", "NV", "nan")):
        draw(tmp_path / "tree" / label / name / "x.png", seed=len(label))
    for layout in ("ham", "pad", "scin", "tree"):
        manifest = read_manifest(tmp_path / layout)
        assert len(manifest.classes) == 1 and "" in {case.label for case in manifest.cases}
        assert any("mean that there is none" in note for note in manifest.notes)


# Labels that are spelt in several ways


@pytest.mark.parametrize(
    "spellings, want",
    [
        (["nevus", "Nevus", "nevus"], "nevus"),
        (["Nevus", "nevus", "NEVUS", "NEVUS"], "NEVUS"),
        (["na\u0308vus", "n\u00e4vus"], "n\u00e4vus"),
        (["two  words", "two\u00a0words"], "two words"),
        (["nv", "nv\u200b", "\ufeffnv"], "nv"),
        (["\uff4e\uff56", "nv", "nv"], "nv"),
        (["0", "0.0", "0"], "0"),
        (["0", "0,0", "00", "-0", "0"], "0"),
        (["1.50", "1.5", "1,50", "1.5"], "1.5"),
    ],
)
def test_spellings_are_one_class(tmp_path, spellings, want):
    labels, manifest = labels_of(tmp_path, [*spellings, "other thing"])
    assert labels == [want] * len(spellings) + ["other thing"]
    assert manifest.classes == tuple(sorted([want, "other thing"]))


def test_spellings_that_were_joined_are_said_with_their_rows():
    notes = read_labels(["nv", "Nv", "nv", "mel"]).notes
    assert notes == ("label 'nv' (2 rows) is also 'Nv' (1 rows): joined",)


@pytest.mark.parametrize("labels", [["1,234", "1.234"], ["1", "10"], ["a b", "ab"], ["0", "o"]])
def test_labels_that_stay_two(labels):
    assert len({weights for weights in read_labels(labels).weights.values()}) == 2


def test_spellings_inside_differentials_are_added_up():
    column = read_labels(["{'Nv': 0.25, 'mel': 0.5, 'nv': 0.5}", "nv"])
    weights = column.weights["{'Nv': 0.25, 'mel': 0.5, 'nv': 0.5}"]
    assert weights == (("nv", 0.75), ("mel", 0.5))


def test_other_in_whatever_case_joins_other(tmp_path):
    _, manifest = labels_of(tmp_path, ["a", "a", "other", "other", "other"], top_conditions=1)
    assert manifest.classes == ("a", "Other")


# Conflicts


def majority(labels):
    """Returns the label of more rows than any other, the slow way; "" for a tie."""
    ranked = sorted(set(labels), key=labels.count)
    tie = len(ranked) > 1 and labels.count(ranked[-1]) == labels.count(ranked[-2])
    return "" if tie else ranked[-1]


def test_conflicts_by_each_rule(tmp_path):
    cases = [labels for n in (2, 3) for labels in itertools.product(["a", "b", "c", ""], repeat=n)]
    rows = [
        [f"c{i}", f"{i}_{j}.png", label, "train"]
        for i, labels in enumerate(cases)
        for j, label in enumerate(labels)
    ]
    root = folder(tmp_path, rows, [*HEAD[:3], "split"])
    rules = {
        "unlabelled": lambda labels: labels[0] if len(set(labels)) == 1 else "",
        "latest": lambda labels: labels[-1],
        "majority": majority,
    }
    conflicts = sum(len(set(labels) - {""}) > 1 for labels in cases)
    for rule, choose in rules.items():
        manifest = read_manifest(root, on_label_conflict=rule)
        written = [[label for label in labels if label] for labels in cases]
        assert [case.label for case in manifest.cases] == [
            choose(labels) if labels else "" for labels in written
        ]
        assert f"{conflicts} cases have rows with different labels" in " ".join(manifest.notes)
    with pytest.raises(ProblemsError) as caught:
        read_manifest(root)
    assert len(caught.value.problems) == conflicts
    assert len({folder_config(str(root), on_label_conflict=rule).name for rule in rules}) == 3


def test_one_differential_in_two_orders_is_no_conflict(tmp_path):
    write_csv(
        tmp_path / "manifest.csv",
        [
            {"case_id": "c", "image_path": f"{i}.png", "label": label, "split": "train"}
            for i, label in enumerate(["{'b': 0.5, 'a': 0.5}", "{'a': 0.5, 'b': 0.5}"])
        ],
    )
    for i in range(2):
        draw(tmp_path / f"{i}.png", seed=i)
    manifest = read_manifest(tmp_path)
    assert manifest.cases[0].label == "b" and manifest.has_differentials
    assert manifest.notes == (
        "1 of 1 labelled cases have several labels of the greatest weight: `label` is the first of "
        "them in the table, `label_weights` has all.",
    )


# Tables of other programs


def test_the_same_manifest_however_it_was_saved(tmp_path):
    rows = [[f"c{i // 2}", f"{i}.png", "eczema; hand", f"P{i // 2}", "63,5"] for i in range(12)]
    head = [*HEAD, "age"]
    for row in rows:
        draw(tmp_path / row[1], seed=int(row[1][:-4]), size=(1, 1))
    book = openpyxl.Workbook()
    for row in [head, *rows]:
        book.active.append(row)
    quoted = "\n".join(";".join(f'"{value}"' for value in row) for row in [head, *rows])
    manifests = []
    for name, content in [
        ("manifest.csv", quoted.encode()),
        ("manifest.csv", ("sep=;\r\n" + quoted).encode("utf-16")),
        ("manifest.tsv", quoted.replace(";", "\t").replace("a\t h", "a; h").encode()),
        ("manifest.xlsx", None),
    ]:
        if content:
            (tmp_path / name).write_bytes(content)
        else:
            book.save(tmp_path / name)
        manifests.append(read_manifest(tmp_path))
        (tmp_path / name).unlink()
    assert all(manifest.notes for manifest in manifests)
    contents = [
        [(c.case_id, c.patient_id, c.label, [i.metadata for i in c.images]) for c in m.cases]
        for m in manifests
    ]
    assert all(place == contents[0] for place in contents)
    assert contents[0][0] == ("c0", "P0", "eczema; hand", [("63.5",), ("63.5",)])


def test_row_numbers_that_pandas_writes_are_no_metadata(tmp_path):
    root = folder(
        tmp_path, [["0", "c", "a.png", "nv"], ["3", "d", "a.png", "nv"]], ["", *HEAD[:3]], ["a.png"]
    )
    text = (
        (root / "manifest.csv")
        .read_text()
        .replace("label", "label,split")
        .replace("nv", "nv,train")
    )
    (root / "manifest.csv").write_text(text)
    manifest = read_manifest(root)
    assert manifest.metadata_columns == () and "row numbers left out" in manifest.notes[0]
    (root / "manifest.csv").write_text(text.replace("\n3,", "\n0,"))
    with pytest.raises(DataError, match="column 1 has values but no name"):
        read_manifest(root)


def test_a_workbook_beside_the_csv_is_said_not_to_be_read(tmp_path):
    root = folder(tmp_path, cases_of("a"), [*HEAD[:3], "split"])
    (root / "manifest.xlsx").touch()
    assert read_manifest(root).notes == ("manifest.csv is read; manifest.xlsx beside it is not.",)


# Identifiers, in every layout


def test_paths_as_ids_are_not_compared(tmp_path):
    """Folders of images whose labels differ in case are one label, and their images no copies."""
    for name in ("train/nv/1.png", "train/NV/1.png", "train/mel/01.png", "test/nv/2.png"):
        draw(tmp_path / name, seed=len(name))
    manifest = read_manifest(tmp_path)
    assert len(manifest.cases) == 4 and {name.lower() for name in manifest.classes} == {"mel", "nv"}
    assert len(manifest.classes) == 2


def test_changed_ids_in_every_layout(tmp_path):
    ham_folder(tmp_path / "ham", [(5, "nv", 1), (6, "nv", 1)])
    table = tmp_path / "ham/HAM10000_metadata.csv"
    table.write_text(table.read_text().replace("HAM_0000005", "5.0").replace("HAM_0000006", "05"))
    pad_folder(tmp_path / "pad", [(1, 7, "NEV", 1), (2, 8, "NEV", 1)])
    table = tmp_path / "pad/metadata.csv"
    table.write_text(table.read_text().replace("PAT_2,8,", "PAT_1,07,"))
    for case, name in (("1", "01"), ("2", "1")):
        draw(tmp_path / f"tree/{case}/{name}/x.png")
        draw(tmp_path / f"loose/{name}_x.png")
    scin_folder(tmp_path / "scin", [("0017", ["1"], {"a": 1}), ("17", ["2"], {"a": 1})])
    for layout, place, options in [
        ("ham", "HAM10000_metadata.csv, row 3: lesion_id '05'", {}),
        ("pad", "metadata.csv, row 3: lesion_id '07' is '7' in row 2", {}),
        ("scin", "scin_cases.csv, row 3: case_id '17' is '0017' in row 2", {}),
        ("tree", "2/1/x.png: patient_id '1' is '01' in", {}),
        ("loose", "1_x.png: case_id '1' is '01' in", {"bag_regex": "([0-9]+)_"}),
    ]:
        with pytest.raises(DataError) as caught:
            read_manifest(tmp_path / layout, **options)
        assert place in str(caught.value)
