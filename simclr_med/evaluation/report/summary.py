"""The box at the top of report.html: what was evaluated and what the numbers mean, in words."""

from __future__ import annotations

import numpy as np

from simclr_med.evaluation.report import page
from simclr_med.metrics import text
from simclr_med.metrics.text import TITLES, headline, metrics_of

_FEW = 10  # positives, below which a class is named as uncertain
_MADE_BY = {
    "supervised head": "the network as fine-tuned, end to end",
    "linear probe": "a linear classifier on the frozen encoder's features",
    "kNN": "a vote of the most similar training cases by the frozen encoder's features",
}


def box(result: dict, num_cases: int, num_patients: int, *, identifiers: bool = False) -> str:
    """Returns the summary of a result, over `num_cases` cases of `num_patients` patients.

    Args:
      result: the content of result.json.
      num_cases, num_patients: that were looked at.
      identifiers: whether the page holds ids, names of files and folders.
    """
    evaluator, rows = headline(result)
    where = f"the split “{result['eval_split']}” of {result['dataset']}"
    everyone = f"{num_cases:,} cases of {num_patients:,} patients"
    if not rows:
        body = page.paragraph(
            f"{everyone} of {where} were looked at. There are no labels here, or none in the "
            "training split, so nothing could be measured; below stand the nearest neighbours and "
            "the configuration."
        )
        return page.box(body) + _disclaimer(identifiers)
    row = rows["trained"]
    share = result.get("label_fraction") or 1.0
    fewer = f" Labels of only {100 * share:g} % of the training patients were used."
    body = page.paragraph(
        f"The model was evaluated on {row['cases']:,} labelled cases of {row['patients']:,} "
        f"patients ({everyone} in all), from {where}. A case is judged as a whole, by all of its "
        f"images. The answers come from {_MADE_BY.get(evaluator, evaluator)} ({evaluator})."
        + (fewer if share < 1 else "")
    )
    names = metrics_of(row)
    body += page.bullets(
        [(f"{TITLES[name]} {text.estimate(row, name)}", _meaning(name, row)) for name in names]
    )
    body += page.paragraph(
        "In brackets: the 95 % interval over patients. It says how much the number could differ with "
        "other patients of the same kind. It does not cover another seed or another training of the "
        "same recipe, which can move a number as much, nor another hospital, camera or population."
    )
    if "untrained" in rows:
        # Not the calibration error: who knows nothing, and says so, has a small one.
        shown = [name for name in names if name != "ece"]
        values = "; ".join(f"{TITLES[n]} {text.estimate(rows['untrained'], n)}" for n in shown)
        body += page.paragraph(
            f"For comparison, the same network before any training reaches: {values}. What the "
            "training is worth is the distance from there, not from zero."
        )
    if "before this run" in rows:
        values = "; ".join(
            f"{TITLES[n]} {text.estimate(rows['before this run'], n)}" for n in names
        )
        body += page.paragraph(
            f"The run began with weights that were trained before. They reach: {values}. What this run "
            "alone added is the distance from there."
        )
    elif "before this run" in result.get("encoders", {}):  # no path: it may name people
        body += page.paragraph(
            "The run began with weights that were trained before. They are gone, or were changed, so "
            "what this run alone added is not known."
        )
    return page.box(body) + _caution(row) + _disclaimer(identifiers)


def _meaning(name: str, row: dict) -> str:
    counts = [c for c in row["per_class"].values() if c["positives"] + c["negatives"]]
    shares = [c["positives"] / (c["positives"] + c["negatives"]) for c in counts if c["positives"]]
    chance = f"{np.mean(shares):.3f}" if shares else text.DASH
    classes = sum(c["positives"] > 0 for c in counts)
    return {
        "top_1": "– in this share of the cases the class with the highest probability is right.",
        "top_3": "– in this share of the cases the right class is among the first three.",
        "balanced_accuracy": "– the share of right answers within each class, averaged, so that a "
        f"rare class counts as much as a common one; guessing gives {1 / max(classes, 1):.3f}.",
        "quadratic_kappa": "– how far grades agree beyond chance: 1 is full agreement, 0 what guessing "
        "by the shares of the grades gives; a mistake by two grades counts four times one by one grade.",
        "macro_auc": "– how often, of a random case with a condition and one without it, the one "
        "with it gets the higher probability; averaged over the conditions; guessing gives 0.500.",
        "macro_ap": "– among the cases ranked highest for a condition, the share that has it, "
        f"averaged over all cut-offs and conditions; a random order gives about {chance}.",
        "chexpert5_auc": "– the same as macro-AUC, for atelectasis, cardiomegaly, consolidation, "
        "oedema and pleural effusion only, as published results report it.",
        "top_1_differential": "– in this share of the cases the class with the highest probability is "
        "one of those that the case's differential names.",
        "top_3_differential": "– in this share of the cases one of the first three classes is one of "
        "those that the case's differential names.",
        "ece": "– how far, on average, a stated probability is from the share that came true; 0 "
        "is perfect.",
    }[name]


def _caution(row: dict) -> str:
    """Returns a box that names the classes whose numbers rest on few cases, or on none."""
    left_out = [f"{name} ({why})" for name, why in row.get("left_out", {}).items()]
    few = [
        f"{name} ({counts['positives']})"
        for name, counts in row["per_class"].items()
        if 0 < counts["positives"] < _FEW and counts["negatives"]
    ]
    sentences = []
    if left_out:
        sentences.append(f"The averages over classes leave out: {', '.join(left_out)}.")
    if few:
        sentences.append(
            f"Fewer than {_FEW} cases have: {', '.join(few)}. Their numbers are guesses without an "
            "interval, and so are the averages over classes that contain them."
        )
    return (
        page.box("".join(map(page.paragraph, sentences)), "warning", "Few cases")
        if sentences
        else ""
    )


def _disclaimer(identifiers: bool) -> str:
    holds = (
        "The page holds images of patients, with the ids of their cases and names of files and "
        "folders: keep it to yourself."
        if identifiers
        else "The page holds images of patients. It names no patient, case id, file or folder, but "
        "nobody has looked for names inside the images, or for a face or a tattoo: do, and pass it "
        "on only as you may pass on the images."
    )
    return page.box(
        page.paragraph(
            "This is a report of research. The model is not a medical device: it has not been "
            f"assessed for safety or benefit, and must not guide the care of a patient. {holds}"
        ),
        "notice",
        "For research only",
    )
