"""Tables and lines on the terminal, at whatever width it has."""

from __future__ import annotations

import os
import re

import rich.console
import rich.table
from rich.markup import escape

from simclr_med import printing

_WIDTH_OF_FILES = 120
_INTERVAL = re.compile(r" (?=[\[(])")  # before the bracket of "0.946 [0.915, 0.966]"


def console() -> rich.console.Console:
    """Returns the terminal, as wide as it is; a file or pipe is $COLUMNS wide, or 120."""
    width = None if os.isatty(1) or "COLUMNS" in os.environ else _WIDTH_OF_FILES
    return rich.console.Console(width=width, highlight=False, emoji=False)  # ":x:" is a name


def say(line: str) -> None:
    """Prints a line, broken between words where a terminal is narrower; whole in a file or pipe."""
    out = console()
    out.print(line, markup=False, soft_wrap=not out.is_terminal)


@printing.result()
def show(tables: list[tuple[str, list[str], list[list[str]]]]) -> None:
    """Prints tables of title, columns and rows of text; the first column is aligned left."""
    out = console()
    for title, columns, rows in tables:
        out.print(table(out, title, columns, rows))


def table(
    out: rich.console.Console,
    title: str,
    columns: list[str],
    rows: list[list[str]],
    names: int = 1,
    justify: rich.console.JustifyMethod = "right",
) -> rich.table.Table:
    """Returns a table of text that loses nothing on a narrow terminal.

    Where it is too wide, intervals stand below their numbers; where that does not suffice, words are
    broken too.

    Args:
      out: what it is to be printed on.
      title: above it.
      columns: their headings.
      rows: of as many cells; [] ends a section.
      names: columns at the left that name the row.
      justify: of the other columns.
    """
    rendered = _table(title, columns, rows, names, justify)
    if fits(out, rendered):
        return rendered
    broken = [[*row[:names], *(_INTERVAL.sub("\n", cell) for cell in row[names:])] for row in rows]
    return _table(title, columns, broken, names, justify)


def fits(out: rich.console.Console, table: rich.table.Table) -> bool:
    """Returns whether a table is narrow enough to be printed without a break in a cell."""
    endless = out.options.update(width=10**6)
    return table.__rich_measure__(out, endless).maximum <= out.width


def _table(title, columns, rows, names, justify) -> rich.table.Table:
    table = rich.table.Table(title=escape(title), title_justify="left")
    for i, column in enumerate(columns):
        how = justify if i >= names else "left"
        # "…" would hide what differs
        table.add_column(escape(column), justify=how, overflow="fold")
    for row in rows:
        if row:
            table.add_row(*map(escape, row))  # "eczema [hand]" is no markup
        else:
            table.add_section()
    return table


def file_size(num_bytes: int) -> str:
    """Returns a size in kB or MB."""
    return f"{num_bytes / 1e6:,.1f} MB" if num_bytes >= 1e6 else f"{num_bytes / 1e3:,.1f} kB"
