"""Tables of a study: columns and rows of text, from study.json."""

from __future__ import annotations

from simclr_med.experiments import study_sentences as sentences
from simclr_med.experiments.study_sentences import USES, comparisons, p_text
from simclr_med.experiments.summary import markdown, percent, spread, text, titles
from simclr_med.metrics.text import DASH, TITLES, number, signed

Table = tuple[list[str], list[list[str]]]

_PLANNED = ("pays", "pays_same_use", "micle")
_EXPLORATORY = ("second_stage", "micle_same_use", "use")


def arms_by_use(study: dict, fraction: float, place: str = "inside", mark: str = "**") -> Table:
    """Returns the main metric of each arm in each use, with intervals; the best use is marked.

    Args:
      study: content of study.json.
      fraction: of the labels.
      place: "inside" or "shift".
      mark: what stands before and after a number of an arm's best use.
    """
    cells = []
    for arm in study["arms"]:
        best = best_use(study, arm["name"], fraction)
        line = [arm["name"]]
        for use in study["uses"]:
            row = find(study, arm["name"], use, fraction, place)
            value = DASH if row is None else interval(row[study["metric"]])
            line.append(f"{mark}{value}{mark}" if use == best and value != DASH else value)
        cells.append(line)
    return ["arm", *(USES[use] for use in study["uses"])], cells


def all_metrics(study: dict, fraction: float, place: str = "inside") -> Table:
    """Returns every metric of every arm and use, mean and standard deviation over runs.

    Args:
      study: content of study.json.
      fraction: of the labels.
      place: "inside" or "shift".
    """
    metrics = [name for name in TITLES if name in sentences.rows_at(study, place)[0]]
    metrics.sort(key=lambda name: name != study["metric"])
    cells = []
    for arm in study["arms"]:
        for use in study["uses"]:
            row = find(study, arm["name"], use, fraction, place)
            if row is not None:
                values = [row.get(name) or {"mean": None, "sd": None} for name in metrics]
                spreads = [text(value["mean"], value["sd"]) for value in values]
                cells.append([arm["name"], USES[use], *spreads])
    return ["arm", "use", *titles(metrics)], cells


def planned(study: dict, place: str = "inside") -> Table:
    """Returns the planned comparisons by the main metric, with p-values corrected together."""
    return _compared(study, _PLANNED, place, corrected=True)


def exploratory(study: dict) -> Table:
    """Returns the other comparisons by the main metric, inside the distribution."""
    return _compared(study, _EXPLORATORY, "inside", corrected=False)


def pretraining(study: dict) -> Table:
    """Returns how each stage of pretraining ended: mean ± standard deviation over seeds."""
    metric, cells = study["metric"], []
    for stage, title in study["stages"].items():
        results = study["pretraining"].get(stage, [])
        if not results:
            continue
        probes = [_probe(result, "trained").get(metric) for result in results]
        contrastive = [result.get("contrastive") or {} for result in results]
        steps = sorted({result["global_step"] for result in results})
        cells.append(
            [
                title,
                " to ".join(f"{step:,}" for step in dict.fromkeys((steps[0], steps[-1]))),
                *(
                    f"{_spread([one.get(key) for one in contrastive])} "
                    f"({_spread([one.get(f'chance_{key}') for one in contrastive], only_mean=True)})"
                    for key in ("loss", "accuracy")
                ),
                _spread(probes),
            ]
        )
    columns = ["pretraining", "steps", "contrastive loss (chance)", "contrastive accuracy (chance)"]
    return [*columns, f"linear probe, all labels: {TITLES[metric]}"], cells


def hyperparameters(study: dict) -> Table:
    """Returns the learning rate, weight decay and steps of every arm and use that is trained."""
    cells = []
    for row in study["hyperparameters"]:
        fraction = "any" if row["fraction"] is None else percent(row["fraction"])
        chosen_with = DASH if row["chosen_at"] is None else percent(row["chosen_at"])
        numbers = [f"{row[key]:g}" for key in ("learning_rate", "weight_decay")]
        steps = f"{row['train_steps']:,}" if row["train_steps"] else DASH
        cells.append([row["arm"], USES[row["use"]], fraction, *numbers, steps, chosen_with])
    columns = ["arm", "use", "labels", "learning rate", "weight decay", "steps"]
    return [*columns, "chosen with"], cells


def how(study: dict) -> list[str]:
    """Returns the end of study.md, in Markdown: splits, hyperparameters, where all numbers are."""
    return [
        markdown(*splits(study)),
        sentences.hyperparameters(study),
        markdown(*hyperparameters(study)),
        "Every run is a folder of its own beside this file, with config.json and result.json. All "
        "numbers: study.json.",
    ]


def splits(study: dict) -> Table:
    """Returns of how many cases and patients each split consists."""
    cells = [
        [
            name,
            row["split"],
            *(f"{row[key]:,}" for key in ("cases", "labelled", "patients", "images")),
        ]
        for name, row in study["runs"]["splits"].items()
    ]
    return ["for", "split", "cases", "labelled", "patients", "images"], cells


def find(study: dict, arm: str, use: str, fraction: float, place: str = "inside") -> dict | None:
    """Returns the row of study["results"]; None if there is none.

    Args:
      study: content of study.json.
      arm, use, fraction, place: of the row.
    """
    key = (arm, use, fraction, place)
    rows = study["results"]
    return next((r for r in rows if (r["arm"], r["use"], r["fraction"], r["place"]) == key), None)


def best_use(study: dict, arm: str, fraction: float) -> str | None:
    """Returns the use of an arm that was best on the selection split; None if none was chosen.

    Args:
      study: content of study.json.
      arm: its name.
      fraction: of the labels.
    """
    rows = study["best_use"]
    chosen = (r["use"] for r in rows if (r["arm"], r["fraction"]) == (arm, fraction))
    return next(chosen, None)


def interval(value: dict) -> str:
    """Returns "0.861 [0.840, 0.880]", or the mean alone where there is no interval."""
    if value["mean"] is None or value["interval"] is None:
        return number(value["mean"])
    low, high = value["interval"]
    return f"{number(value['mean'])} [{number(low)}, {number(high)}]"


def reasons(study: dict, place: str) -> list[str]:
    """Returns the reasons why values of the main metric have no interval, each once."""
    values = [row[study["metric"]] for row in sentences.rows_at(study, place)]
    why = (value["why"].rstrip(".") for value in values if value["interval"] is None)
    return list(dict.fromkeys(reason for reason in why if reason))


def _compared(study: dict, questions: tuple[str, ...], place: str, *, corrected: bool) -> Table:
    rows = [row for question in questions for row in comparisons(study, question, place)]
    cells = []
    for row in rows:
        line = [percent(row["fraction"])]
        line += [f"{sentences.side(row, s)} {number(row[f'value_{s}'])}" for s in ("b", "a")]
        verdicts = [] if row["difference"] is None else [sentences.verdict(row)]
        line += [signed(row["difference"], row["difference_95"], row["why"]), *(verdicts or [DASH])]
        line += [p_text(row["p"]), *([p_text(row["p_holm"])] if corrected else [])]
        cells.append(line)
    columns = ["labels", "arm (use)", "against", "difference [95 %]", "shown", "p"]
    return columns + (["p (Holm)"] if corrected else []), cells


def _probe(result: dict, encoder: str) -> dict:
    return result.get("classification", {}).get("linear probe", {}).get(encoder, {})


def _spread(values: list[float | None], *, only_mean: bool = False) -> str:
    stats = spread(values)
    return text(stats["mean"], None if only_mean else stats["sd"])
