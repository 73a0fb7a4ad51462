"""--dry_run: what a command would run, for how long and in how much memory; nothing in --model_dir."""

from __future__ import annotations

import time

from simclr_med import printing
from simclr_med.commands import dataset, experiments, flags, train
from simclr_med.commands.invocation import EXPERIMENTS, Invocation
from simclr_med.config import FIELDS, Config
from simclr_med.evaluation import splits
from simclr_med.experiments import (
    folds,
    forecast,
    forecast_jobs,
    forecast_tables,
    label_efficiency,
    repeats,
    study_check,
    study_plan,
    sweep,
)
from simclr_med.experiments.forecast_data import Cases, Fits, Lengths
from simclr_med.experiments.forecast_jobs import Job
from simclr_med.run_folder import is_training
from simclr_med.training.rehearsal import MEASURED, WARM_UP


@printing.result()  # all of it
def run(invocation: Invocation) -> int:
    """Prints what the command would do without --dry_run; returns the exit code, 0.

    Raises:
      UserError: a mistake that the command would find before its first step.
    """
    began = time.time()
    recipes: dict[str, Config] = {}
    if invocation.repeats or invocation.folds or invocation.mode in EXPERIMENTS:
        recipes, builder, model_dir, strategy = experiments.set_up(invocation)
    else:
        builder, model_dir, strategy = train.set_up(invocation)
    forecast.check_folder(model_dir)
    jobs = _jobs(invocation, recipes, builder, model_dir)
    print(f"Dry run of --mode={invocation.mode}: nothing is written to --model_dir={model_dir}.")
    if is_training(model_dir):
        print("Note: another process trains there now and shares this machine.")
    _show_flags(invocation, recipes)
    cases, lengths = Cases(), Lengths(strategy.num_replicas_in_sync)
    forecast_tables.show_data(jobs, cases, began)
    kinds = []
    for title, of_kind in forecast_jobs.group([job for job in jobs if not job.encoder]).items():
        print(f"\nMeasuring {title}: {WARM_UP} + {MEASURED} steps in memory ...", flush=True)
        kinds.append(forecast.measure(title, of_kind, model_dir, strategy))
        forecast_tables.show_kind(kinds[-1], lengths, strategy)
    probes = [job for job in jobs if job.encoder]
    rows = forecast.rows(kinds, probes, lengths, cases, Fits(cases), model_dir)
    forecast_tables.show_totals(kinds, rows, model_dir)
    return 0


def _jobs(invocation: Invocation, recipes: dict[str, Config], builder, model_dir) -> list[Job]:
    """Returns the runs of a command, in their order.

    Raises:
      UserError: a mistake in what the runs differ in.
    """
    config, mode = invocation.config, invocation.mode
    if recipes:
        builders = study_plan.Builders(dataset.prepare)
        plan = study_check.checked_plan(config, recipes, builders, model_dir)
        return forecast_jobs.of_study(plan, builders, model_dir)
    if invocation.repeats:
        named = repeats.jobs(config, config.experiment.repeats)
    elif invocation.folds:
        named = folds.jobs(config)
    elif mode == "sweep":
        named = sweep.points(config)
        splits.check_selection(config, builder)
    elif mode == "label_efficiency":
        named = label_efficiency.jobs(config)
    else:
        return [Job("", config, builder, evaluated=mode == "train_then_eval", pictures=True)]
    pictures = invocation.repeats or invocation.folds
    return [Job(n, job, builder, pictures=pictures) for n, job in named.items()]


def _show_flags(invocation: Invocation, recipes: dict[str, Config]) -> None:
    """Prints the flags whose values are not the defaults, and where each was set."""
    _show_differing("Flags", invocation.config, invocation.sources)
    for stage, recipe in recipes.items():
        path = getattr(invocation.config.experiment, f"{stage}_recipe")
        sources = flags.parse(["", f"--flagfile={path}"]).sources
        own = {name: file for name, file in sources.items() if name not in invocation.given}
        _show_differing(f"Of --{stage}_recipe, flags", recipe, own)


def _show_differing(what: str, config: Config, sources: dict[str, str]) -> None:
    values = config.to_dict()
    flag = {
        name: f"--{name}={str(values[name]).lower() if field.type == 'bool' else values[name]}"
        for name, field in FIELDS.items()
        if name in sources and values[name] != field.default
    }
    width = min(40, max(map(len, flag.values()), default=0))
    print(f"{what} that differ from their defaults, and what set them:")
    for name, text in flag.items():
        print(f"  {text:<{width}}  {sources[name]}")
