"""The answers of a study in words, whatever the result: the first lines of its report.

"Better" is said only of recipes whose difference has an interval without 0, from at least three
pretrainings; everything else is "not shown", with its interval.
"""

from __future__ import annotations

import dataclasses

from simclr_med.experiments.study_plan import SIMCLR
from simclr_med.experiments.summary import percent
from simclr_med.metrics.compare import RUNS_FOR_A_RECIPE, is_better
from simclr_med.metrics.over_runs import OVER_RUNS
from simclr_med.metrics.text import TITLES, number, signed

USES = {
    "probe": "linear probe",
    "finetune": "fine-tuned",
    "probe_finetune": "probe, then fine-tuned",
}
_SIGNIFICANT = 0.05


@dataclasses.dataclass(frozen=True)
class Answer:
    """A question of a study, and its answer in a few sentences."""

    question: str
    text: str


def answers(study: dict) -> list[Answer]:
    """Returns the study's questions with their answers, the most important first.

    Args:
      study: content of study.json.
    """
    candidates = [pays(study), pays(study, "shift"), best_uses(study), micle(study)]
    return [*(answer for answer in candidates if answer), unknown(study)]


def pays(study: dict, place: str = "inside") -> Answer | None:
    """Returns whether SimCLR is better than no pretraining; None if nothing was compared there.

    SimCLR decides, each arm in its best use, as was fixed beforehand; other arms are in the tables.

    Args:
      study: content of study.json.
      place: "inside" or "shift".
    """
    question = "Does pretraining pay?"
    if place == "shift":
        question = f"And on {study['shift_dataset']}, where nothing was trained?"
    by_use = comparisons(study, "pays_same_use", place)
    main = [row for row in comparisons(study, "pays", place) if row["b"] == SIMCLR]
    texts = []
    for row in main:
        texts.append(finding(study, row, "No, it does harm"))
        texts += [
            f"Both fine-tuned: difference {difference(same)}."
            for same in by_use
            if (same["fraction"], same["use_a"]) == (row["fraction"], "finetune")
            and (row["use_a"], row["use_b"]) != ("finetune", "finetune")
        ]
    if not main:  # no best use was chosen
        for use in dict.fromkeys(row["use_a"] for row in by_use):
            of_use = [row for row in by_use if row["use_a"] == use]
            texts += [finding(study, row, "No, it does harm") for row in of_use]
    return Answer(question, " ".join(texts)) if texts else None


def best_uses(study: dict) -> Answer:
    """Returns which use of each arm was best on the selection split, at each fraction."""
    texts = []
    for fraction in study["fractions"]:
        by_use: dict[str | None, list[dict]] = {}
        for row in study["best_use"]:
            if row["fraction"] == fraction:
                by_use.setdefault(row["use"], []).append(row)
        start = f"With {amount(study, fraction)}"
        if without := by_use.pop(None, []):
            why = "; ".join(dict.fromkeys(row["why"] for row in without if row["why"]))
            texts.append(f"{start} none was chosen: {why.rstrip('.')}.")
        if by_use:
            alike = len(by_use) == 1 and not without
            listed = "; ".join(
                f"{USES[str(use)]} for "
                + ("all arms" if alike else _listed([row["arm"] for row in rows]))
                for use, rows in by_use.items()
            )
            texts.append(f"{start}: {listed}.")
    if chooses(study):
        texts.append("Chosen by the mean on the selection split, not on the evaluated cases.")
    return Answer("Which use is best?", " ".join(texts))


def micle(study: dict) -> Answer | None:
    """Returns whether MICLe is better than as many steps of SimCLR on the same bags; None: not asked."""
    rows = comparisons(study, "micle") or comparisons(study, "micle_same_use")
    texts = [finding(study, row, "No, it is worse") for row in rows]
    question = "Does MICLe add to as many more steps of SimCLR?"
    return Answer(question, " ".join(texts)) if texts else None


def unknown(study: dict) -> Answer:
    """Returns the limits of the study, which a reader must know before relying on the numbers."""
    seeds = len(study["seeds"])
    counts = sorted({row["patients"] for row in rows_at(study, "inside")})
    texts = [
        f"{seeds} pretraining{'s' * (seeds != 1)} of each kind, "
        f"{' or '.join(f'{n:,}' for n in counts)} patients, one dataset: intervals cover other "
        f"{'seeds and other ' if seeds > 1 else ''}patients like these, and not another hospital, "
        "camera, population, recipe, or choice of hyperparameters.",
    ]
    if seeds == 1:
        texts.append("What another seed would change is not measured: use --repeats=3.")
    elif seeds < RUNS_FOR_A_RECIPE:
        texts.append(f"Below {RUNS_FOR_A_RECIPE} pretrainings nothing is said about recipes.")
    widths = [_half(row) for row in comparisons(study, "pays") if row["b"] == SIMCLR]
    if known := sorted(f"{width:.3f}" for width in widths if width is not None):
        span = " to ".join(dict.fromkeys((known[0], known[-1])))
        by_number = " (by the number of labels)" if " to " in span else ""
        texts.append(
            f"A true difference below about {span}{by_number} would usually go unnoticed here: “not "
            "shown” does not mean equal."
        )
    if study["is_demo"]:
        texts.append(
            "The demo's images are drawn by our own code: this shows that the method and the "
            "statistics work, and says nothing about patients."
        )
    return Answer("What is not known?", " ".join(texts))


def how_to_read(study: dict) -> str:
    """Returns what the words and brackets of the answers mean."""
    return (
        f"In brackets: 95 % intervals over {over(study)}. “Yes” and “better” mean that the interval of "
        "the difference, over runs and patients, excludes 0, from at least "
        f"{RUNS_FOR_A_RECIPE} pretrainings; everything else is “not shown”.{_pairs(study)}"
    )


def _pairs(study: dict) -> str:
    """Returns " Arms are compared in pairs of runs ..."; "" where no comparison was in pairs."""
    in_pairs = [bool(row.get("pairs")) for row in study["comparisons"]]
    if not any(in_pairs):
        return ""
    which = "Arms" if all(in_pairs) else "Where all runs have a counterpart, arms"
    return f" {which} are compared in pairs of runs with the same seed and the same labelled cases."


def over(study: dict) -> str:
    """Returns what the intervals of a study are over: "runs and patients", or "patients"."""
    rows = study["comparisons"]
    return rows[0]["over"] if rows else OVER_RUNS


def chooses(study: dict) -> bool:
    """Returns whether best uses were chosen among several."""
    return len(study["uses"]) > 1 and any(row["use"] for row in study["best_use"])


def comparisons(study: dict, question: str, place: str = "inside") -> list[dict]:
    """Returns the rows of study["comparisons"] by the main metric, by ascending fraction.

    Args:
      study: content of study.json.
      question: see `study_compare.questions`.
      place: "inside" or "shift".
    """
    key = (question, place, study["metric"])
    rows = [r for r in study["comparisons"] if (r["question"], r["place"], r["metric"]) == key]
    return sorted(rows, key=lambda row: row["fraction"])


def rows_at(study: dict, place: str) -> list[dict]:
    """Returns the rows of study["results"] of a place."""
    return [row for row in study["results"] if row["place"] == place]


def amount(study: dict, fraction: float) -> str:
    """Returns "10 % of the labels (598 cases)" or "all labels (5,980 cases)".

    Args:
      study: content of study.json.
      fraction: of the labels.
    """
    rows = [row for row in rows_at(study, "inside") if row["fraction"] == fraction]
    counts = [row["labels"] for row in rows if row["labels"] is not None]
    share = "all labels" if fraction == 1 else f"{percent(fraction)} of the labels"
    return f"{share} ({max(counts):,.0f} cases)" if counts else share


def side(row: dict, which: str) -> str:
    """Returns "SimCLR (linear probe)", one side of a comparison.

    Args:
      row: of the comparisons.
      which: "a" or "b".
    """
    return f"{row[which]} ({USES[row[f'use_{which}']]})"


def difference(row: dict) -> str:
    """Returns "+0.032 [+0.011, +0.053]: better", or "not shown", or why there is no number."""
    if row["difference"] is None:
        return "cannot be measured"
    return f"{signed(row['difference'], row['difference_95'], row['why'])}: {verdict(row)}"


def verdict(row: dict) -> str:
    """Returns "better" or "worse", of b against a, or "not shown".

    Shown is a difference whose 95 % interval excludes 0, over runs and patients, from at least
    three pretrainings a side.
    """
    enough = row["over"] == OVER_RUNS and row["pretrainings"] >= RUNS_FOR_A_RECIPE
    if not enough or not _excludes_zero(row):
        return "not shown"
    return "better" if is_better(row["metric"], row["difference"]) else "worse"


def p_text(p: float | None) -> str:
    """Returns "0.012", "<0.001", or "–" where undefined."""
    if p is None:
        return "–"
    return f"{p:.3f}" if p >= 0.001 else "<0.001"


def _excludes_zero(row: dict) -> bool:
    return row["difference_95"] is not None and not (
        row["difference_95"][0] <= 0 <= row["difference_95"][1]
    )


def _half(row: dict) -> float | None:
    """Returns half the width of a difference's interval; None if it has none."""
    limits_of = row["difference_95"]
    return None if limits_of is None else (limits_of[1] - limits_of[0]) / 2


def finding(study: dict, row: dict, worse: str) -> str:
    """Returns a comparison in words: shown or not, both values, the difference.

    Args:
      study: content of study.json.
      row: of its comparisons.
      worse: what is said if b is worse.
    """
    word = {"better": "Yes", "worse": worse, "not shown": "Not shown"}[verdict(row)]
    start = f"{word} with {amount(study, row['fraction'])}"
    metric = TITLES[study["metric"]]
    if row["difference"] is None:
        return (
            f"{start}: {side(row, 'a')} and {side(row, 'b')} cannot be compared, as {metric} is "
            "undefined."
        )
    moved = signed(row["difference"], row["difference_95"])
    return (
        f"{start}: {side(row, 'b')} reaches {metric} {number(row['value_b'])}, {side(row, 'a')} "
        f"{number(row['value_a'])}, difference {moved}{_caution(row)}."
    )


def hyperparameters(study: dict) -> str:
    """Returns how hyperparameters were chosen."""
    if not study["has_grid"]:
        return "Hyperparameters of fine-tuning, those of the recipe (nothing was chosen):"
    shares = " and ".join(percent(fraction) for fraction in study["searched_fractions"])
    return (
        f"Hyperparameters of fine-tuning were chosen for each arm and use on {study['selection_split']}, "
        f"with the first seed and {shares} of the labels; the evaluated split was not looked at:"
    )


def _caution(row: dict) -> str:
    """Returns what stands between a comparison and "shown", or weakens it; "" where nothing does."""
    if row["difference_95"] is None:
        return f" (no interval: {row['why'].rstrip('.')})" if row["why"] else ""
    if not _excludes_zero(row):
        return ""
    if verdict(row) == "not shown":
        return (
            f" (from {row['pretrainings']} pretraining{'s' * (row['pretrainings'] != 1)} only: true of "
            "these models, and nothing is known of the recipe)"
        )
    if row["p_holm"] is not None and row["p_holm"] >= _SIGNIFICANT:
        return f" (p {p_text(row['p_holm'])} after Holm's correction: confirm it with more seeds)"
    return ""


def _listed(names: list[str]) -> str:
    """Returns "a, b and c"."""
    return " and ".join([", ".join(names[:-1])] * (len(names) > 1) + names[-1:])
