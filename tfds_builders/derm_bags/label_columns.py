"""Multi-label cases, each label a column of a manifest (--label_columns): 1, 0, -1 uncertain, blank.

Stored as chexpert's are, so that everything after the prepared copy treats both alike.
"""

from collections.abc import Collection, Sequence

import numpy as np

from tfds_builders.derm_bags.conflicts import LabelChoice
from tfds_builders.derm_bags.labels import MISSING_LABELS
from tfds_builders.derm_bags.layouts.source import OPTIONAL, REQUIRED, Source
from tfds_builders.errors import DataError
from tfds_builders.label_values import ALLOWED, read_values

UNCERTAIN = -1.0
_BLANK = float("nan")


def parse_names(text: str) -> tuple[str, ...]:
    """Returns the columns that --label_columns names, in its order; () for "".

    Raises:
      DataError: no name, a name twice, or a column that has another meaning.
    """
    if not text:
        return ()
    names = tuple(name.strip() for name in text.split(","))
    for name in names:
        if not name or names.count(name) > 1:
            problem = f"{name!r} is there twice" if name else "there is an empty name"
            raise DataError(
                f"--label_columns={text}: {problem}: name each column once, with commas between."
            )
        if name in REQUIRED + OPTIONAL:
            raise DataError(
                f"--label_columns={text}: column {name!r} has another meaning: name columns of 1, 0, -1 "
                "or nothing, or leave --label_columns out for one label a case in 'label'."
            )
    return names


def check_exclusive(text: str, top_conditions: int, missing_labels: str) -> None:
    """Raises DataError for flags that only apply to the column `label`, beside --label_columns.

    Args:
      text: value of --label_columns.
      top_conditions, missing_labels: values of these flags.
    """
    is_set = {
        f"--top_conditions={top_conditions}": top_conditions != 0,
        f"--missing_labels={missing_labels}": missing_labels != MISSING_LABELS,
    }
    for flag, value_is_set in is_set.items():
        if text and value_is_set:
            raise DataError(
                f"{flag} is for one label a case, and --label_columns={text} makes several: leave one "
                "of them out."
            )


class LabelColumns:
    """The label columns of a source, read row by row, then one value of each for each case.

    Invalid values, and conflicts if the rule is "error", are added to the source's problems.

    Args:
      source: with `label_columns`.
      rule: one of ON_LABEL_CONFLICT, for each column by itself. Blanks are ignored; if rows are in
        conflict and the rule gives no label, it is uncertain: a blank would be read as negative.
    """

    def __init__(self, source: Source, rule: str):
        self._choices = {
            name: LabelChoice(source, rule, name, "uncertain (-1)") for name in source.label_columns
        }
        self._values: dict[str, dict[int, float]] = {}  # column -> row -> its value
        self._notes: list[str] = []
        self._positive_rows: dict[str, int] = {}
        counts = {"blank": 0, "uncertain": 0, "written": 0}
        for name in source.label_columns:
            values, is_invalid, num_written = read_values(source.rows[name])
            for row in values.index[is_invalid]:
                source.problems.add(
                    "labels that cannot be read",
                    *source.file_and_row(row),
                    f"column {name!r} is {source.rows[name][row]!r}",
                    f"write {ALLOWED}",
                )
            self._values[name] = dict(zip(values.index.tolist(), values.tolist()))
            self._positive_rows[name] = int((values == 1).sum())
            counts["blank"] += int((values.isna() & ~is_invalid).sum())
            counts["uncertain"] += int((values == UNCERTAIN).sum())
            counts["written"] += num_written
            if (values.isna() & ~is_invalid).all():
                self._notes.append(f"Label column {name!r} is blank in every row")
        if source.label_columns:
            self._notes.insert(0, _reading_note(source.label_columns, len(source.rows), counts))

    @property
    def positive_rows(self) -> dict[str, int]:
        """Number of rows with a 1 in each column, whether or not their images exist."""
        return self._positive_rows

    def add(self, case: str, row: int) -> None:
        """Records the values of one row for its case."""
        for name, choice in self._choices.items():
            value = self._values[name][row]
            if not np.isnan(value):
                choice.add(case, ((f"{value:g}", 1.0),), row)

    def labels(self, stored: Collection[str]) -> dict[str, tuple[float, ...]]:
        """Returns case -> its values, in the order of the columns, for the cases in `stored`."""
        columns = []
        for choice in self._choices.values():
            chosen = choice.labels(stored)
            values = {
                case: float(weights[0][0]) if weights else UNCERTAIN
                for case, weights in chosen.items()
            }
            columns.append([values.get(case, _BLANK) for case in stored])
        return dict(zip(stored, zip(*columns)))

    def notes(self, labels: dict[str, tuple[float, ...]]) -> list[str]:
        """Returns notes to print; `labels` are those of all stored cases."""
        notes = list(self._notes)
        num_blank = sum(bool(np.isnan(values).all()) for values in labels.values())
        if num_blank:
            notes.append(
                f"{num_blank:,} of {len(labels):,} cases have no value in any label column"
            )
        for choice in self._choices.values():
            notes += choice.notes()
        return notes


def _reading_note(names: Sequence[str], rows: int, counts: dict[str, int]) -> str:
    note = f"Several labels a case, from the columns {', '.join(names)} of {rows:,} rows"
    if counts["blank"]:
        note += f"; blank: {counts['blank']:,}"
        note += f" ({counts['written']:,} of them written as NA or nan)" * bool(counts["written"])
        note += ", negative unless --blank_policy says otherwise"
    if counts["uncertain"]:
        note += f"; uncertain (-1): {counts['uncertain']:,}, see --uncertain_policy"
    return note
