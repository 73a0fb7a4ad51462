"""What Excel, R and pandas write is read as the same rows, and what was understood is said."""

import csv
import io
import random

import openpyxl
import pytest

from tfds_builders import tables, workbooks
from tfds_builders.errors import DataError
from tfds_builders.problems import Problems

KNOWN = ("case_id", "image_path", "label")
HEADER = ["case_id", "image_path", "label", "note"]
# Commas, semicolons, quotes, tabs and line breaks inside values; ids that look like numbers.
ROWS = [
    ["007", "img/a b.jpg", "eczema, hand", "63,5"],
    ["311a", "img/ü.jpg", "nævus; dysplastic", 'he said "no"'],
    ["-9223372036854775808", "c.jpg", "", "two\nlines"],
    ["1e5", "d.jpg", "NA", "a\tb"],
]


def written(separator=",", quoting=csv.QUOTE_MINIMAL, ends="\r\n", rows=ROWS):
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=separator, quoting=quoting, lineterminator=ends)
    writer.writerows([HEADER, *rows])
    return text.getvalue()


def read(tmp_path, content, known=KNOWN, name="manifest.csv"):
    raw = content if isinstance(content, bytes) else content.encode()
    (tmp_path / name).write_bytes(raw)
    return tables.read(str(tmp_path / name), known)


def values(table):
    return [table.header, *table.rows.to_numpy().tolist()]


@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_separators(tmp_path, separator, quoting):
    for ends in ("\n", "\r\n") + (("\r",) if quoting == csv.QUOTE_ALL else ()):
        table = read(tmp_path, written(separator, quoting, ends))
        assert values(table) == [HEADER, *ROWS]
        assert not list(table.problems)
        names = {",": (), ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
        assert table.notes == ((f"separated by {names[separator]}",) if names[separator] else ())


@pytest.mark.parametrize(
    "encoding, note",
    [
        ("utf-8", ""),
        ("utf-8-sig", ""),
        ("utf-16", "encoding UTF-16"),
        ("utf-16-le", "encoding UTF-16-LE"),
        ("utf-16-be", "encoding UTF-16-BE"),
        ("utf-32", "encoding UTF-32"),
        ("cp1252", "not UTF-8, taken for Windows-1252; are its letters right (üæ)?"),
    ],
)
def test_encodings(tmp_path, encoding, note):
    table = read(tmp_path, written().encode(encoding))
    assert values(table) == [HEADER, *ROWS]
    assert table.notes == ((note,) if note else ())


def test_separator_is_not_guessed_from_commas_in_values(tmp_path):
    """csv.Sniffer takes the comma here: each value has one, unquoted."""
    rows = [[str(i), f"{i}.jpg", "eczema, hand", "1,5"] for i in range(30)]
    assert values(read(tmp_path, written(";", rows=rows)))[1:] == rows


@pytest.mark.parametrize(
    "before, row, notes",
    [
        ("sep=;\r\n", 2, ("first line sep=;",)),  # which a spreadsheet does not show
        ('"sep=;"\n', 2, ("first line sep=;",)),
        ("# exported, 2024-01-01\n", 3, ("separated by semicolons", "1 row before", "exported")),
        ("Export;;;\n;;;\n# by me\n\n", 6, ("separated by semicolons", "4 rows before", "Export")),
    ],
)
def test_lines_before_the_header(tmp_path, before, row, notes):
    table = read(tmp_path, before + written(";"))
    assert values(table) == [HEADER, *ROWS]
    assert table.rows.index[0] == row
    assert all(note in "; ".join(table.notes) for note in notes)


def test_rows_of_another_length_are_problems_and_no_lost_labels(tmp_path):
    rng = random.Random(0)
    lines, want = [",".join(HEADER)], []
    for row in range(2, 60):
        length = rng.choice([1, 2, 3, 4, 4, 4, 5])
        lines.append(",".join(f"{row}.{i}" for i in range(length)))
        want += [row] if length != 4 else []
    table = read(tmp_path, "\n".join(lines))
    assert [problem.row for problem in table.problems] == want
    assert set(table.rows.index) == set(range(2, 60)) - set(want)
    assert all(value == f"{row}.{i}" for i in range(4) for row, value in table.rows[i].items())


def test_spare_columns_without_a_name_may_be_left_out(tmp_path):
    table = read(tmp_path, "case_id,image_path,label,,\n1,a.jpg,nv,,\n2,b.jpg,mel\n")
    assert values(table)[1:] == [["1", "a.jpg", "nv", "", ""], ["2", "b.jpg", "mel", "", ""]]


def test_row_numbers_of_r(tmp_path):
    text = '"case_id","image_path","label"\n"1","c1","a.jpg",NA\n"2","c2","b.jpg","nv"\n'
    table = read(tmp_path, text)
    assert values(table)[1:] == [["c1", "a.jpg", "NA"], ["c2", "b.jpg", "nv"]]
    assert table.notes == ("a first column of row numbers left out",)
    # A case called 1 whose label lacks its quotes is no row number.
    table = read(tmp_path, "case_id,image_path,label\n1,a.jpg,eczema, hand\n2,b.jpg,x, y\n")
    assert [problem.row for problem in table.problems] == [2, 3]


def test_zeros_kept_from_excel_by_a_formula(tmp_path):
    table = read(tmp_path, 'case_id,image_path,label\n"=""0017""",a.jpg,"=""nv"""\n')
    assert values(table)[1:] == [["0017", "a.jpg", "nv"]]


@pytest.mark.parametrize(
    "content, words",
    [
        (b"", "is empty"),
        (b"\xd0\xcf\x11\xe0 a workbook of 1997", "old-style workbook"),
        (b"case_id,image_path,label\n\0,a,b", "not plain text"),
        (b"\xff\xfec", "is not"),
        (b'case_id,image_path,label\n1,a.jpg,"nv\n2,b.jpg,"mel"\n', "row 2 or after"),
        (b'case_id,image_path,label\n1,a.jpg,"nv', "double quote"),
        (b"PK\x03\x04 and no archive", "damaged zip"),
    ],
)
def test_what_is_no_table(tmp_path, content, words):
    with pytest.raises(DataError, match=words):
        read(tmp_path, content)


@pytest.mark.parametrize(
    "column, want",
    [
        (["63,5", "7", "", "-0,25", "NA"], ["63.5", "7", "", "-0.25", "NA"]),
        (["1,5e3", "2"], ["1.5e3", "2"]),
        (["1,234", "5,678"], None),  # thousands, or not
        (["1,234", "5,6"], ["1.234", "5.6"]),
        (["63,5", "unknown, but old"], None),
        (["a,b"], None),
        (["1.5", "2"], None),
    ],
)
def test_decimal_commas(tmp_path, column, want):
    rows = [[str(i), f"{i}.jpg", "1,5", value] for i, value in enumerate(column)]
    table = read(tmp_path, written(";", rows=rows))
    converted, names = tables.decimal_points(table.rows, [3])
    assert converted[3].tolist() == (want or column) and names == ([3] if want else [])
    assert set(converted[2]) == {"1,5"}  # was not asked for


# Workbooks


def workbook(*sheets, edit=None):
    """Returns the bytes of a workbook: each sheet is (title, rows)."""
    book = openpyxl.Workbook()
    book.remove(book.active)
    for title, rows in sheets:
        sheet = book.create_sheet(title)
        for row in rows:
            sheet.append(row)
    if edit:
        edit(book)
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


def test_workbook_is_read_as_its_cells_look(tmp_path):
    rows = [["Export 2024"], [], HEADER, [17, "a.jpg", 1.0, 63.5], [18, "b.jpg", True, None]]

    def edit(book):
        sheet = book["data"]
        for row, number in ((4, "0000"), (5, "General")):
            sheet.cell(row, 1).number_format = number
        sheet.append(["0019", " c.jpg ", "Nävus", 1.23456789e20])
        sheet.append([None, None, None, None])

    table = read(tmp_path, workbook(("notes", [["of", "me"]]), ("data", rows), edit=edit))
    assert values(table) == [
        HEADER,
        ["0017", "a.jpg", "1", "63.5"],
        ["18", "b.jpg", "TRUE", ""],
        ["0019", "c.jpg", "Nävus", "1.23456789E+20"],
    ]
    assert table.rows.index.tolist() == [4, 5, 6]
    assert table.notes[0] == "sheet 'data'; not read: 'notes'" and "'Export 2024'" in table.notes[1]


@pytest.mark.parametrize(
    "sheets, edit, words",
    [
        ([("a", [HEADER, [1, 2]]), ("b", [HEADER, [3, 4]])], None, "'a' and 'b' have the same"),
        ([("a", [])], None, "is empty"),
        ([("a", [HEADER, [1, "=A2", 3]])], None, "row 2: the result of a formula is not stored"),
        (
            [("a", [HEADER, [1, 2, "nv"], [3, 4, None]])],
            lambda book: book["a"].merge_cells("C2:C3"),
            "C2:C3 are merged",
        ),
    ],
)
def test_workbook_mistakes(tmp_path, sheets, edit, words):
    with pytest.raises(DataError, match=words):
        read(tmp_path, workbook(*sheets, edit=edit), name="manifest.xlsx")


def test_workbook_that_would_unpack_to_too_much(tmp_path, monkeypatch):
    monkeypatch.setattr(workbooks, "MAX_BYTES", 1000)
    with pytest.raises(DataError, match="MB unpacked"):
        read(tmp_path, workbook(("a", [HEADER])))


def test_workbook_without_openpyxl_names_the_line_to_type(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "openpyxl", None)
    with pytest.raises(DataError, match=r"pip install 'openpyxl.*\[excel\]"):
        read(tmp_path, b"PK\x03\x04")


def test_problems_share_one_list(tmp_path):
    problems = Problems()
    (tmp_path / "a.csv").write_text("case_id,label\n1\n")
    (tmp_path / "b.csv").write_text("case_id,label\n1,2,3\n")
    for name in ("a.csv", "b.csv"):
        tables.read(str(tmp_path / name), KNOWN, problems)
    assert [(problem.file[-5:], problem.row) for problem in problems] == [
        ("a.csv", 2),
        ("b.csv", 2),
    ]
