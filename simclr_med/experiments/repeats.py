"""The same run with several seeds: mean and standard deviation of each metric (section 4.4).

Of fine-tuned seeds, also what the mean of their probabilities does: their ensemble.

Seeds vary the initial head, the order, the augmentation and, below a label fraction of 1, which
patients are labelled; not the patients evaluated, whose share in the uncertainty the intervals of
each result show.
"""

from __future__ import annotations

import os

import tensorflow as tf

from simclr_med import run_folder
from simclr_med.build import open_bags
from simclr_med.config import Config
from simclr_med.data.cases import read_cases
from simclr_med.evaluation import evaluate, of_scores
from simclr_med.evaluation.measure import Measured
from simclr_med.experiments import members, runs, summary
from simclr_med.metrics.text import TITLES, metrics_of
from simclr_med.run_folder import data_json, terminal


def make_configs(config: Config, num_repeats: int) -> dict[str, Config]:
    """Returns {folder: configuration} of the seeds `--seed`, `--seed` + 1, ...

    Args:
      config: of the command.
      num_repeats: number of seeds.
    """
    seeds = range(config.run.seed, config.run.seed + num_repeats)
    return {f"seed_{seed}": config.replace(seed=seed) for seed in seeds}


def run(
    config: Config, builder, model_dir: str, strategy: tf.distribute.Strategy, invocation: dict
) -> dict:
    """Trains and evaluates each seed; writes and returns repeats.json, and prints its table.

    Fine-tuned seeds are then evaluated together, the mean of their probabilities as if it were of one
    run: result.json, predictions.csv and report.html in `model_dir`.

    Args:
      config: of the command.
      builder, model_dir, strategy, invocation: as in `runs.run_all`.
    """
    with run_folder.locked(model_dir):
        configs = make_configs(config, config.experiment.repeats)
        results = {
            name: outcome.result
            for name, outcome in runs.run_all(
                configs, builder, model_dir, strategy, invocation, pictures=True
            )
        }
        seeds = [one.run.seed for one in configs.values()]
        repeats = {
            "dataset": data_json.name_of(builder),
            "eval_split": config.data.eval_split,
            "seeds": seeds,
            "rows": rows(list(results.values())),
        }
        run_folder.write_json(os.path.join(model_dir, "repeats.json"), repeats)
        _evaluate_together(config, builder, model_dir, results)
    _show(repeats, model_dir)
    return repeats


def _evaluate_together(config: Config, builder, model_dir: str, results: dict[str, dict]) -> None:
    """Evaluates the mean of the seeds' probabilities, where they are of classifiers."""
    predicted = all("predictions" in result["files"] for result in results.values())
    if config.run.train_mode != "finetune" or not predicted:
        return
    folders = [os.path.join(model_dir, name) for name in results]
    measured = ensemble(config, builder, folders, list(results.values()))
    print(f"\nThe mean of the probabilities of {len(results)} seeds:")
    evaluate.write_files(config.replace(eval_name=""), model_dir, measured)


def ensemble(config: Config, builder, folders: list[str], results: list[dict]) -> Measured:
    """Returns the evaluation of the mean of the seeds' probabilities.

    Args:
      config: of the runs, but for the seed.
      builder: of the prepared dataset.
      folders: of fine-tuned runs, evaluated on --eval_split.
      results: what their result.json hold.
    """
    bags = open_bags(
        config, builder, config.data.eval_split, with_metadata=True, with_differential=True
    )
    cases = read_cases(bags, config.eval.eval_steps * config.eval.eval_batch_size)
    scores, _ = members.mean_scores(cases, members.files_of(folders, "predictions"))
    first = results[0]
    return of_scores.measured(
        config,
        builder,
        bags,
        cases,
        {("supervised head", "trained"): scores},
        untrained=members.untrained(folders),
        features={},  # those of two seeds are in two spaces
        facts={name: first[name] for name in ("global_step", "adopted_weights", "patients")},
    )


def rows(results: list[dict]) -> list[dict]:
    """Returns {"evaluator", "encoder", "metric", "values", "mean", "sd"} of all that was measured."""
    table = []
    for evaluator, by_encoder in results[0]["classification"].items():
        for encoder, row in by_encoder.items():
            if any(encoder not in r["classification"][evaluator] for r in results):
                continue  # the weights that a run started from may be gone by now
            for metric in metrics_of(row):
                values = [r["classification"][evaluator][encoder].get(metric) for r in results]
                names = {"evaluator": evaluator, "encoder": encoder, "metric": metric}
                table.append({**names, **summary.spread(values)})
    return table


def _show(repeats: dict, model_dir: str) -> None:
    columns = ["", "metric", "mean ± sd", *(f"seed {seed}" for seed in repeats["seeds"])]
    lines = [
        [
            f"{row['evaluator']}, {row['encoder']}",
            TITLES.get(row["metric"], row["metric"]),
            summary.text(row["mean"], row["sd"]),
            *map(summary.text, row["values"]),
        ]
        for row in repeats["rows"]
    ]
    title = f"{repeats['dataset']} {repeats['eval_split']}: {len(repeats['seeds'])} seeds"
    terminal.show([(title, columns, lines)])
    print(f"  {os.path.join(model_dir, 'repeats.json')}  all numbers")
