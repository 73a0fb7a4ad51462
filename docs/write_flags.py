"""Writes docs/flags.md from simclr_med/config.py.

Usage: python docs/write_flags.py
"""

import dataclasses
import pathlib
import re
import sys

DOCS = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS.parent))

from simclr_med.config import GROUPS  # noqa: E402

_HEAD = """\
# Flags

Made from `simclr_med/config.py` by `python docs/write_flags.py`. Names, meanings and defaults are those
of SimCLR's `run.py`, but for [these differences](differences.md).
`--help` shows the usual ones, `--help --mode=MODE` those that have an effect there.
"""


def text() -> str:
    """Returns the page."""
    lines = [_HEAD]
    for group in GROUPS.values():
        lines.append(f"\n## {group.__doc__}\n\n| flag | default | what |\n|---|---|---|\n")
        for field in dataclasses.fields(group):
            default = (
                field.default if isinstance(field.default, str) else str(field.default).lower()
            )
            default = "" if field.default in (None, "") else f"`{default}`"
            about = " ".join(field.metadata["help"].split()).replace("<", "&lt;")
            about = re.sub(r"([|\[\]])", r"\\\1", about)
            if choices := field.metadata["choices"]:
                about += f" One of {', '.join(f'`{choice}`' for choice in choices)}."
            lines.append(f"| `--{field.name}` | {default} | {about} |\n")
    return "".join(lines)


if __name__ == "__main__":
    (DOCS / "flags.md").write_text(text())
