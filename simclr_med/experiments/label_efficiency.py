"""Label efficiency (section 5.5): the same fine-tuning with more and more of the labels.

Which patients are labelled is decided by the seed, and a smaller share is part of a larger one.
"""

from __future__ import annotations

import csv
import io
import os

import tensorflow as tf

from simclr_med import run_folder
from simclr_med.checkpoints import files as checkpoint_files
from simclr_med.config import Config
from simclr_med.errors import UserError
from simclr_med.evaluation import evaluate
from simclr_med.experiments import figures, grids, repeats, runs, summary
from simclr_med.metrics.text import TITLES, metrics_of
from simclr_med.run_folder import data_json, gfile, spreadsheet, terminal


def make_configs(config: Config) -> dict[str, Config]:
    """Returns {folder: configuration}: every label fraction with the first seed, then the next.

    Raises:
      UserError: a fraction that cannot be one, or a run that is no fine-tuning.
    """
    experiment = config.experiment
    if config.run.train_mode != "finetune":
        raise UserError("--mode=label_efficiency fine-tunes: add --train_mode=finetune.")
    fractions = grids.numbers("label_fractions", experiment.label_fractions, "label_fraction")
    return {
        f"fraction_{grids.name(fraction)}/{seed}": of_seed.replace(
            label_fraction=fraction, eval_name=None
        )
        for seed, of_seed in repeats.make_configs(config, experiment.repeats).items()
        for fraction in sorted(fractions)
    }


def what_is_fixed(config: Config) -> str:
    """Returns whether a smaller share of the labels trains for equal steps or equal epochs."""
    if config.train.train_steps:
        return (
            f"steps are fixed: every run makes {config.train.train_steps:,}, so a smaller share is "
            "seen more often"
        )
    return (
        f"epochs are fixed: every run makes {config.train.train_epochs:,}, so a smaller share "
        "makes fewer steps"
    )


def run(
    config: Config, builder, model_dir: str, strategy: tf.distribute.Strategy, invocation: dict
) -> dict:
    """Fine-tunes and evaluates every fraction and seed; writes and returns the curve.

    Files in `model_dir`: label_efficiency.json, .csv, .md and .png, and report.html, the report of
    the first seed with most labels, with the curve in it.

    Args:
      config: of the command.
      builder, model_dir, strategy, invocation: as in `runs.run_all`.

    Raises:
      UserError: a mistake in the fractions, or a run that is no fine-tuning.
    """
    configs = make_configs(config)
    with run_folder.locked(model_dir):
        outcomes = runs.run_all(configs, builder, model_dir, strategy, invocation)
        results = {name: outcome.result for name, outcome in outcomes}
        curve = {
            "dataset": data_json.name_of(builder),
            "eval_split": config.data.eval_split,
            "checkpoint": config.run.checkpoint,
            "fixed": what_is_fixed(config),
            "rows": rows(configs, results),
        }
        _save(curve, model_dir, config.eval.selection_metric)
        _report(config, configs, curve, builder, model_dir, strategy)
    return curve


def _report(
    config: Config, configs: dict[str, Config], curve, builder, model_dir, strategy
) -> None:
    first = [name for name, one in configs.items() if one.run.seed == config.run.seed]
    most = max(first, key=lambda name: configs[name].data.label_fraction)
    folder, metric = os.path.join(model_dir, most), config.eval.selection_metric
    if not checkpoint_files.list_prefixes(folder):  # removed to save space
        return
    points = [
        {
            "label_fraction": row["fraction"],
            metric: row[metric]["mean"],
            f"{metric}_std": row[metric]["sd"],
        }
        for row in curve["rows"]
        if metric in row
    ]
    evaluate.evaluate(configs[most], builder, folder, strategy, label_efficiency=points)
    path, drawn = os.path.join(model_dir, "report.html"), os.path.join(folder, "report.html")
    if gfile.exists(drawn):  # otherwise a warning was printed
        gfile.copy(drawn, path, overwrite=True)
        print(f"  {path}")


def rows(configs: dict[str, Config], results: dict[str, dict]) -> list[dict]:
    """Returns a row per fraction: {"fraction", "seeds", metric: {"values", "mean", "sd"}, ...}.

    Args:
      configs: {folder: configuration} of the runs.
      results: {folder: result}.
    """
    table = []
    for fraction in sorted({config.data.label_fraction for config in configs.values()}):
        names = [name for name, config in configs.items() if config.data.label_fraction == fraction]
        measured = [summary.main_row(results[name]) for name in names]
        row = {"fraction": fraction, "seeds": [configs[name].run.seed for name in names]}
        for metric in metrics_of(measured[0]):
            row[metric] = summary.spread([m.get(metric) for m in measured])
        table.append(row)
    return table


def _save(curve: dict, model_dir: str, main_metric: str) -> None:
    stem = os.path.join(model_dir, "label_efficiency")
    run_folder.write_json(f"{stem}.json", curve)
    metrics = [name for name in TITLES if name in curve["rows"][0]]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["fraction", "metric", "mean", "sd", "seeds", "values"])
    for row in curve["rows"]:
        for name in metrics:
            spread = row[name]
            seeds, values = (" ".join(map(str, v)) for v in (row["seeds"], spread["values"]))
            numbers = ["" if spread[k] is None else spread[k] for k in ("mean", "sd")]
            cells = [row["fraction"], name, *numbers, seeds, values]
            writer.writerow(spreadsheet.cells(cells))
    run_folder.write_atomically(f"{stem}.csv", text.getvalue())

    columns = ["labels", *(TITLES[name] for name in metrics)]
    cells = [
        [summary.percent(row["fraction"])]
        + [summary.text(row[name]["mean"], row[name]["sd"]) for name in metrics]
        for row in curve["rows"]
    ]
    start = f"from {curve['checkpoint']}" if curve["checkpoint"] else "from scratch"
    count = len(curve["rows"][0]["seeds"])
    title = f"Label efficiency, {start}: {curve['dataset']} {curve['eval_split']}"
    note = f"Mean ± standard deviation of {count} seeds; {curve['fixed']}."
    page = f"# {title}\n\n{note}\n\n{summary.markdown(columns, cells)}"
    run_folder.write_atomically(f"{stem}.md", page)
    metric = main_metric if main_metric in metrics else metrics[0]
    line = [(row["fraction"], row[metric]["mean"], row[metric]["sd"]) for row in curve["rows"]]
    figures.curves(f"{stem}.png", {start: line}, TITLES[metric], note)
    terminal.show([(title, columns, cells)])
    print(note)
    for end in ("json", "csv", "md", "png"):
        print(f"  {stem}.{end}")
