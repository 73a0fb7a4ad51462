"""verify: classes without training cases, classes that were skipped, ties, unused splits, parts."""

import numpy as np
import pytest

import run
from helpers import cxr_twins
from helpers.derm_folders import draw, scin_folder
from tfds_builders import chexpert_studies, derm_bags, nih_cxr14
from tfds_builders.chexpert_studies import table as chexpert_table
from tfds_builders.nih_cxr14 import table as nih_table
from tfds_builders.splits import hash_split
from tfds_builders.verify import verify


def manifest(root, rows, broken=(), missing=()):
    """Writes rows (label, split) as cases of an image each; numbers of `broken` and `missing` ones."""
    lines = ["case_id,image_path,label,split"]
    for i, (label, split) in enumerate(rows):
        lines.append(f"c{i},{i}.png,{label},{split}")
        if i not in missing:
            draw(root / f"{i}.png", seed=i)
        if i in broken:
            (root / f"{i}.png").write_bytes(b"")
    (root / "manifest.csv").write_text("\n".join(lines) + "\n")


def verified(package, root, data_dir, is_part=False, **options):
    builder = package.Builder(config=package.folder_config(str(root), **options), data_dir=data_dir)
    builder.download_and_prepare()
    return verify(builder, is_part)


def test_classes_without_a_training_case_and_splits_that_nobody_reads(tmp_path):
    rows = [("a", "Train"), ("b", "train"), ("c", "val"), ("d", "test"), ("a", "holdout")]
    manifest(tmp_path / "data", [*rows, ("", "holdout")])
    result = verified(derm_bags, tmp_path / "data", tmp_path / "tfds")
    untrained, unused = result.problems
    assert untrained.startswith("Classes without a case in 'train': c, d. ")
    assert unused.startswith("Split 'holdout' (2 bags) is used by no command unless it is named")
    assert "--eval_split=holdout" in unused and result.notes == []
    assert set(result.splits) == {"train", "validation", "test", "holdout"}


def test_nothing_is_wrong_with_the_usual_splits(tmp_path):
    manifest(tmp_path / "data", [("a", "train"), ("b", "training"), ("a", "dev"), ("b", "tst")])
    result = verified(derm_bags, tmp_path / "data", tmp_path / "tfds")
    assert (result.problems, result.notes) == ([], [])


def test_unlabelled_folders_have_no_classes_to_miss(tmp_path):
    manifest(tmp_path / "data", [("", "train"), ("", "test")])
    assert verified(derm_bags, tmp_path / "data", tmp_path / "tfds").problems == []


def test_a_class_all_of_whose_images_are_gone(tmp_path):
    """b: both unreadable; c: one unreadable, one missing; d: all missing; e: one is left."""
    labels = ["a", "b", "b", "c", "c", "d", "d", "d", "e", "e"]
    rows = [(label, "train") for label in labels]
    manifest(tmp_path / "data", rows, broken={1, 2, 3, 8}, missing={4, 5, 6, 7})
    result = verified(derm_bags, tmp_path / "data", tmp_path / "tfds", on_bad_image="skip")
    assert set(result.lost_labels) == {"b", "c", "d"}
    assert result.lost_labels["b"] == 2 and result.lost_labels["d"] == 3
    lost = [problem for problem in result.problems if problem.startswith("Classes or labels all")]
    assert len(lost) == 1 and "b (2 images)" in lost[0] and "d (3 images)" in lost[0]
    assert not [problem for problem in result.problems if "without a case in" in problem]


def test_ties_are_counted_by_split(tmp_path):
    rng = np.random.default_rng(0)
    cases, expected, labelled = [], {}, 0
    for i in range(40):
        names = rng.permutation(["a", "b", "c"])[: rng.integers(0, 4)]
        weights = {str(name): float(rng.choice([0.25, 0.5])) for name in names}
        cases.append((f"case{i}", [f"{i}"], weights))
        labelled += bool(weights)
        if list(weights.values()).count(max(weights.values(), default=0)) > 1:
            split = hash_split(f"case{i}")
            expected[split] = expected.get(split, 0) + 1
    scin_folder(tmp_path / "data", cases)
    result = verified(derm_bags, tmp_path / "data", tmp_path / "tfds")
    assert {
        split: counts.ties for split, counts in result.splits.items() if counts.ties
    } == expected
    (note,) = result.notes
    total = sum(expected.values())
    assert note.startswith(
        f"Cases with several heaviest labels: {total} of {labelled} with a label"
    )
    assert total > 5 and not [problem for problem in result.problems if "heaviest" in problem]


def test_a_class_of_a_differential_is_learnt_from_it(tmp_path):
    for i in range(2):
        draw(tmp_path / "data" / f"{i}.png", seed=i)
    cases = [("case0", "{'a': 0.6, 'b': 0.4, 'c': 0.0}", "train"), ("case1", "d", "test")]
    rows = [f'{case},{i}.png,"{label}",{split}' for i, (case, label, split) in enumerate(cases)]
    text = "\n".join(["case_id,image_path,label,split", *rows])
    (tmp_path / "data" / "manifest.csv").write_text(text)
    (problem,) = verified(derm_bags, tmp_path / "data", tmp_path / "tfds").problems
    assert problem.startswith("Classes without a case in 'train': c, d. ")


# Chest X-rays


@pytest.fixture
def chexpert(tmp_path):
    cxr_twins.draw_chexpert(tmp_path / "data", num_patients=30, seed=1, size=9)
    return tmp_path / "data" / "CheXpert-v1.0-small"


def test_a_label_without_a_positive_training_image(chexpert, tmp_path):
    rows = chexpert_table.read_table(chexpert).rows
    train = {
        label: int((rows.loc[rows["split"] == "train", label] == 1).sum()) for label in ("Edema",)
    }
    assert train["Edema"]
    text = (chexpert / "train.csv").read_text().splitlines()
    column = text[0].split(",").index("Edema")
    lines = [line.split(",") for line in text[1:]]
    for line in lines:
        line[column] = line[column].replace("1.0", "0.0").replace("-0.0", "0.0")
    (chexpert / "train.csv").write_text("\n".join([text[0], *map(",".join, lines)]))
    result = verified(chexpert_studies, chexpert, tmp_path / "tfds")
    (problem,) = [problem for problem in result.problems if "positive" in problem]
    assert "Labels without a positive image in 'train': " in problem and "Edema" in problem


def test_a_label_all_of_whose_positive_images_are_missing(chexpert, tmp_path):
    rows = chexpert_table.read_table(chexpert).rows
    fractured = rows[rows["Fracture"] == 1]
    for path in fractured["path"]:
        (chexpert / path).unlink()
    result = verified(chexpert_studies, chexpert, tmp_path / "tfds")
    assert result.lost_labels["Fracture"] == len(fractured) > 0
    assert f"Fracture ({len(fractured)} images)" in " ".join(result.problems)


def test_a_part_by_its_table_is_a_note(chexpert, tmp_path):
    rows = chexpert_table.read_table(chexpert).rows
    train = int((rows["split"] != "official_valid").sum())
    result = verified(chexpert_studies, chexpert, tmp_path / "tfds")
    assert result.problems == []
    (note,) = [note for note in result.notes if note.startswith("images in train+")]
    assert f"223,414 were published, {train} found; the tables have {train}, a part." in note
    assert len(result.notes) == 5


def test_missing_images_are_one_problem_or_a_note_where_a_part_is_meant(
    chexpert, tmp_path, monkeypatch
):
    rows = chexpert_table.read_table(chexpert).rows
    of_table = int((rows["split"] != "official_valid").sum())
    published = {"images in train+validation+test": of_table}
    monkeypatch.setattr(chexpert_table, "PUBLISHED", published)
    for path in rows["path"].iloc[::4]:
        (chexpert / path).unlink()
    result = verified(chexpert_studies, chexpert, tmp_path / "tfds")
    (missing,) = result.problems
    assert missing.startswith(f"Images that the table has and {chexpert} has not")
    (note,) = result.notes
    assert f"{of_table} were published" in note and "the tables have all" in note
    result = verified(chexpert_studies, chexpert, tmp_path / "tfds", is_part=True)
    assert result.problems == [] and "A part is meant (--on_missing_image=skip)." in result.notes[0]


def test_more_than_was_published_is_a_problem(chexpert, tmp_path, monkeypatch):
    monkeypatch.setattr(chexpert_table, "PUBLISHED", {"patients in official_valid": 1})
    result = verified(chexpert_studies, chexpert, tmp_path / "tfds")
    assert result.problems == ["patients in official_valid: 1 were published, 3 found."]


def test_kaggle_s_sample_of_nih_expects_nothing_and_a_cut_table_is_a_part(tmp_path):
    cxr_twins.draw_nih(tmp_path / "data", num_patients=40, seed=0, size=16)
    result = verified(nih_cxr14, tmp_path / "data", tmp_path / "tfds")
    assert len(result.notes) == 2 and all(note.endswith("a part.") for note in result.notes)
    assert result.expected["patients"] == (nih_table.PUBLISHED["patients"], 40)
    (tmp_path / "data" / "Data_Entry_2017_v2020.csv").rename(tmp_path / "data/sample_labels.csv")
    assert verified(nih_cxr14, tmp_path / "data", tmp_path / "tfds").notes == []


def test_the_command_prints_notes_and_counts_one_problem(tmp_path, capsys):
    manifest(tmp_path / "data", [("a", "Train"), ("a", "external")])
    flags = ["--mode=verify", "--dataset=derm_bags", f"--manual_dir={tmp_path / 'data'}"]
    code = run.main(["run.py", *flags, f"--data_dir={tmp_path / 'tfds'}"])
    output = capsys.readouterr().out
    assert code == 1 and "\n1 problem.\n" in output
    assert "Note: Names of splits: 'Train' is train (1 images)." in output
    assert "Problem: Split 'external' (1 bags)" in output
