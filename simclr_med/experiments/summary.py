"""Numbers from results: the main row, its metrics, mean and deviation over seeds."""

from __future__ import annotations

import numpy as np

from simclr_med.errors import UserError
from simclr_med.metrics.text import TITLES, number


def main_row(result: dict) -> dict:
    """Returns the row of the fine-tuned head, or of the linear probe of a pretrained encoder.

    Raises:
      UserError: nothing was scored, as no evaluated case has a label.
    """
    for evaluator in ("supervised head", "linear probe"):
        if evaluator in result["classification"]:
            return result["classification"][evaluator]["trained"]
    raise UserError(
        f"Split '{result['eval_split']}' of {result['dataset']} has no labelled case: nothing to "
        "compare runs by."
    )


def titles(metrics: list[str]) -> list[str]:
    """Returns what tables call the metrics."""
    return [TITLES[name] for name in metrics]


def mean_and_sd(values: list[float | None]) -> tuple[float | None, float | None]:
    """Returns mean and sample standard deviation; None where undefined (one value has no deviation)."""
    if not values or any(value is None for value in values):
        return None, None
    numbers = np.array(values, float)
    return float(numbers.mean()), float(numbers.std(ddof=1)) if len(numbers) > 1 else None


def spread(values: list[float | None]) -> dict:
    """Returns {"values", "mean", "sd"}."""
    mean, sd = mean_and_sd(values)
    return {"values": values, "mean": mean, "sd": sd}


def text(mean: float | None, sd: float | None = None) -> str:
    """Returns "0.812 ± 0.010", "0.812" without a deviation, "–" where undefined.

    Args:
      mean: None where undefined.
      sd: standard deviation; None: not shown.
    """
    return number(mean) if sd is None else f"{number(mean)} ± {number(sd)}"


def percent(fraction: float) -> str:
    """Returns "10 %"."""
    return f"{100 * fraction:g} %"


def markdown(columns: list[str], rows: list[list[str]]) -> str:
    """Returns a Markdown table; the first column is aligned left, the others right."""
    lines = [columns, ["---"] + ["---:"] * (len(columns) - 1), *rows]
    escaped = ([cell.replace("|", "\\|") for cell in line] for line in lines)
    return "".join(f"| {' | '.join(line)} |\n" for line in escaped)
