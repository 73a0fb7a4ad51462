"""--dry_run: what a command would run, for how long and in how much memory; nothing in --model_dir."""

from __future__ import annotations

import time

from simclr_med import printing
from simclr_med.commands import dataset, experiments, flags, recipes, train
from simclr_med.commands.invocation import EXPERIMENTS, Invocation
from simclr_med.config import FIELDS, Config
from simclr_med.evaluation import splits
from simclr_med.experiments import (
    arms_file,
    arms_forecast,
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
from simclr_med.run_folder import is_claimed, is_training
from simclr_med.training.rehearsal import MEASURED, WARM_UP


@printing.result()  # all of it
def run(invocation: Invocation) -> int:
    """Prints what the command would do without --dry_run; returns the exit code, 0.

    Raises:
      UserError: a mistake that the command would find before its first step.
    """
    start_time = time.time()
    of_study: dict[str, Config] = {}
    if invocation.repeats or invocation.folds or invocation.mode in EXPERIMENTS:
        of_study, builder, model_dir, strategy = experiments.set_up(invocation)
    else:
        builder, model_dir, strategy = train.set_up(invocation)
    forecast.check_folder(model_dir)
    plan, jobs = _jobs(invocation, of_study, builder, model_dir)
    print(f"Dry run of --mode={invocation.mode}: nothing is written to --model_dir={model_dir}.")
    if is_training(model_dir) or is_claimed(model_dir):  # a study is not locked, but shared
        print("Note: another process trains there now and shares this machine.")
    _show_flags(invocation, of_study)
    if plan and plan.layout:
        arms_forecast.show(plan, jobs, model_dir, strategy)
        return 0
    cases, lengths = Cases(), Lengths(strategy.num_replicas_in_sync)
    forecast_tables.show_data(jobs, cases, start_time)
    kinds = []
    for title, of_kind in forecast_jobs.group([job for job in jobs if not job.encoder]).items():
        print(f"\nMeasuring {title}: {WARM_UP} + {MEASURED} steps in memory ...", flush=True)
        kinds.append(forecast.measure(title, of_kind, model_dir, strategy))
        forecast_tables.show_kind(kinds[-1], lengths, strategy)
    probes = [job for job in jobs if job.encoder]
    rows = forecast.rows(kinds, probes, lengths, cases, Fits(cases), model_dir)
    forecast_tables.show_totals(kinds, rows, model_dir)
    return 0


def _jobs(
    invocation: Invocation, of_study: dict[str, Config], builder, model_dir
) -> tuple[study_plan.Plan | None, list[Job]]:
    """Returns the plan of a study, and the runs of a command, in their order.

    Raises:
      UserError: a mistake in what the runs differ in.
    """
    config, mode = invocation.config, invocation.mode
    if of_study:
        builders = study_plan.Builders(dataset.prepare)
        plan = study_check.checked_plan(config, of_study, builders, model_dir)
        return plan, forecast_jobs.of_study(plan, builders, model_dir)
    if invocation.repeats:
        named = repeats.make_configs(config, config.experiment.repeats)
    elif invocation.folds:
        named = folds.make_configs(config)
    elif mode == "sweep":
        named = sweep.points(config)
        splits.check_selection(config, builder)
        judge = experiments.judge_of(invocation)
        if judge:
            return None, [
                job
                for name, point in named.items()
                for job in (
                    Job(name, point, builder),
                    Job(f"{name}/finetune", judge.config, judge.builder, what="judges a point"),
                )
            ]
    elif mode == "label_efficiency":
        named = label_efficiency.make_configs(config)
    else:
        evaluated = mode == "train_then_eval"
        return None, [Job("", config, builder, evaluated=evaluated, pictures=True)]
    pictures = invocation.repeats or invocation.folds
    return None, [Job(n, job, builder, pictures=pictures) for n, job in named.items()]


def _show_flags(invocation: Invocation, of_study: dict[str, Config]) -> None:
    """Prints the flags whose values are not the defaults, and where each was set."""
    _show_differing("Flags", invocation.config, invocation.sources)
    files = recipes.files_of(invocation.given) if of_study else {}
    shown = set()
    for name, (path, values) in files.items():
        of_encoder = arms_file.ARCHITECTURE & set(values)  # the arms' own, in their table
        values = {flag: value for flag, value in values.items() if flag not in of_encoder}
        if (path, *values.items()) in shown:
            continue
        shown.add((path, *values.items()))
        sources = {
            **flags.parse(["", f"--flagfile={path}"]).sources,
            **dict.fromkeys(values, "--arms"),
        }
        own = {flag: file for flag, file in sources.items() if flag not in invocation.given}
        what = name.rpartition("/")[2] if invocation.config.experiment.arms else f"--{name}_recipe"
        _show_differing(f"Of {what}, flags", of_study[name], own)


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
