"""Chooses the label of a case whose rows have different labels (--on_label_conflict)."""

from collections.abc import Collection

from tfds_builders.derm_bags.labels import Weights, format_label
from tfds_builders.derm_bags.layouts.source import Source

ON_LABEL_CONFLICT = ("error", "unlabelled", "latest", "majority")
_RULES = {
    "unlabelled": "left {}",
    "latest": "labelled as the last row says",
    "majority": "labelled as most rows say, {} where there is no majority",
}
_EXAMPLES = 3  # cases in a note


class LabelChoice:
    """Collects the labels of each case, row by row, then chooses one by a rule.

    Args:
      source: its problems receive the conflicts if the rule is "error".
      rule: one of ON_LABEL_CONFLICT. "latest" is the label of the last labelled row; "majority" that
        of most labelled rows, none if they are tied.
      column: name of the label column.
      fallback: in words, what happens to a case if a conflict leaves no label.
    """

    def __init__(
        self, source: Source, rule: str, column: str = "label", fallback: str = "without a label"
    ):
        self._source, self._rule = source, rule
        self._column, self._fallback = column, fallback
        self._rows: dict[str, list[tuple[Weights, int]]] = {}  # case -> (labels, row)
        self._conflicts: list[str] = []

    def add(self, case: str, weights: Weights, row: int) -> None:
        """Records the label of one row.

        Args:
          case: id.
          weights: labels of the row; () without a label.
          row: its number.
        """
        self._rows.setdefault(case, []).append((weights, row))

    def labels(self, stored: Collection[str]) -> dict[str, Weights]:
        """Returns case -> label for the cases in `stored`; () if a conflict leaves no label.

        A row whose image is missing counts too: it may be the only one with a label. Conflicts of
        cases that are not stored are problems, but not decided.
        """
        cases = [case for case in self._rows if self._rule == "error" or case in stored]
        return {case: self._label_of(case, self._rows[case]) for case in cases}

    def _label_of(self, case: str, rows: list[tuple[Weights, int]]) -> Weights:
        # Labels with weights are the same in whatever order a cell has them.
        counts: dict[frozenset, int] = {}
        for weights, _ in rows:
            counts[frozenset(weights)] = counts.get(frozenset(weights), 0) + 1
        if len(counts) < 2:
            return rows[0][0]
        first = {frozenset(weights): weights for weights, _ in reversed(rows)}
        if self._rule == "error":
            self._add_problem(case, rows)
            return ()
        label_counts = ", ".join(f"{format_label(first[key])!r} x {n}" for key, n in counts.items())
        self._conflicts.append(f"{case!r} ({label_counts})")
        if self._rule == "latest":
            return rows[-1][0]
        most = [key for key, n in counts.items() if n == max(counts.values())]
        return first[most[0]] if self._rule == "majority" and len(most) == 1 else ()

    def _add_problem(self, case: str, rows: list[tuple[Weights, int]]) -> None:
        weights, first_row = rows[0]
        other, row = next(pair for pair in rows if frozenset(pair[0]) != frozenset(weights))
        self._source.problems.add(
            "cases with different labels",
            *self._source.file_and_row(row),
            f"case {case!r} has {self._column} {format_label(other)!r}, but "
            f"{format_label(weights)!r} in {self._source.mention(first_row)}",
            f"a case has one {self._column}: correct it, or pass --on_label_conflict=unlabelled, "
            "latest or majority",
        )

    def notes(self) -> list[str]:
        """Returns a line on the conflicts that the rule has resolved, if there were any."""
        if not self._conflicts:
            return []
        more = len(self._conflicts) - _EXAMPLES
        some = ", ".join(self._conflicts[:_EXAMPLES]) + (f" and {more:,} more" if more > 0 else "")
        of_column = "" if self._column == "label" else f" in {self._column!r}"
        rule = _RULES[self._rule].format(self._fallback)
        return [
            f"{len(self._conflicts):,} cases have rows with different labels{of_column}, {rule}: {some}"
        ]
