"""Training, top to bottom: pretraining (SimCLR, MICLe) and fine-tuning share one loop."""

from __future__ import annotations

import os
from collections.abc import Callable

import tensorflow as tf

from simclr_med import checkpoints, distribution, out_of_memory, run_folder
from simclr_med.build import label_reading, make_model
from simclr_med.checkpoints.weights import Classes, initial, input_range, open_weights
from simclr_med.checkpoints.weights.content import Weights
from simclr_med.config import Config
from simclr_med.data import Bags
from simclr_med.errors import UserError
from simclr_med.optim import make_head_optimizer, make_optimizer, supervised_variables
from simclr_med.run_folder import curves, data_json, figures, gfile, leftovers, provenance
from simclr_med.signals import stop_signals
from simclr_med.training import loop, startup, workers
from simclr_med.training.plan import Plan, make_plan
from simclr_med.training.step import Trained


def train(
    config: Config,
    builder,
    model_dir: str,
    strategy: tf.distribute.Strategy,
    invocation: dict,
    start_head: Callable[..., list[str]] | None = None,
) -> None:
    """Trains to the end, from the newest checkpoint in `model_dir` if there is one.

    Args:
      config: of the run.
      builder: a prepared TFDS builder.
      model_dir: the run's folder; made if it is missing.
      strategy: from `build.set_up`.
      invocation: what the command line said, for flags.json.
      start_head: `evaluation.probe_head.start`, which --init_head=probe needs: (config, builder, bags,
        strategy, model) to lines to print, the model's head being set. Evaluation's, hence an argument.

    Raises:
      UserError: a mistake of the user's, or a loss that is no longer finite.
      Interrupted: after SIGINT or SIGTERM, with everything saved.
    """
    _check_start_head(config, strategy)
    # 1. Data, initial weights and length: mistakes show before anything is written.
    weights = initial_weights(config, model_dir)
    config = input_range.resolve(config, model_dir, weights)
    order, num_streams = run_folder.data_order(model_dir), run_folder.num_streams(model_dir)
    plan = make_plan(config, builder, strategy.num_replicas_in_sync, order, num_streams)
    bags = plan.bags
    with workers.worker_session(strategy, model_dir) as folder, stop_signals() as stop:
        # 2. The folder is this run's, and other workers do the same.
        alike = startup.common(config, builder, bags)
        alike["how many streams the prepared split is read in"] = plan.streams.count
        workers.check_same(strategy, alike)
        identity = (config, data_json.name_of(builder), bags.class_names)
        run_folder.check_same_run(model_dir, *identity)
        # 3. Model and optimizer, as they were when the run stopped or as they begin.
        with strategy.scope():
            trained = make_trained(plan)
        if folder == model_dir:
            leftovers.remove(model_dir)
        saved = _checkpoints(model_dir, trained, config.run.keep_checkpoint_max)
        start = saved.restore_latest(tidy=folder == model_dir)
        workers.check_same(strategy, {"the step they go on from": start})
        if start:
            print(f"Resuming at step {start} of {plan.total_steps} from {saved.latest}.")
        elif config.run.checkpoint:
            classes = kept_classes(config, bags)
            print(checkpoints.load(trained.model, weights or config.run.checkpoint, classes))
        # 4. The folder gets its config.json. Not before: weights that were refused must leave no run
        # of another configuration behind.
        read_as = plan.data_order, plan.streams.count
        run_folder.write_config(folder, *identity, *read_as, provenance.software())
        run_folder.write_json(os.path.join(folder, "flags.json"), invocation)
        if not start and config.run.checkpoint:
            initial.write(folder, trained.model, config.run.checkpoint)
        reading = label_reading(config, bags)
        data_json.write(folder, config, builder, bags, reading, plan.without_cases, plan.guess)
        print(_summary(plan, model_dir), startup.machine(config, strategy), sep="\n", flush=True)
        if (worker := distribution.worker_of(strategy))[1] > 1:
            print(startup.reading(plan.streams, worker), flush=True)
        # 5. The head, where it is to start as a probe.
        if not start and config.train.init_head == "probe":
            assert start_head is not None
            print(*start_head(config, builder, bags, strategy, trained.model), sep="\n", flush=True)
        # 6. The steps that are left. What other workers than the first save is not kept.
        if folder != model_dir:
            saved = _checkpoints(folder, trained, max_to_keep=0)
        if start < plan.total_steps:
            with (
                provenance.session(folder, invocation, start, lambda: saved.step),
                out_of_memory.explained(config, strategy.num_replicas_in_sync),
                saved,
            ):
                loop.run(plan, strategy, trained, saved, stop)
        # 7. The curves.
        path = os.path.join(folder, "curves.png")
        with figures.drawn(path):
            title = curves.title(config.method, model_dir)
            curves.save(path, run_folder.read_metrics(folder), title, plan.guess)


def _check_start_head(config: Config, strategy: tf.distribute.Strategy) -> None:
    """Refuses --init_head=probe where several processes would each have to fit it."""
    if config.train.init_head == "probe" and distribution.worker_of(strategy)[1] > 1:
        raise UserError(
            "--init_head=probe fits the head in one process, and this run has several workers. Train "
            "with one, or start from another --init_head."
        )


def initial_weights(config: Config, model_dir: str | None) -> Weights | None:
    """Returns the opened weights of --checkpoint; None without them, or if the run has begun.

    Args:
      config: of the run.
      model_dir: of the run; None: of no run, as in a rehearsal.
    """
    begun = model_dir and gfile.exists(os.path.join(model_dir, "config.json"))
    return open_weights(config.run.checkpoint) if config.run.checkpoint and not begun else None


def kept_classes(config: Config, bags: Bags) -> Classes | None:
    """Returns the classes of the head that --keep_head loads; None: the head is new."""
    if not config.run.keep_head or config.run.train_mode != "finetune":
        return None
    if config.data.label_fraction < 1:
        print(
            "Note: the head of --keep_head may have been trained with labels that "
            f"--label_fraction={config.data.label_fraction:g} hides."
        )
    return Classes(bags.class_names, bags.multilabel)


def make_trained(plan: Plan) -> Trained:
    """Returns model and optimisers, built; call it in the strategy's scope."""
    model = make_model(plan.config, len(plan.bags.class_names))
    optim, head_optimizer = plan.config.optim, None
    of_head: list[tf.Variable] = []
    if not plan.method.needs_labels and model.supervised_head is not None:
        of_head = supervised_variables(model)
        head_optimizer = make_head_optimizer(model, plan.total_steps)
        head_optimizer.build(of_head)
    optimizer = make_optimizer(
        optim.optimizer,
        plan.schedule,
        momentum=optim.momentum,
        weight_decay=optim.weight_decay,
        model=model,
        layer_decay=optim.layer_decay if plan.method.needs_labels else 1.0,
    )
    own = {variable.ref() for variable in of_head}
    optimizer.build([v for v in model.trainable_variables if v.ref() not in own])
    return Trained(model, optimizer, plan.class_weights, head_optimizer)


def _checkpoints(folder: str, trained: Trained, max_to_keep: int) -> checkpoints.RunCheckpoints:
    """Returns the checkpoints in a folder, of everything that is trained."""
    return checkpoints.RunCheckpoints(
        folder, trained.model, trained.optimizer, max_to_keep, trained.head_optimizer
    )


def _summary(plan: Plan, model_dir: str) -> str:
    """Returns a line: method, examples, batch, steps and epochs, folder."""
    batch_size = plan.config.train.train_batch_size
    what = "images"
    if plan.method.keeps_bags:
        what = "bags" if plan.num_examples == plan.bags.num_bags else "draws of bags"
    return (
        f"{plan.config.method}: {plan.num_examples:,} {what} ({plan.bags.num_images:,} images), "
        f"batch {batch_size}, {plan.total_steps:,} steps = "
        f"{plan.total_steps * batch_size / plan.num_examples:.1f} epochs, {model_dir}"
    )
