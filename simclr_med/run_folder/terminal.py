"""Tables on the terminal."""

from __future__ import annotations

import os

import rich.console
import rich.table
from rich.markup import escape

from simclr_med import printing


@printing.result()
def show(tables: list[tuple[str, list[str], list[list[str]]]]) -> None:
    """Prints tables: title, columns, and rows of text; the first column names, the others count."""
    console = rich.console.Console(width=None if os.isatty(1) else 120, highlight=False)
    for title, columns, rows in tables:
        table = rich.table.Table(title=escape(title), title_justify="left")
        for i, column in enumerate(columns):
            table.add_column(escape(column), justify="right" if i else "left")
        for row in rows:
            table.add_row(*map(escape, row))  # "eczema [hand]" is no markup
        console.print(table)


def file_size(num_bytes: int) -> str:
    """Returns a size in kB or MB."""
    return f"{num_bytes / 1e6:,.1f} MB" if num_bytes >= 1e6 else f"{num_bytes / 1e3:,.1f} kB"
