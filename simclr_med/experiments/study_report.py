"""study.md and its figures, from study.json: questions and answers, first in words, then in tables.

Of a study of four arms; `paper_report` has that of an arms file.
"""

from __future__ import annotations

import os
import textwrap

from simclr_med import run_folder
from simclr_med.experiments import (
    paper_report,
    study_compare,
    study_figures,
    study_sentences,
    study_tables,
)
from simclr_med.experiments.study_sentences import USES, amount
from simclr_med.experiments.summary import markdown, percent
from simclr_med.metrics.text import TITLES
from simclr_med.run_folder import terminal

LABELS, USED, SHIFT, PRETRAINING = (
    *("figure5_labels.png", "figure5_uses.png"),
    *("figure4_shift.png", "pretraining.png"),
)
_WIDTH = 100  # of text on the terminal


def save(model_dir: str, study: dict) -> None:
    """Writes study.md and its figures; prints the table and, last, the answers.

    Args:
      model_dir: of the study.
      study: content of study.json.
    """
    if study["layout"]:
        paper_report.draw(model_dir, study)
        text, answers = paper_report.page(study), paper_report.answers(study)
    else:
        _draw(model_dir, study)
        text, answers = page(study), study_sentences.answers(study)
    path = os.path.join(model_dir, "study.md")
    run_folder.write_atomically(path, text)
    terminal.show(
        [
            (
                f"{TITLES[study['metric']]} with {amount(study, fraction)}, * best use",
                *study_tables.arms_by_use(study, fraction, mark="*"),
            )
            for fraction in study["fractions"]
        ]
    )
    in_short = [f"{answer.question} {answer.text}" for answer in answers]
    for text in (*in_short, study_sentences.how_to_read(study)):
        print(textwrap.fill(text, _WIDTH, break_on_hyphens=False) + "\n")
    print(f"  {path}  tables and figures")


def _draw(model_dir: str, study: dict) -> None:
    if _has_best(study):
        study_figures.label_efficiency(os.path.join(model_dir, LABELS), study)
    study_figures.by_use(os.path.join(model_dir, USED), study)
    study_figures.pretraining(os.path.join(model_dir, PRETRAINING), study, model_dir)
    if study["shift_dataset"]:
        study_figures.shift(os.path.join(model_dir, SHIFT), study)


def page(study: dict) -> str:
    """Returns study.md of the four arms."""
    metric = TITLES[study["metric"]]
    parts = [
        f"# Study: {study['dataset']}, split {study['eval_split']}",
        "## In short",
        *(f"**{answer.question}** {answer.text}" for answer in study_sentences.answers(study)),
        study_sentences.how_to_read(study),
        f"## {metric} by arm and use",
        f"Mean [95 % interval over {study_sentences.over(study)}] of {_how_many(study)}. "
        f"{study['architecture']}; {study['fixed']}."
        + " Bold: the arm's best use, by the mean on the selection split."
        * study_sentences.chooses(study),
        *_by_fraction(study, "inside"),
        f"![{metric} over the number of labels, each arm in its best use]({LABELS})"
        if _has_best(study)
        else "",
        f"![{metric} over the number of labels, use by use]({USED})",
        "## Comparisons",
        f"Planned, by {metric}; the last column is corrected for all "
        f"{study_compare.num_planned(study)} of them together (Holm). Differences are of the same "
        "patients.",
        markdown(*study_tables.planned(study)),
        "Exploratory, without correction:",
        markdown(*study_tables.exploratory(study)),
        *_elsewhere(study),
        "## Pretraining",
        "Mean ± standard deviation over seeds. MICLe and its control start from the SimCLR of their "
        "seed, and see the same bags in the same batches: they differ in the positive pair only.",
        markdown(*study_tables.pretraining(study)),
        f"![Loss and accuracy of every pretraining]({PRETRAINING})",
        "## Other metrics",
        *_all_metrics(study),
        "## How",
        _what(study),
        *study_tables.how(study),
    ]
    return "\n\n".join(part.rstrip("\n") for part in parts if part) + "\n"


def _by_fraction(study: dict, place: str) -> list[str]:
    return [
        part
        for fraction in study["fractions"]
        for part in (
            f"With {amount(study, fraction)}:",
            markdown(*study_tables.arms_by_use(study, fraction, place)),
        )
    ] + [f"No interval: {why}." for why in study_tables.reasons(study, place)]


def _elsewhere(study: dict) -> list[str]:
    """Returns the section of the shift dataset; [] without one."""
    if not study["shift_dataset"]:
        return []
    return [
        f"## {study['shift_dataset']}, split {study['shift_split']}",
        "The same runs on other cases, without further training.",
        *_by_fraction(study, "shift"),
        f"![Inside and elsewhere]({SHIFT})",
        "Planned comparisons there:",
        markdown(*study_tables.planned(study, "shift")),
    ]


def _all_metrics(study: dict) -> list[str]:
    parts = ["Mean ± standard deviation over runs, on the evaluated split."]
    for fraction in study["fractions"]:
        parts += [
            f"With {amount(study, fraction)}:",
            markdown(*study_tables.all_metrics(study, fraction)),
        ]
    return parts


def _how_many(study: dict) -> str:
    """Returns "3 pretrainings (seeds 0, 1, 2), with 3 subsets of the labels each below 100 %"."""
    seeds = study["seeds"]
    text = f"{len(seeds)} pretraining{'s' * (len(seeds) != 1)} (seed{'s' * (len(seeds) != 1)} "
    text += f"{', '.join(map(str, seeds))})"
    if study["label_subsets"] > 1 and study["fractions"][0] < 1:
        text += f", with {study['label_subsets']} subsets of the labels each below {percent(1)}"
    return text


def _has_best(study: dict) -> bool:
    """Returns whether any arm has a best use; without one, a figure is left out."""
    return any(row["use"] for row in study["best_use"])


def _what(study: dict) -> str:
    """Returns what each arm was pretrained on, which uses there are, and how many runs."""
    arms = "; ".join(f"{arm['name']}: {arm['pretraining_data']}" for arm in study["arms"])
    uses = {
        "probe": "logistic regression on frozen features",
        "finetune": "the whole network is trained",
        "probe_finetune": "the whole network is trained, its head starting at the probe's weights "
        "(Kumar et al. 2022)",
    }
    descriptions = "; ".join(f"{USES[use]}: {uses[use]}" for use in study["uses"])
    kinds = ("pretraining", "sweep", "fine-tuning", "probe")
    runs = ", ".join(f"{kind} {study['runs'][kind]:,}" for kind in kinds)
    return f"Pretraining data: {arms}. Uses: {descriptions}. Number of runs: {runs}."
