"""The boxes of report.html on how much was evaluated, and on patients that the model knows."""

from __future__ import annotations

from simclr_med.evaluation.report import page
from simclr_med.metrics import known_patients


def box(result: dict) -> str:
    """Returns a warning where numbers are too good, and what else is known; "" of an older result."""
    boxes = ""
    if warnings := known_patients.warnings(result):
        title = "Warning: patients that the model knows"
        boxes += page.box("".join(map(page.paragraph, warnings)), "warning", title)
    lines = [f"Evaluated: {words}" for words in [known_patients.part(result)] if words]
    lines += known_patients.notes(result)
    return boxes + (page.box("".join(map(page.paragraph, lines))) if lines else "")
