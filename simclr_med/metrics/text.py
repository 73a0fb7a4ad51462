"""What metrics are called and how numbers are written: on the terminal, in the report, in tables."""

from __future__ import annotations

import math
from typing import Any

DASH = "–"  # undefined or unknown

_TOO_FEW = "too few"
TITLES = {
    "top_1": "top-1 accuracy",
    "top_3": "top-3 accuracy",
    "balanced_accuracy": "balanced accuracy",
    "quadratic_kappa": "quadratic kappa",
    "macro_auc": "macro-AUC",
    "macro_ap": "macro-AP",
    "chexpert5_auc": "AUC of CheXpert's five",
    "ece": "calibration error",
    "top_1_differential": "top-1 in the differential",
    "top_3_differential": "top-3 meets the differential",
}


def headline(result: dict) -> tuple[str, dict]:
    """Returns (evaluator, {"trained": row, ...}) that the page is about; ("", {}) without labels."""
    rows_of_evaluator = result["classification"]
    for name in ("supervised head", "linear probe", *rows_of_evaluator):
        if name in rows_of_evaluator:
            return name, rows_of_evaluator[name]
    return "", {}


def encoder_title(result: dict, encoder: str) -> str:
    """Returns the title of an encoder in a result's rows, such as "untrained, BatchNorm calibrated".

    Args:
      result: the content of result.json.
      encoder: its key in the rows.
    """
    calibrated = result.get("encoders", {}).get(encoder, {}).get("batch_norm_images")
    return f"{encoder}, BatchNorm calibrated" if calibrated else encoder


def metrics_of(row: dict) -> list[str]:
    """Returns the names of the metrics that a row of the result has."""
    return [name for name in TITLES if name in row]


def number(value: Any) -> str:
    """Returns a number with three decimals; a dash for None and NaN."""
    if value is None or math.isnan(value):
        return DASH
    return f"{value:.3f}"


def estimate(row: dict, name: str, between: str = " ", *, short: bool = False) -> str:
    """Returns `row[name]` with its 95 % interval: 0.853 [0.801, 0.902], or why there is none.

    Args:
      row: of result.json.
      name: of a metric; without it in the row, the result is a dash.
      between: stands between the value and its interval.
      short: write only "(too few)" where patients are too few: narrow tables say below which.
    """
    value = number(row.get(name))
    low, high = row.get(f"{name}_95") or (None, None)
    if value == DASH:
        return value
    if DASH in (number(low), number(high)):
        why = row.get("no_interval", {}).get(name, "")
        return f"{value}{_few(why[: len(_TOO_FEW)] if short else why, between)}"
    return f"{value}{between}[{number(low)}, {number(high)}]"


def signed(value: float | None, limits: list[float] | None, why: str = "") -> str:
    """Returns a difference with its interval, or why there is none: +0.035 [+0.008, +0.063].

    Args:
      value: the difference; None or NaN gives a dash.
      limits: [low, high]; None without an interval.
      why: why there is none.
    """
    if number(value) == DASH:
        return DASH
    if limits is None:
        return f"{value:+.3f}{_few(why)}"
    return f"{value:+.3f} [{limits[0]:+.3f}, {limits[1]:+.3f}]"


def _few(why: str, between: str = " ") -> str:
    """Returns the reason in brackets if it is about these cases; "" for the general ones."""
    return f"{between}({why})" if why.startswith(_TOO_FEW) else ""


def reasons(row: dict, names: list[str]) -> str:
    """Returns which metrics have no interval for lack of patients, and why; "" if none.

    Args:
      row: of result.json.
      names: of metrics.
    """
    why = {TITLES[n]: row.get("no_interval", {}).get(n, "") for n in names}
    return "; ".join(f"{title}: {text}" for title, text in why.items() if text.startswith(_TOO_FEW))


def plain(value: Any) -> str:
    """Returns any value of a configuration or a result as words."""
    if value is None or value == "":
        return DASH
    if isinstance(value, dict):
        return "; ".join(f"{key}: {plain(part)}" for key, part in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(plain, value)) or DASH
    return str(value)
