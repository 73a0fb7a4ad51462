"""What a study found and what it cannot show, in plain sentences, whichever way it came out."""

from __future__ import annotations

from simclr_med.experiments.summary import percent
from simclr_med.metrics.text import TITLES

_SIGNIFICANT = 0.05


def findings(study: dict) -> list[str]:
    """Returns a sentence per label fraction and pair of arms, inside and outside the distribution."""
    rows = [row for row in study["comparisons"] if row["metric"] == study["metric"]]
    return [_finding(row, study) for row in rows]


def _finding(row: dict, study: dict) -> str:
    where = "" if row["place"] == "inside" else f" on {study['shift_dataset']}"
    start = f"With {percent(row['fraction'])} of the labels{where}"
    metric = TITLES[study["metric"]]
    if row["difference"] is None:
        return f"{start}, {row['a']} and {row['b']} cannot be compared: {metric} is undefined."
    low, high = row["difference_95"]
    numbers = (
        f"{metric} {row['value_b']:.3f} against {row['value_a']:.3f}, difference "
        f"{row['difference']:+.3f} [{low:+.3f}, {high:+.3f}], p {p_text(row['p'])}, after Holm's "
        f"correction {p_text(row['p_holm'])}"
    )
    if row["p_holm"] is not None and row["p_holm"] < _SIGNIFICANT:
        verb = "is better than" if row["difference"] > 0 else "is worse than"
        return f"{start}, {row['b']} {verb} {row['a']}: {numbers}."
    hint = (
        " Before the correction it would have passed; with so many questions asked, it does not."
        if row["p"] is not None and row["p"] < _SIGNIFICANT
        else ""
    )
    return (
        f"{start}, no significant difference between {row['b']} and {row['a']}: {numbers}. A gain "
        f"of more than {max(0.0, high):.3f} or a loss of more than {max(0.0, -low):.3f} is unlikely."
        f"{hint}"
    )


def limits(study: dict) -> list[str]:
    """Returns what a reader must know before believing the tables."""
    seeds = len(study["seeds"])
    said = [
        "Each encoder was pretrained once. The intervals cover which patients were evaluated, and "
        f"the {seeds} seed{'s' * (seeds != 1)} of fine-tuning are averaged; what another seed of "
        "pretraining would change is not measured.",
        "MICLe draws cases with equal chances and SimCLR images, so cases with many images weigh "
        "more in SimCLR: part of a difference between the two can come from that.",
        "Holm's correction is over all pairs of arms and label fractions, of one metric on one test set."
        " Other metrics than the main one were looked at too.",
    ]
    if study["chosen_with_all_labels"]:
        said.append(
            "Learning rate and weight decay of an arm were chosen once, on the selection split, for "
            "fine-tuning with all labels: with fewer labels another choice could be better, and the "
            "choice has seen what those runs may not. It is so for every arm alike."
        )
    if seeds == 1:
        said.append("With one seed there is no standard deviation: use --repeats.")
    if study["is_demo"]:
        said.append(
            "The demo's images are drawn by our own code: this shows that the method and the "
            "statistics work, and says nothing about patients."
        )
    return said


def p_text(p: float | None) -> str:
    """Returns "0.012", "<0.001", or "–" where undefined."""
    if p is None:
        return "–"
    return f"{p:.3f}" if p >= 0.001 else "<0.001"
