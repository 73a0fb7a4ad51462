"""The command: reads the flags, prepares the data, trains and evaluates. See README.md."""

from __future__ import annotations

import errno
import os
import signal
import sys

import flags
from simclr_med import cluster, signals
from simclr_med.config import FIELDS, Config
from simclr_med.errors import UserError

# Before TensorFlow is imported. oneDNN is off by default on AMD processors, where the gradient of a
# ResNet-18 then takes four times as long (2 AMD EPYC cores, TensorFlow 2.15 and 2.21).
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")


_EXPERIMENTS = ("sweep", "label_efficiency", "study")
_TRAINING = ("train", "train_then_eval")  # what several workers do together
_OF_A_MODEL = ("export", "embed")  # of a run, or of the weights of --checkpoint
# Than the first runs: their defaults change no run's folder.
_NEWER = ("encoder", "input_range", "micro_batch")
_OF_ONE_DATASET = ("manual_dir", "on_bad_image", "build_long_side", "top_conditions", "bag_regex")


def main(argv: list[str]) -> int:
    """Returns the exit code: 0 done, 1 `verify` found problems, 2 a mistake, 128 + n by signal n.

    75: another worker of the run, or the TPU, was lost; the same commands go on.
    """
    if any(argument in ("--help", "-help", "-h", "--helpfull", "-?") for argument in argv[1:]):
        print(flags.help_text())
        return 0
    signals.watch()
    try:
        return _run(argv)
    except UserError as error:
        return _refuse(str(error), error.exit_code)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except Exception as error:
        sentence = _sentence_for(error)
        if sentence is None:
            raise
        return _refuse(sentence)


def _run(argv: list[str]) -> int:
    command_line = flags.parse(argv)
    given = command_line.given
    mode, model_dir = given.get("mode", "train"), given.get("model_dir")
    of_run = mode == "eval" or (mode in _OF_A_MODEL and not given.get("checkpoint"))
    config = _config_of_run(given, mode) if of_run else flags.config_from(given)
    config, workers = _with_others(config, given, mode)
    if workers and not workers.is_chief and mode not in _TRAINING:
        print(f"Worker {workers.index}: --mode={mode} is work for worker 0 alone.")
        return 0
    if command_line.is_demo:
        print(
            "No --dataset given: this is the embedded demo, drawn by our own code "
            "(derm_bags/demo, recipe flags/demo.flags). Your images: --dataset=derm_bags "
            "--manual_dir=DIR."
        )
    if mode == "compare":
        _hush()
        from simclr_med.evaluation.compare_runs import compare_runs

        return compare_runs(config)
    if mode in _OF_A_MODEL:
        _check_not_both(given)
    if mode == "export":
        return _export(config, model_dir, of_run)
    recipes = flags.study_recipes(given) if mode == "study" else {}
    builder = _prepare(recipes.get("finetune", config))
    if mode in ("build", "verify"):
        return _show_dataset(builder, mode)

    from simclr_med import build, distribution
    from simclr_med.evaluation import evaluate
    from simclr_med.training import train

    model_dir = model_dir or _default_model_dir(config, builder.info.full_name)
    if mode in _EXPERIMENTS or (mode == "train_then_eval" and config.experiment.repeats > 1):
        return _experiment(config, recipes, builder, model_dir, {"argv": argv[1:], "flags": given})
    strategy = build.set_up(config)  # before anything else touches TensorFlow's devices
    if mode == "train_then_eval":
        evaluate.check_splits(config, builder)
    if mode == "eval":
        evaluate.follow(config, builder, model_dir, strategy)
        return 0
    if mode == "embed":
        from simclr_med.evaluation import embed

        embed.embed(config, builder, model_dir, strategy, of_run=of_run)
        return 0
    try:
        train.train(config, builder, model_dir, strategy, {"argv": argv[1:], "flags": given})
    except signals.Interrupted as interrupted:
        print(f"Stopped. The same command goes on from {model_dir}.")
        return signals.exit_code(interrupted)
    if mode == "train_then_eval" and workers:
        if not workers.is_chief:
            print(f"Worker {workers.index} is done: worker 0 evaluates.")
            return 0
        strategy = distribution.local_strategy()
    if mode == "train_then_eval":
        evaluate.evaluate(config, builder, model_dir, strategy)
    return 0


def _with_others(config: Config, given: dict, mode: str) -> tuple[Config, cluster.Cluster | None]:
    """Returns the configuration and the workers of this run, if there are several.

    Only training takes them together: in all other modes worker 0 works alone.
    """
    # Of a run in --model_dir --num_workers says how it was trained, and nothing of this process.
    workers = cluster.find(given.get("num_workers", 1))
    if workers and mode in _TRAINING:
        if config.experiment.repeats > 1 and mode == "train_then_eval":
            raise UserError("--repeats trains run after run on one machine: unset TF_CONFIG.")
        return config, workers
    if workers and mode in _EXPERIMENTS:
        raise UserError(f"--mode={mode} trains run after run on one machine: unset TF_CONFIG.")
    cluster.leave()
    return config.replace(num_workers=1), workers


def _experiment(config: Config, recipes: dict, builder, model_dir: str, asked: dict) -> int:
    """Makes the many runs of an experiment; returns the exit code."""
    from simclr_med import build
    from simclr_med.evaluation import evaluate

    strategy = build.set_up(recipes["finetune"] if recipes else config)
    if not recipes:
        evaluate.check_splits(config, builder)
    from simclr_med.experiments import label_efficiency, repeats, study, sweep

    try:
        if recipes:
            study.run(config, recipes, _prepare, model_dir, strategy, asked)
        else:
            run = {"sweep": sweep.run, "label_efficiency": label_efficiency.run}
            run.get(config.run.mode, repeats.run)(config, builder, model_dir, strategy, asked)
    except signals.Interrupted as interrupted:
        print(f"Stopped. The same command goes on from {model_dir}.")
        return signals.exit_code(interrupted)
    return 0


def _export(config: Config, model_dir: str | None, of_run: bool) -> int:
    _hush()
    from simclr_med.export.command import export

    export(config, model_dir or _default_model_dir(config, "weights"), of_run=of_run)
    return 0


def _check_not_both(given: dict) -> None:
    """Refuses --checkpoint together with a --model_dir that holds a run with weights of its own."""
    model_dir = given.get("model_dir")
    holds_run = model_dir and _exists(os.path.join(model_dir, "config.json"))
    if given.get("checkpoint") and holds_run:
        raise UserError(
            f"--model_dir={model_dir} holds a run, and --checkpoint names other weights: give one "
            "of the two. (With --checkpoint, --model_dir is just where files are written.)"
        )


def _config_of_run(given: dict, mode: str) -> Config:
    """Returns the configuration of the run in --model_dir, with what was given on top."""
    model_dir = given.get("model_dir")
    if not model_dir:
        other = ", or --checkpoint" if mode in _OF_A_MODEL else ""
        raise UserError(f"--mode={mode} needs the --model_dir of a run{other}.")
    path = os.path.join(model_dir, "config.json")
    if not _exists(path):
        raise UserError(f"--model_dir={model_dir} holds no run: there is no config.json in it.")
    from simclr_med.run_folder import read_json

    saved = {name: value for name, value in read_json(path).items() if name in FIELDS}
    given = _without_contradiction(given, saved)
    if any(_is_other(given, saved, name) for name in ("dataset", "manual_dir")):
        # Other data: how the run's own was built says nothing about it.
        saved = {name: value for name, value in saved.items() if name not in _OF_ONE_DATASET}
    return flags.config_from({**saved, **given})


def _exists(path: str) -> bool:
    """Returns whether a file is there, local or remote; of a local one without TensorFlow."""
    if "://" not in path:
        return os.path.exists(path)
    import tensorflow as tf

    return tf.io.gfile.exists(path)


def _without_contradiction(given: dict, saved: dict) -> dict:
    """Returns the given flags; refuses an encoder or input range that fits a run and is not its own."""
    from simclr_med.models.input_range import USUAL

    encoder = saved.get("encoder", "resnet")  # a run older than the field
    input_range = saved.get("input_range", "auto")
    own = {
        "encoder": encoder,
        "input_range": USUAL.get(encoder) if input_range == "auto" else input_range,
    }
    for name, value in own.items():
        if given.get(name, "auto") not in ("auto", value):
            raise UserError(
                f"--{name}={given[name]}: the run in --model_dir was trained with {value}, and on "
                "anything else its numbers would be wrong. Leave that flag out."
            )
    return {name: value for name, value in given.items() if name not in own}


def _is_other(given: dict, saved: dict, name: str) -> bool:
    """Returns whether a dataset, or its folder however spelled, was given that is not the run's."""
    one, other = given.get(name), saved.get(name)
    if name == "manual_dir" and one and other:
        one, other = os.path.realpath(one), os.path.realpath(other)
    return name in given and one != other


def _prepare(config: Config):
    """Returns the TFDS builder of --dataset, prepared on disk."""
    _hush()
    from tfds_builders.errors import DataError
    from tfds_builders.prepare import BuildOptions, prepare

    data = config.data
    if not data.dataset:
        raise UserError("--dataset is missing (derm_bags, derm_bags/demo, or a TFDS name).")
    try:
        return prepare(
            data.dataset,
            manual_dir=data.manual_dir,
            data_dir=data.data_dir,
            options=BuildOptions(
                on_bad_image=data.on_bad_image,
                long_side=data.build_long_side,
                top_conditions=data.top_conditions,
                bag_regex=data.bag_regex,
            ),
            beam_runner=data.beam_runner,
            beam_options=data.beam_options,
        )
    except DataError as error:
        raise UserError(str(error)) from error


def _show_dataset(builder, mode: str) -> int:
    """Prints what was built, or what `verify` counted; returns 1 where something is wrong."""
    from simclr_med.run_folder import terminal

    if mode == "build":
        print(f"{builder.info.full_name} lies in {builder.data_path}:")
        for name, split in builder.info.splits.items():
            print(f"  {name}: {split.num_examples:,} bags")
        return 0
    from tfds_builders import contact_sheet, verify, verify_tables

    if "num_bags" not in (builder.info.metadata or {}):
        raise UserError(f"--mode=verify knows our own datasets, not {builder.info.full_name}.")
    found = verify.verify(builder)
    terminal.show(verify_tables.tables(found))
    picture = builder.data_path / "contact_sheet.png"
    contact_sheet.contact_sheet(builder, str(picture))
    print(f"Some bags of each split: {picture}")
    for problem in found.problems:
        print(f"Problem: {problem}")
    print("Nothing is wrong." if not found.problems else f"{len(found.problems)} problems.")
    return 1 if found.problems else 0


def _hush() -> None:
    """Keeps deprecation chatter of TensorFlow and TFDS off the terminal."""
    import logging

    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    logging.getLogger("absl").setLevel(logging.ERROR)
    logging.getLogger("urllib3").setLevel(logging.ERROR)


def _default_model_dir(config: Config, dataset: str) -> str:
    """Returns runs/<dataset>_<method>_<hash>, the same for the same configuration and data."""
    import hashlib

    from simclr_med.config import fields_that_shape_weights

    values = config.to_dict()
    names = [
        name
        for name in fields_that_shape_weights()
        if name not in _NEWER or values[name] != FIELDS[name].default
    ]
    identity = [dataset, *((name, values[name]) for name in names)]
    digest = hashlib.sha256(repr(identity).encode()).hexdigest()[:8]
    mode = config.run.mode
    what = mode if mode in (*_EXPERIMENTS, *_OF_A_MODEL) else config.method
    if config.experiment.repeats > 1 and mode == "train_then_eval":
        what += "_repeats"
    first = str(config.data.dataset or dataset).replace("/", "-")
    return os.path.join("runs", f"{first}_{what}_{digest}")


def _sentence_for(error: Exception) -> str | None:
    """Returns what to tell a user about a failure of the machine; None for a bug of ours."""
    if getattr(error, "errno", None) == errno.ENOSPC or "No space left on device" in str(error):
        return (
            "The disk is full; what was already saved is kept. Free some space, or choose another "
            "--model_dir or --data_dir, and run the same command again."
        )
    if isinstance(error, PermissionError) or type(error).__name__ == "PermissionDeniedError":
        return f"No permission: {error}. Choose another path, or ask for the right to use this one."
    return None


def _refuse(sentence: str, exit_code: int = UserError.exit_code) -> int:
    print(f"run.py: {sentence}", file=sys.stderr)
    return exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv))
