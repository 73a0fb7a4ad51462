"""chexpert, nih_cxr14: tables as other programs save them, ids in two spellings, all problems at once."""

import pandas as pd
import pytest

from helpers import cxr_twins
from tfds_builders import chexpert_studies, nih_cxr14
from tfds_builders.chexpert_studies import table as chexpert_table
from tfds_builders.errors import DataError
from tfds_builders.nih_cxr14 import table as nih_table
from tfds_builders.problems import ProblemsError

NAME = "CheXpert-v1.0-small"
NIH_TABLE = "Data_Entry_2017_v2020.csv"


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Twins of both datasets, in folders chexpert/NAME and nih; tests put back what they change."""
    root = tmp_path_factory.mktemp("twins")
    cxr_twins.draw_chexpert(root / "chexpert", num_patients=12, seed=1, size=8)
    cxr_twins.draw_nih(root / "nih", num_patients=12, seed=1, size=8)
    return root


@pytest.fixture(params=["chexpert", "nih"])
def twin(request, drawn):
    """Returns (folder, its table, reader, folder_config); the table is put back afterwards."""
    if request.param == "chexpert":
        folder = drawn / "chexpert" / NAME
        case = folder, folder / "train.csv", chexpert_table.read_table
        config = chexpert_studies.folder_config
    else:
        case = drawn / "nih", drawn / "nih" / NIH_TABLE, nih_table.read_table
        config = nih_cxr14.folder_config
    original = case[1].read_bytes()
    yield *case, config
    case[1].write_bytes(original)


def notes_of(result):
    return [note for note in result.notes if "images that" not in note]


@pytest.mark.parametrize(
    "save, note",
    [
        (lambda text: text.replace(",", ";").encode(), "separated by semicolons"),
        (lambda text: text.replace(",", "\t").encode("utf-16"), "encoding UTF-16"),
        (lambda text: ("sep=;\r\n" + text.replace(",", ";")).encode(), "first line sep=;"),
        (lambda text: ("# by me\n" + text).encode("utf-8-sig"), "1 row before the header"),
    ],
    ids=["semicolons", "UTF-16 with tabs", "sep=", "comment"],
)
def test_tables_of_other_programs(twin, save, note):
    folder, file, read, config = twin
    plain = read(folder)
    assert notes_of(plain) == []
    file.write_bytes(save(file.read_text()))
    saved = read(folder)
    moved = 1 if note.startswith("1 row") else 0
    own = saved.rows["table"] == file.name
    rows = saved.rows.assign(row=saved.rows["row"].mask(own, saved.rows["row"] - moved))
    pd.testing.assert_frame_equal(rows, plain.rows, check_dtype=False)
    (table_note,) = notes_of(saved)
    assert table_note.startswith(f"{file.name}: ") and note in table_note
    assert table_note in config(str(folder)).notes and table_note in saved.facts["table_notes"]


def test_all_bad_rows_are_named_at_once(twin):
    folder, file, read, _ = twin
    lines = file.read_text().splitlines()
    for row in (3, 5, 9):  # of which the last value is cut off
        lines[row - 1] = lines[row - 1].rpartition(",")[0]
    for row in (4, 7):  # whose path, or name, is no image
        lines[row - 1] = lines[row - 1].replace("_", "-", 1)
    lines.append(lines[1])  # an image in two rows
    file.write_text("\n".join(lines) + "\n")
    with pytest.raises(ProblemsError) as caught:
        read(folder)
    problems = {(problem.kind, problem.row) for problem in caught.value.problems}
    assert {("rows of another length", row) for row in (3, 5, 9)} <= problems
    assert {row for kind, row in problems if "not as published" in kind} >= {4, 7}
    assert ("images in two rows", len(lines)) in problems


def test_missing_images_are_refused_when_asked(twin, tmp_path):
    folder, _, read, config = twin
    image = folder / read(folder).rows["path"].iloc[0]
    image.rename(tmp_path / "away")
    try:
        assert config(str(folder)).name == config(str(folder), on_missing_image="skip").name
        with pytest.raises(DataError, match="is not in the folder.*unpack all images"):
            config(str(folder), on_missing_image="error")
    finally:
        (tmp_path / "away").rename(image)
    whole = config(str(folder), on_missing_image="error")
    assert whole.name == config(str(folder)).name  # it decided nothing


def test_patients_in_two_spellings(drawn):
    """The training table says patient1, valid.csv patient00001: a leak."""
    folder = drawn / "chexpert" / NAME
    whole = (folder / "valid.csv").read_text()
    line = whole.splitlines()[1]
    patient = line.split("/")[2]
    short = line.replace(patient, "patient1")
    (folder / "valid.csv").write_text(whole.rstrip("\n") + "\n" + short + "\n")
    try:
        with pytest.raises(ProblemsError, match="patient 'patient1' is 'patient00001' in"):
            chexpert_table.read_table(folder)
    finally:
        (folder / "valid.csv").write_text(whole)


def test_labels_with_decimal_commas_and_na(drawn):
    folder = drawn / "chexpert" / NAME
    file = folder / "train.csv"
    whole = file.read_text()
    plain = chexpert_table.read_table(folder)
    table = pd.read_csv(file, dtype=str, na_filter=False)
    labels = list(chexpert_table.LABELS)
    blanks = int((table[labels] == "").to_numpy().sum())
    table[labels] = table[labels].replace("", "NA").apply(lambda c: c.str.replace(".", ","))
    table.to_csv(file, index=False, sep=";")
    try:
        saved = chexpert_table.read_table(folder)
    finally:
        file.write_text(whole)
    pd.testing.assert_frame_equal(saved.rows, plain.rows)
    assert f"train.csv: {blanks:,} labels are NA or nan: read as blank." in saved.notes
