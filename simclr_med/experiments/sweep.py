"""Grid sweep of learning rate, weight decay, steps and any other flags (sections 4.2, 4.3): chosen on
one split, tested on another.

Every point is judged on `--selection_split` (fine-tuning: at the best of its kept checkpoints there;
pretraining: at the last, by a linear probe, or by the fine-tuning of `--finetune_recipe`). Only the best
is then evaluated on `--eval_split`, at that checkpoint.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import itertools
import os
from typing import Any

import tensorflow as tf

from simclr_med import run_folder
from simclr_med.config import Config
from simclr_med.errors import Diverged, UserError
from simclr_med.evaluation import splits
from simclr_med.experiments import figures, grids, runs, summary
from simclr_med.metrics.text import TITLES, metrics_of
from simclr_med.run_folder import files, gfile, spreadsheet, terminal

GRIDS = ("sweep_learning_rates", "sweep_weight_decays", "sweep_train_steps")
CHOSEN = ("learning_rate", "weight_decay", "train_steps")  # what a point of the grid sets
_JUDGED = "finetune"  # of a pretraining's folder: the fine-tuning by which it is judged
_TEST = "test"  # the name of the final evaluation's files


@dataclasses.dataclass(frozen=True)
class Judge:
    """The fine-tuning by which pretrainings are judged, on its own selection split.

    Attributes:
      config: of it, but for the weights to start from.
      builder: of its dataset.
    """

    config: Config
    builder: Any

    def __call__(
        self, folder: str, strategy: tf.distribute.Strategy, invocation: dict
    ) -> runs.Outcome:
        """Returns the outcome of the fine-tuning, in FOLDER/finetune, of a finished pretraining."""
        config = self.config.replace(
            checkpoint=folder,
            eval_split=self.config.data.selection_split,
            eval_name="selection",
            keep_hub_module_max=0,
        )
        path = os.path.join(folder, _JUDGED)
        try:
            arguments = (config, self.builder, path, strategy, invocation)
            return runs.Outcome(runs.train_and_evaluate(*arguments, to_choose=True))
        except Diverged as error:
            print(f"{path} failed: {error}")
            return runs.Outcome({}, str(error))


def varied(config: Config) -> tuple[str, ...]:
    """Returns the fields that a point of the grid sets.

    Raises:
      UserError: a mistake in `--sweep_flags`.
    """
    return (*CHOSEN, *grids.of_flags(config.experiment.sweep_flags))


def points(config: Config) -> dict[str, Config]:
    """Returns {folder: configuration} of the grid, evaluated on the selection split.

    Raises:
      UserError: a value that cannot be one.
    """
    experiment = config.experiment
    rates = grids.numbers("sweep_learning_rates", experiment.sweep_learning_rates, "learning_rate")
    decays = grids.numbers("sweep_weight_decays", experiment.sweep_weight_decays, "weight_decay")
    steps = {"": config.train.train_steps}
    if experiment.sweep_train_steps:
        counts = grids.whole_numbers(
            "sweep_train_steps", experiment.sweep_train_steps, "train_steps"
        )
        steps = {f"_steps_{count}": count for count in counts}
    judged = config.replace(
        eval_split=config.data.selection_split,
        eval_name="selection",
        keep_hub_module_max=0,
    )
    extra = grids.of_flags(experiment.sweep_flags)
    return {
        f"lr_{grids.name(rate)}_wd_{grids.name(decay)}{suffix}"
        + "".join(f"_{name}_{value}" for name, value in zip(extra, values)): judged.replace(
            learning_rate=rate, weight_decay=decay, train_steps=count, **dict(zip(extra, values))
        )
        for (suffix, count), rate, decay, *values in itertools.product(
            steps.items(), rates, decays, *extra.values()
        )
    }


def run(
    config: Config,
    builder,
    model_dir: str,
    strategy: tf.distribute.Strategy,
    invocation: dict,
    judge: Judge | None = None,
) -> dict:
    """Runs the grid and evaluates the best point on `--eval_split`; writes files and returns best.json.

    Files in `model_dir`: sweep.csv, sweep.md and sweep.png (every point, on the selection split),
    best.json (which, and why), result.json, predictions.csv and report.html (the best, on
    `--eval_split`).

    Args:
      config: of the run, with the grid.
      builder, model_dir, strategy, invocation: as in `runs.run_all`.
      judge: of pretrainings; None: each is judged as it is evaluated.

    Raises:
      UserError: a mistake in the grid or the splits, or every point diverged.
    """
    points(config)  # a mistake in the grid comes first
    splits.check_selection(config, builder)
    if judge:
        splits.check_selection(judge.config, judge.builder)
    with run_folder.locked(model_dir):
        best = search(config, builder, model_dir, strategy, invocation, judge=judge)
        folder = os.path.join(model_dir, best["run"])
        if judge:  # the fine-tuning of the best is tested
            folder, config, builder = os.path.join(folder, _JUDGED), judge.config, judge.builder
            config = config.replace(checkpoint=os.path.dirname(folder))
        looks = _looks_at_test(model_dir, best["run"])
        if looks:
            print(
                f"Note: {', '.join(looks)} was evaluated on --eval_split={config.data.eval_split} "
                "before, when it was the best. This is another look at that split; say so."
            )
        values = {} if judge else {name: best[name] for name in varied(config)}
        of_best = config.replace(**values, eval_name=_TEST)
        result = runs.evaluate_once(of_best, builder, folder, strategy, pictures=True)
        _bring_up(result, folder, model_dir)
        best["looked_at_before"] = looks
        best["eval_split"] = config.data.eval_split
        best["result"] = {
            name: value
            for name, value in summary.main_row(result).items()
            if name.removesuffix("_95") in TITLES
        }
        run_folder.write_json(os.path.join(model_dir, "best.json"), best)
    for name in ("sweep.md", "sweep.png", "best.json", "result.json", "report.html"):
        print(f"  {os.path.join(model_dir, name)}")
    return best


def search(
    config: Config,
    builder,
    model_dir: str,
    strategy: tf.distribute.Strategy,
    invocation: dict,
    *,
    keep_weights: bool = True,
    judge: Judge | None = None,
) -> dict:
    """Returns the best point on the selection split: {"run", "learning_rate", "weight_decay", ...}.

    After each run sweep.csv and sweep.md are written again, so they can be watched. Of equals the
    first in the grid is the best. The eval split is not read.

    Args:
      config: of the run, with the grid.
      builder: a prepared TFDS builder.
      model_dir: of the sweep.
      strategy: from `build.set_up`.
      invocation: what the command line said, for flags.json.
      keep_weights: False removes each point's checkpoints once it is judged.
      judge: of pretrainings; None: each is judged as it is evaluated.

    Raises:
      UserError: no point came to its end with a defined `--selection_metric`.
    """
    metric = config.eval.selection_metric
    rows: list[dict] = []
    configs = points(config)
    for name, outcome in runs.run_all(
        *(configs, builder, model_dir, strategy, invocation),
        may_diverge=True,
        to_choose=True,
        keep_weights=keep_weights,
    ):
        values = configs[name].to_dict()
        row = {"run": name, "failure": outcome.failure}
        row |= {field: values[field] for field in varied(config)}
        if not config.experiment.sweep_train_steps:
            del row["train_steps"]
        if outcome.result and judge:
            outcome = judge(os.path.join(model_dir, name), strategy, invocation)
            row["failure"] = outcome.failure
        if outcome.result:
            measured = summary.main_row(outcome.result)
            if metric not in measured:
                measures = ", ".join(metrics_of(measured))
                raise UserError(
                    f"--selection_metric={metric} is not measured here; {measures} are."
                )
            row |= {key: measured[key] for key in metrics_of(measured)}
        rows.append(row)
        rows.sort(
            key=lambda row: list(configs).index(row["run"])
        )  # another process may have made one
        _save(model_dir, rows, config)
    scored = [row for row in rows if row.get(metric) is not None]
    if not scored:
        raise UserError(
            f"No point of the sweep has a {metric} on --selection_split="
            f"{config.data.selection_split}: see {os.path.join(model_dir, 'sweep.md')}."
        )
    best = max(scored, key=lambda row: row[metric])
    not_drawn = [name for name in varied(config) if name not in ("learning_rate", "weight_decay")]
    as_long = [row for row in rows if all(row.get(n) == best.get(n) for n in not_drawn)]
    figures.heat_map(os.path.join(model_dir, "sweep.png"), as_long, metric)
    show = [row for row in rows if row.get(metric) is not None or row["failure"]]
    terminal.show([(_title(config), *_cells(show, metric, best, varied(config)))])
    return {
        "run": best["run"],
        **{name: configs[best["run"]].to_dict()[name] for name in varied(config)},
        "selection_split": config.data.selection_split,
        "selection_metric": metric,
        metric: best[metric],
        "points": len(rows),
        "failed": [row["run"] for row in rows if row["failure"]],
    }


def _looks_at_test(model_dir: str, best: str) -> list[str]:
    """Returns the other points that were evaluated on the eval split, when they were the best."""
    return sorted(
        name
        for name in files.names(model_dir)
        if name != best
        and name.startswith("lr_")
        and gfile.exists(os.path.join(model_dir, name, f"result_{_TEST}.json"))
    )


def _bring_up(result: dict, folder: str, model_dir: str) -> None:
    """Copies the best's final result, predictions and report to where a single run has them."""
    paths = dict(result["files"])
    for name, end in (("predictions", "csv"), ("report", "html")):
        if name in paths:
            path = os.path.join(model_dir, f"{name}.{end}")
            of_best = files.read_text(os.path.join(folder, f"{name}_{_TEST}.{end}"))
            files.write_atomically(path, of_best)
            paths[name] = path
    paths["result"] = os.path.join(model_dir, "result.json")
    run_folder.write_json(paths["result"], {**result, "files": paths})


def _save(model_dir: str, rows: list[dict], config: Config) -> None:
    metric = config.eval.selection_metric
    scored = [row for row in rows if row.get(metric) is not None]
    best = max(scored, key=lambda row: row[metric]) if scored else None
    columns = ["run", *(name for name in varied(config) if name in rows[0]), "failure"]
    columns += list(dict.fromkeys(key for row in rows for key in row if key not in columns))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows({key: spreadsheet.cell(value) for key, value in row.items()} for row in rows)
    run_folder.write_atomically(os.path.join(model_dir, "sweep.csv"), text.getvalue())
    table = summary.markdown(*_cells(rows, metric, best, varied(config)))
    run_folder.write_atomically(
        os.path.join(model_dir, "sweep.md"), f"# {_title(config)}\n\n{table}"
    )


def _title(config: Config) -> str:
    return (
        f"Sweep on {config.data.selection_split} (selection; --eval_split="
        f"{config.data.eval_split} is not looked at here)"
    )


def _cells(
    rows: list[dict], metric: str, best: dict | None, fields: tuple[str, ...]
) -> tuple[list[str], list[list[str]]]:
    names = [name for name in TITLES if any(name in row for row in rows)]
    names.sort(key=lambda name: name != metric)
    shown_fields = [name for name in fields if name in rows[0]]
    lines = [
        [
            grids.name(row["learning_rate"]) + (" (best)" if row is best else ""),
            *(
                str(row[n]) if isinstance(row[n], bool | str) else grids.name(row[n])
                for n in shown_fields[1:]
            ),
            *(
                ["failed: " + row["failure"].split(";")[0]] + [""] * (len(names) - 1)
                if row["failure"]
                else [summary.text(row[name]) for name in names]
            ),
        ]
        for row in rows
    ]
    titles = [name.replace("_", " ") for name in shown_fields]
    return [*titles, *summary.titles(names)], lines
