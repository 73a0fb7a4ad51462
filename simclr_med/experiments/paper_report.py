"""study.md and figures of a study whose arms a file names: its tables, beside published numbers."""

from __future__ import annotations

import os

from simclr_med.experiments import (
    study_compare,
    study_figures,
    study_sentences,
    study_tables,
)
from simclr_med.experiments.arms_file import OF_ARM
from simclr_med.experiments.study_sentences import Answer, amount, comparisons, finding
from simclr_med.experiments.study_tables import Table
from simclr_med.experiments.summary import markdown, text
from simclr_med.metrics.text import DASH, TITLES

_PRETRAINING = "pretraining.png"
_NO_WEIGHTS = "left out: no weights"


def draw(model_dir: str, study: dict) -> None:
    """Writes the figures of the arms file, of the arms that there are, and that of pretraining.

    Args:
      model_dir: of the study.
      study: content of study.json.
    """
    for figure in study["layout"]["figures"]:
        if _lacks(study, figure) is None:
            path = os.path.join(model_dir, figure["file"])
            _DRAWN[figure["kind"]](path, {**study, "arms": _arms(study, figure)})
    if any(study["pretraining"].values()):
        study_figures.pretraining(os.path.join(model_dir, _PRETRAINING), study, model_dir)


def answers(study: dict) -> list[Answer]:
    """Returns the file's comparisons in words, in its order, then what is not known."""
    rows = comparisons(study, study_compare.REQUESTED)
    all_answers = []
    for comparison in study["layout"]["comparisons"]:
        matching = [
            row for row in rows if (row["a"], row["b"]) == (comparison["a"], comparison["b"])
        ]
        if matching:
            texts = [finding(study, row, "No, it is worse") for row in matching]
            all_answers.append(Answer(comparison["question"], " ".join(texts)))
    return [*all_answers, study_sentences.unknown(study)]


def page(study: dict) -> str:
    """Returns study.md."""
    layout, metric = study["layout"], TITLES[study["metric"]]
    parts = [
        f"# {layout['title'] or 'Study'}: {study['dataset']}, split {study['eval_split']}",
        "## In short",
        *(f"**{answer.question}** {answer.text}" for answer in answers(study)),
        study_sentences.how_to_read(study),
        *_left_out(study),
        *_tables(study),
        *_figures(study),
        "## Comparisons",
        f"By {metric}, of the same patients; the last column is corrected for all "
        f"{study_compare.num_planned(study)} of them together (Holm).",
        markdown(*study_tables.planned(study)),
        *_elsewhere(study),
        *_pretraining(study),
        "## All arms",
        *(
            part
            for fraction in study["fractions"]
            for part in (
                f"With {amount(study, fraction)}; mean ± standard deviation over runs:",
                markdown(*study_tables.all_metrics(study, fraction)),
            )
        ),
        "## How",
        _how_many(study),
        *study_tables.how(study),
    ]
    return "\n\n".join(part.rstrip("\n") for part in parts if part) + "\n"


def table(study: dict, declared: dict) -> Table:
    """Returns a table of the arms file: this study's numbers with all labels, and the published ones.

    Args:
      study: content of study.json.
      declared: {"columns": [[heading, what]], "rows": [[arm, published number, ...]]}.
    """
    has_published = any(len(row) > 1 for row in declared["rows"])
    columns = []
    for heading, what in declared["columns"]:
        columns.append(heading)
        if what not in OF_ARM and has_published:
            columns.append(f"{heading}, published")
    cells = []
    for key, *published in declared["rows"]:
        facts, line, numbers = study["layout"]["arms"][key], [], iter(published)
        for _, what in declared["columns"]:
            if what in OF_ARM:
                line.append(facts[what])
                continue
            line.append(_value(study, facts["name"], what))
            if has_published:
                line.append(next(numbers, DASH))
        cells.append(line)
    return columns, cells


def _value(study: dict, arm: str, metric: str) -> str:
    """Returns "0.631 ± 0.008 [0.610, 0.650]" of an arm with all labels, or why there is none."""
    if arm not in [one["name"] for one in study["arms"]]:
        return _NO_WEIGHTS
    use = study_tables.best_use(study, arm, 1) or study["uses"][-1]
    row = study_tables.find(study, arm, use, 1)
    if row is None or row.get(metric, {}).get("mean") is None:
        return DASH
    value = row[metric]
    limits = study_tables.interval(value).partition(" ")[2]
    return f"{text(value['mean'], value['sd'])} {limits}".rstrip()


def _tables(study: dict) -> list[str]:
    parts = []
    for declared in study["layout"]["tables"]:
        parts += [f"## {declared['title']}", markdown(*table(study, declared))]
    if parts:
        caption = f"Mean ± standard deviation [95 % interval over {study_sentences.over(study)}]"
        parts.append(f"{caption}, with all labels. Published numbers are of other patients.")
    return parts


def _figures(study: dict) -> list[str]:
    parts = []
    for figure in study["layout"]["figures"]:
        lacks = _lacks(study, figure)
        image = (
            f"![{figure['title']}]({figure['file']})" if lacks is None else f"Not drawn: {lacks}"
        )
        parts += [f"## {figure['title']}", image]
        names = {study["layout"]["arms"][key]["name"] for key in figure["arms"]}
        if missing := sorted(names - {arm["name"] for arm in study["arms"]}):
            parts.append(f"Left out: {'; '.join(missing)}.")
    return parts


def _arms(study: dict, figure: dict) -> list[dict]:
    """Returns the arms of a figure that there are, in its order."""
    names = [study["layout"]["arms"][key]["name"] for key in figure["arms"]]
    arms = {arm["name"]: arm for arm in study["arms"]}
    return [arms[name] for name in names if name in arms]


def _lacks(study: dict, figure: dict) -> str | None:
    """Returns why a figure cannot be drawn; None where it can."""
    if not _arms(study, figure):
        return "none of its arms has its weights."
    if figure["kind"] == "shift" and not study["shift_dataset"]:
        return "it needs --shift_dataset."
    if figure["kind"] == "labels" and len(study["fractions"]) == 1:
        return "it needs several --label_fractions."
    return None


def _left_out(study: dict) -> list[str]:
    """Returns which arms were left out, and where their weights would be."""
    rows = study["layout"]["left_out"]
    if not rows:
        return []
    cells = [[row["arm"], row["weights"], row["path"], row["where"]] for row in rows]
    return [
        f"## Left out: {len(rows)} of {len(rows) + len(study['arms'])} arms",
        "Their weights were not there. Below --weights_dir they would be:",
        markdown(["arm", "weights", "path", "published at"], cells),
    ]


def _elsewhere(study: dict) -> list[str]:
    if not study["shift_dataset"]:
        return []
    return [
        f"The same on {study['shift_dataset']}, split {study['shift_split']}, without further training:",
        markdown(*study_tables.planned(study, "shift")),
    ]


def _pretraining(study: dict) -> list[str]:
    if not any(study["pretraining"].values()):
        return []
    return [
        "## Pretraining",
        "Mean ± standard deviation over seeds. Each stage is run once, for all arms that go on from it.",
        markdown(*study_tables.pretraining(study)),
        f"![Loss and accuracy of every pretraining]({_PRETRAINING})",
    ]


def _how_many(study: dict) -> str:
    kinds = ("pretraining", "sweep", "fine-tuning", "probe")
    runs = ", ".join(f"{kind} {study['runs'][kind]:,}" for kind in kinds)
    seeds, repeats = len(study["seeds"]), study["label_subsets"]
    return (
        f"{seeds} seed{'s' * (seeds != 1)} of each pretraining, {repeats} fine-tuning"
        f"{'s' * (repeats != 1)} from each, with seeds, and below 100 % labels, of their own; "
        f"{study['fixed']}. Number of runs: {runs}."
    )


_DRAWN = {
    "bars": study_figures.bars,
    "shift": study_figures.shift,
    "labels": study_figures.label_efficiency,
}
