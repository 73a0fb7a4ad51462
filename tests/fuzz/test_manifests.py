"""Tables of derm_bags, chexpert and nih_cxr14: whatever is in them, a result or an error message."""

import csv
import io
import os
import resource
import time
import zipfile

import openpyxl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers import cxr_twins
from helpers.derm_folders import draw, ham_folder, pad_folder, scin_folder
from tfds_builders import chexpert_studies, derm_bags, nih_cxr14
from tfds_builders.errors import DataError

pytestmark = [pytest.mark.slow, pytest.mark.one_stack]

SECONDS, MEMORY_KB = 10, 2 * 2**20
IMAGES = ("a.jpg", "sub/b.png", "c.jpg", "d.jpg")
IDS = ["1", "01", "1.0", "007", "P4", "p4", "1.23457E+15", "nan", "", "-", "Ünal", "x" * 300]
CELLS = [
    *IDS,
    *IMAGES,
    "../a.jpg",
    "/etc/passwd",
    "nv",
    "NV ",
    "{'a': 0.5, 'b': 0.5}",
    "{'a': ",
    "train",
]
CELLS += [
    "Test",
    "all",
    "0",
    "0,0",
    "1e999",
    "=1+1",
    '="007"',
    '"',
    "a\nb",
    "\ufeff",
    "\x00",
    "\u202e",
    "{" * 99,
]
CELLS += [
    "{'a': np.float64(1)}",
    "{'a': " + "9" * 400 + "}",
    "1,5",
    "#N/A",
    "🩺",
    "a\rb",
    "\x1a",
    "'",
]
COLUMNS = [
    "case_id",
    "image_path",
    "label",
    "patient_id",
    "split",
    "age",
    "",
    "Unnamed: 0",
    "a/b",
    "Label",
    "age",
]
ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "cp1252", "latin-1"]


def fuzz(max_examples):
    """Fixed inputs, whatever ran before; their time is held by `check`."""
    return settings(
        max_examples=max_examples,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


def check(read, *args, **options):
    """Runs a reader; anything but a result and a DataError of readable length fails."""
    start = time.process_time()
    try:
        read(*args, **options)
    except DataError as error:
        message = str(error)
        assert message and "Traceback" not in message and len(message) < 20_000
    assert time.process_time() - start < SECONDS
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < MEMORY_KB


def tree_of(root):
    return sorted(os.path.join(here, name) for here, _, names in os.walk(root) for name in names)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of four images; each input writes its manifest there, and nothing else may appear."""
    root = tmp_path_factory.mktemp("fuzz") / "data"
    for i, name in enumerate(IMAGES):
        draw(root / name, seed=i)
    before = tree_of(root.parent)
    yield root
    assert [path for path in tree_of(root.parent) if "manifest." not in path] == before


def put(root, raw, name="manifest.csv"):
    for other in root.glob("manifest.*"):
        other.unlink()
    (root / name).write_bytes(raw)


cells = st.one_of(st.sampled_from(CELLS), st.text(max_size=12))
rows = st.lists(st.lists(cells, max_size=8), max_size=12)
headers = st.one_of(
    st.just(COLUMNS[:5]),
    st.lists(st.sampled_from(COLUMNS), max_size=8),
    st.permutations(COLUMNS[:5]),
)


@fuzz(1500)
@given(raw=st.binary(max_size=400))
def test_any_bytes(folder, raw):
    put(folder, raw)
    check(derm_bags.folder_config, str(folder))


@fuzz(1500)
@given(
    header=headers,
    rows=rows,
    before=st.sampled_from(["", "sep=;\r\n", "# by me\n", "Title;;\n\n", "sep=\t\n", '"']),
    separator=st.sampled_from(",;\t|"),
    quoting=st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
    encoding=st.sampled_from(ENCODINGS),
    cut=st.integers(0, 40),
)
def test_tables(folder, header, rows, before, separator, quoting, encoding, cut):
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=separator, quoting=quoting).writerows([header, *rows])
    raw = (before + text.getvalue()).encode(encoding, "replace")
    put(folder, raw[: len(raw) - cut])
    check(derm_bags.folder_config, str(folder))


@fuzz(1500)
@given(
    rows=st.lists(
        st.tuples(
            st.sampled_from(["1", "1", "1", "2", "2", "3", "P", "p", "01"]),
            st.sampled_from(IMAGES),
            st.sampled_from(["nv", "NV", "mel", "", "nan", "0", "0.0", "{'nv': 0.5, 'Mel': 0.5}"]),
        ),
        min_size=1,
        max_size=4,
        unique_by=lambda row: row[1],
    ),
    splits=st.lists(st.sampled_from(["train", "train", "train", "test"]), min_size=4, max_size=4),
    conflict=st.sampled_from(["error", "unlabelled", "latest", "majority"]),
    missing_labels=st.sampled_from(["nan,none", "", ",", "nv", "mel,0"]),
    top=st.integers(-1, 3),
)
def test_nearly_right_tables(folder, rows, splits, conflict, missing_labels, top):
    """What is accepted holds what README promises: no patient in two splits, no label twice."""
    text = io.StringIO(newline="")
    rows = [(*row, splits["123P".find(row[0])]) for row in rows]
    csv.writer(text).writerows([["case_id", "image_path", "label", "split"], *rows])
    put(folder, text.getvalue().encode())
    options = {
        "on_label_conflict": conflict,
        "missing_labels": missing_labels,
        "top_conditions": top,
    }
    check(derm_bags.folder_config, str(folder), **options)
    try:
        manifest = derm_bags.folder_config(str(folder), **options).manifest
    except DataError:
        return
    assert len({name.casefold() for name in manifest.classes}) == len(manifest.classes)
    splits = {case.patient_id.casefold().lstrip("0"): set() for case in manifest.cases}
    for case in manifest.cases:
        splits[case.patient_id.casefold().lstrip("0")].add(case.split)
    assert all(len(assigned) == 1 for assigned in splits.values())


@pytest.fixture(scope="module")
def book():
    """The bytes of a workbook with a good manifest."""
    workbook = openpyxl.Workbook()
    for row in [COLUMNS[:5], [1, "a.jpg", "nv", 17, "train"], ["02", "c.jpg", 0.5, None, "test"]]:
        workbook.active.append(row)
    file = io.BytesIO()
    workbook.save(file)
    return file.getvalue()


@fuzz(150)
@given(
    header=headers,
    rows=st.lists(
        st.lists(
            st.one_of(
                st.sampled_from([c for c in CELLS if not set(c) & set("\x00\x1a\ufeff")]),
                st.integers(-(2**70), 2**70),
                st.floats(allow_nan=False, allow_infinity=False),
                st.booleans(),
                st.none(),
                st.datetimes(),
            ),
            max_size=7,
        ),
        max_size=6,
    ),
)
def test_workbooks(folder, header, rows):
    workbook = openpyxl.Workbook()
    for row in [header, *rows]:
        workbook.active.append(row)
    file = io.BytesIO()
    workbook.save(file)
    put(folder, file.getvalue(), "manifest.xlsx")
    check(derm_bags.folder_config, str(folder))


@fuzz(400)
@given(
    edits=st.lists(st.tuples(st.integers(0, 2**31), st.binary(min_size=0, max_size=6)), max_size=4),
    inside=st.booleans(),
    part=st.integers(0, 20),
)
def test_damaged_workbooks(folder, book, edits, inside, part):
    """Bytes are changed in the archive, or in one of the files packed in it."""
    if inside:
        with zipfile.ZipFile(io.BytesIO(book)) as archive:
            parts = {name: archive.read(name) for name in archive.namelist()}
        name = sorted(parts)[part % len(parts)]
        parts[name] = damage(parts[name], edits)
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            for name, data in parts.items():
                archive.writestr(name, data)
        raw = file.getvalue()
    else:
        raw = damage(book, edits)
    put(folder, raw, "manifest.xlsx")
    check(derm_bags.folder_config, str(folder))


def damage(raw, edits):
    for offset, new in edits:
        offset %= len(raw) or 1
        raw = raw[:offset] + new + raw[offset + max(len(new), 1) :]
    return raw


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Small folders of each published layout: [(reader, folder, table, its bytes)]."""
    root = tmp_path_factory.mktemp("published")
    ham_folder(root / "ham", [(i, "nv", 1) for i in range(4)])
    pad_folder(root / "pad", [(i, i, "NEV", 1) for i in range(4)])
    scin_folder(root / "scin", [(f"{i}", [f"{i}"], {"a": 0.5, "b": 0.5}) for i in range(4)])
    cxr_twins.draw_chexpert(root / "chexpert", num_patients=4, seed=1, size=8)
    cxr_twins.draw_nih(root / "nih", num_patients=4, seed=1, size=8)
    readers = {"chexpert": chexpert_studies.folder_config, "nih": nih_cxr14.folder_config}
    tables = []
    for path in sorted(root.rglob("*")):
        if path.suffix in (".csv", ".txt"):
            name = path.relative_to(root).parts[0]
            reader = readers.get(name, derm_bags.folder_config)
            tables.append((reader, root / name, path, path.read_bytes()))
    return tables


@fuzz(600)
@given(
    which=st.integers(0, 30),
    edits=st.lists(
        st.tuples(
            st.integers(0, 2**31),
            st.sampled_from([cell.encode() for cell in CELLS] + [b",", b";", b"\n", b'"']),
        ),
        min_size=1,
        max_size=3,
    ),
    separator=st.sampled_from([None, b";", b"\t"]),
    encoding=st.sampled_from([None, *ENCODINGS]),
    on_missing=st.sampled_from(["auto", "error", "skip"]),
)
def test_published_tables(published, which, edits, separator, encoding, on_missing):
    reader, root, path, whole = published[which % len(published)]
    raw = damage(whole, edits)
    if separator:
        raw = raw.replace(b",", separator)
    if encoding:
        raw = raw.decode("utf-8", "replace").encode(encoding, "replace")
    path.write_bytes(raw)
    try:
        check(reader, str(root), on_missing_image=on_missing)
    finally:
        path.write_bytes(whole)
