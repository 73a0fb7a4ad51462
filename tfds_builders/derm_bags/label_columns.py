"""Several labels a case, each a column of a manifest (--label_columns): 1, 0, -1 uncertain, blank.

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


def names_of(text: str) -> tuple[str, ...]:
    """Returns the columns that --label_columns names, in its order; () for "".

    Raises:
      DataError: no name, a name twice, or a column that has another meaning.
    """
    if not text:
        return ()
    names = tuple(name.strip() for name in text.split(","))
    for name in names:
        if not name or names.count(name) > 1:
            what = f"{name!r} is there twice" if name else "there is an empty name"
            raise DataError(
                f"--label_columns={text}: {what}: name each column once, with commas between."
            )
        if name in REQUIRED + OPTIONAL:
            raise DataError(
                f"--label_columns={text}: column {name!r} has another meaning: name columns of 1, 0, -1 "
                "or nothing, or leave --label_columns out for one label a case in 'label'."
            )
    return names


def check_alone(text: str, top_conditions: int, missing_labels: str) -> None:
    """Raises DataError for options that say how the column `label` is read, beside --label_columns."""
    given = {
        f"--top_conditions={top_conditions}": top_conditions != 0,
        f"--missing_labels={missing_labels}": missing_labels != MISSING_LABELS,
    }
    for flag, is_given in given.items():
        if text and is_given:
            raise DataError(
                f"{flag} is for one label a case, and --label_columns={text} makes several: leave one "
                "of them out."
            )


class LabelColumns:
    """The label columns of a source, read row by row, then one value of each for each case.

    What cannot be read, and conflicts where the rule is "error", are added to the source's problems.

    Args:
      source: with `label_columns`.
      rule: one of ON_LABEL_CONFLICT, for each column by itself. A blank says nothing; where rows are in
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
            values, wrong, written = read_values(source.rows[name])
            for row in values.index[wrong]:
                source.problems.add(
                    "labels that cannot be read",
                    *source.where(row),
                    f"column {name!r} is {source.rows[name][row]!r}",
                    f"write {ALLOWED}",
                )
            self._values[name] = dict(zip(values.index.tolist(), values.tolist()))
            self._positive_rows[name] = int((values == 1).sum())
            counts["blank"] += int((values.isna() & ~wrong).sum())
            counts["uncertain"] += int((values == UNCERTAIN).sum())
            counts["written"] += written
            if (values.isna() & ~wrong).all():
                self._notes.append(f"Label column {name!r} is blank in every row")
        if source.label_columns:
            self._notes.insert(0, _reading_note(source.label_columns, len(source.rows), counts))

    @property
    def positive_rows(self) -> dict[str, int]:
        """How many rows have a 1 in each column, whether or not their images are there."""
        return self._positive_rows

    def add(self, case: str, row: int) -> None:
        """Notes what a row says of its case."""
        for name, choice in self._choices.items():
            value = self._values[name][row]
            if not np.isnan(value):
                choice.add(case, ((f"{value:g}", 1.0),), row)

    def labels(self, stored: Collection[str]) -> dict[str, tuple[float, ...]]:
        """Returns the values of each case that is `stored`, in the order of the columns."""
        of_column = []
        for choice in self._choices.values():
            chosen = choice.labels(stored)
            values = {
                case: float(weights[0][0]) if weights else UNCERTAIN
                for case, weights in chosen.items()
            }
            of_column.append([values.get(case, _BLANK) for case in stored])
        return dict(zip(stored, zip(*of_column)))

    def notes(self, labels: dict[str, tuple[float, ...]]) -> list[str]:
        """Returns what is to be said; `labels` are those of all stored cases."""
        notes = list(self._notes)
        nothing = sum(bool(np.isnan(values).all()) for values in labels.values())
        if nothing:
            notes.append(f"{nothing:,} of {len(labels):,} cases have no value in any label column")
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
