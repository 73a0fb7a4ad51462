"""What a study found and what it cannot show, in plain sentences, whichever way it came out."""

from __future__ import annotations

from simclr_med.experiments.summary import percent
from simclr_med.metrics.compare import RUNS_FOR_A_RECIPE, is_better
from simclr_med.metrics.text import TITLES, signed

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
    numbers = (
        f"{metric} {row['value_b']:.3f} against {row['value_a']:.3f}, difference "
        f"{signed(row['difference'], row['difference_95'], row['why'])}, p {p_text(row['p'])}, after "
        f"Holm's correction {p_text(row['p_holm'])}"
    )
    if row["p_holm"] is not None and row["p_holm"] < _SIGNIFICANT:
        return f"{start}, {_apart(row)}: {numbers}."
    hint = (
        " Before the correction it would have passed; with so many questions asked, it does not."
        if row["p"] is not None and row["p"] < _SIGNIFICANT
        else ""
    )
    unlikely = ""
    if row["difference_95"] is not None:
        low, high = row["difference_95"]
        unlikely = (
            f" A gain of more than {max(0.0, high):.3f} or a loss of more than "
            f"{max(0.0, -low):.3f} is unlikely."
        )
    return (
        f"{start}, no significant difference between {row['b']} and {row['a']}: {numbers}."
        f"{unlikely}{hint}"
    )


def _apart(row: dict) -> str:
    """Returns what a significant difference means: of recipes, or of the models that were trained."""
    up = is_better(row["metric"], row["difference"])
    if row["over"] == "runs and patients" and row["pretrainings"] >= RUNS_FOR_A_RECIPE:
        verb = "is better than" if up else "is worse than"
        return f"{row['b']} {verb} {row['a']} ({row['pretrainings']} pretrainings each)"
    verb = "do better than" if up else "do worse than"
    return (
        f"the models trained by {row['b']} {verb} those by {row['a']} on these patients "
        f"({row['pretrainings']} pretraining(s), which says nothing about the recipe)"
    )


def limits(study: dict) -> list[str]:
    """Returns what a reader must know before believing the tables."""
    seeds = len(study["seeds"])
    first = (
        f"Each arm was pretrained and fine-tuned {seeds} times, with other seeds. Intervals and "
        "p-values cover other runs and other patients."
        if seeds > 1
        else "Each encoder was pretrained once and fine-tuned once. Intervals and p-values cover other "
        "patients; what another seed would change is not measured."
    )
    if 1 < seeds < RUNS_FOR_A_RECIPE:
        first += (
            f" From {seeds} runs their spread is hardly known: intervals are wide, and nothing is said "
            f"about recipes below {RUNS_FOR_A_RECIPE}."
        )
    said = [
        first + " They do not cover another hospital, or another choice of hyperparameters.",
        "MICLe draws cases with equal chances and SimCLR images, so cases with many images weigh "
        "more in SimCLR: part of a difference between the two can come from that.",
        "Holm's correction is over all pairs of arms, label fractions and test sets, of one metric. "
        "Other metrics than the main one were looked at too.",
    ]
    if study["chosen_with_all_labels"]:
        said.append(
            "Learning rate and weight decay of an arm were chosen once, on the selection split, for "
            "fine-tuning the first seed with all labels: with fewer labels another choice could be "
            "better, and the choice has seen what those runs may not. It is so for every arm alike."
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
