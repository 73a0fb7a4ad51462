"""Training, top to bottom: pretraining (SimCLR, MICLe) and fine-tuning share one loop."""

from __future__ import annotations

import functools
import os

import numpy as np
import tensorflow as tf

from simclr_med import checkpoints, distribution, out_of_memory, run_folder
from simclr_med.augment import device_ops
from simclr_med.build import label_reading, labelled_cases, make_model, open_bags
from simclr_med.checkpoints.weights import input_range
from simclr_med.config import Config
from simclr_med.data import Bags, label_fraction, training_batches
from simclr_med.errors import UserError
from simclr_med.optim import (
    WarmupCosine,
    make_optimizer,
    num_train_steps,
    num_warmup_steps,
    scaled_learning_rate,
)
from simclr_med.run_folder import data_json
from simclr_med.signals import Interrupted, stop_signals
from simclr_med.training import curves, startup, views, workers
from simclr_med.training.methods import METHODS, Method
from simclr_med.training.step import Trained, make_run_steps

_TPU_STEPS_PER_CALL = 50


def train(
    config: Config, builder, model_dir: str, strategy: tf.distribute.Strategy, asked: dict
) -> None:
    """Trains to the end, from the newest checkpoint in `model_dir` if there is one.

    Args:
      config: of the run.
      builder: a prepared TFDS builder.
      model_dir: the run's folder; made if it is missing.
      strategy: from `set_up`.
      asked: what the command line said, for flags.json.

    Raises:
      UserError: a mistake of the user's, or a loss that is no longer finite.
      Interrupted: after SIGINT or SIGTERM, with everything saved.
    """
    config = input_range.resolve(config, model_dir)
    method = METHODS[config.method]
    bags = open_bags(config, builder, config.data.train_split)
    if method.needs_labels and not bags.class_names:
        raise UserError("--train_mode=finetune needs labels, and the dataset has none.")
    bags, class_weights = _with_labels(config, method, bags)
    num_examples = bags.num_bags if method.keeps_bags else bags.num_images
    batch_size = config.train.train_batch_size
    _check_batch(config, method, bags, num_examples, strategy.num_replicas_in_sync)
    total_steps = num_train_steps(
        num_examples, batch_size, config.train.train_epochs, config.train.train_steps
    )
    schedule = _schedule(config, num_examples, total_steps)

    with workers.together(strategy, model_dir) as folder, stop_signals() as stop:
        workers.check_same(strategy, startup.common(config, builder, bags))
        identity = (config, builder.info.full_name, bags.class_names)
        run_folder.check_same_run(model_dir, *identity)
        with strategy.scope():
            model = make_model(config, len(bags.class_names))
            optimizer = make_optimizer(
                config.optim.optimizer,
                schedule,
                momentum=config.optim.momentum,
                weight_decay=config.optim.weight_decay,
                model=model,
            )
            optimizer.build(model.trainable_variables)
        kept = config.run.keep_checkpoint_max
        saved = checkpoints.RunCheckpoints(model_dir, model, optimizer, kept)
        start = saved.restore_latest(tidy=folder == model_dir)
        workers.check_same(strategy, {"the step they go on from": start})
        if start:
            print(f"Resuming at step {start} of {total_steps} from {saved.latest}.")
        elif config.run.checkpoint:
            print(checkpoints.load(model, config.run.checkpoint))
        # Now, so that weights that were refused leave no run of another configuration behind.
        run_folder.write_config(folder, *identity)
        run_folder.write_json(os.path.join(folder, "flags.json"), asked)
        data_json.write(folder, config, builder, bags, label_reading(config, bags))
        print(
            f"{config.method}: {num_examples:,} {'bags' if method.keeps_bags else 'images'} "
            f"({bags.num_images:,} images), batch {batch_size}, {total_steps:,} steps = "
            f"{total_steps * batch_size / num_examples:.1f} epochs, {model_dir}\n"
            f"{startup.machine(config, strategy)}",
            flush=True,
        )
        if folder != model_dir:
            saved = checkpoints.RunCheckpoints(folder, model, optimizer, max_to_keep=0)
        if start < total_steps:
            trained = Trained(model, optimizer, class_weights)
            with out_of_memory.explained(config, strategy.num_replicas_in_sync), saved:
                _loop(config, method, bags, strategy, trained, saved, total_steps, stop)
        curves.save(os.path.join(folder, "curves.png"), run_folder.read_metrics(folder))


def _loop(config, method, bags, strategy, trained, saved, total_steps, stop) -> None:
    """Runs the steps from `saved.step` to `total_steps`, logging and saving on the way."""
    model_dir = saved.model_dir
    batch_size = config.train.train_batch_size
    batches_of = functools.partial(
        training_batches,
        bags,
        draw_views=_draw_views(config, method, bags),
        keep_bags=method.keeps_bags,
        batch_size=batch_size,
        image_size=config.augment.image_size,
        seed=config.run.seed,
        start_step=saved.step,
        shuffle_buffer=config.data.shuffle_buffer,
        cache=config.data.cache_dataset,
    )
    own_part = distribution.worker_of(strategy)
    batches = batches_of(part=own_part)
    ops = device_ops(
        color_jitter_strength=config.augment.color_jitter_strength,
        use_blur=config.augment.use_blur,
        grayscale_probability=config.augment.grayscale_probability,
        rotation_degrees=config.augment.rotation_degrees,
    )
    num_views = batches.element_spec["images"].shape[1]
    if method.whole_cases:  # on average; most have fewer than there are places
        num_views = bags.num_images / bags.num_bags
    log = run_folder.RunLog(model_dir, saved.step, total_steps, num_views * batch_size)
    if saved.step == 0:
        picture = views.save(
            os.path.join(model_dir, "views.png"), next(iter(batches)), ops, config.run.seed
        )
        log.picture("views", picture, step=0)
    run_steps = make_run_steps(config, method, strategy, trained, ops)

    num_examples = bags.num_bags if method.keeps_bags else bags.num_images
    save_every = config.run.checkpoint_steps or max(
        1, config.run.checkpoint_epochs * round(num_examples / batch_size)
    )
    log_every = min(100, max(1, total_steps // 100))
    per_call = _TPU_STEPS_PER_CALL if distribution.is_tpu(strategy) else 1
    iterator = iter(
        distribution.distribute_parts(
            lambda *part: batches if part == own_part else batches_of(part=part), strategy
        )
    )
    sums: dict[str, float] = {}
    counted = 0
    try:
        while (step := saved.step) < total_steps:
            ends = (step // save_every + 1) * save_every, (step // log_every + 1) * log_every
            size = min(per_call, *(end - step for end in ends), total_steps - step)
            totals = {k: float(v) for k, v in run_steps(iterator, tf.constant(size)).items()}
            if not all(abs(value) < float("inf") for value in totals.values()):
                raise checkpoints.diverged(saved.step, saved.latest)
            step, counted = step + size, counted + size
            sums = {name: sums.get(name, 0.0) + value for name, value in totals.items()}
            means = {name: value / counted for name, value in sums.items()}
            log.show(step, {k: means[k] for k in _SHOWN if k in means})
            asked = workers.asked_to_stop(strategy, stop)
            must_save = step % save_every == 0 or step == total_steps or asked
            if must_save or step % log_every == 0:
                epoch = step * batch_size / num_examples
                rate = float(tf.convert_to_tensor(trained.optimizer.learning_rate))
                log.write(step, {**means, "learning_rate": rate, "epoch": epoch})
                sums, counted = {}, 0
            if must_save:
                saved.save()
            if asked:
                raise Interrupted(asked)
    finally:
        log.close()


_SHOWN = ("contrast_loss", "contrast_acc", "supervised_loss", "supervised_acc")


def _with_labels(config: Config, method: Method, bags: Bags) -> tuple[Bags, np.ndarray | None]:
    """Returns the bags to train on, and the weights of the classes if they are to be balanced.

    Fine-tuning sees the chosen labelled cases only; pretraining sees all, and hides other labels
    from the linear head that may train beside.
    """
    if not bags.class_names or (not method.needs_labels and config.data.label_fraction == 1):
        return bags, None
    cases, chosen = labelled_cases(config, bags)
    if not method.needs_labels:
        return label_fraction.hide_labels(bags, chosen), None
    print(
        f"Labels of {chosen.sum():,} of {cases.labelled.sum():,} labelled cases "
        f"(--label_fraction={config.data.label_fraction:g} of the patients, by --seed)."
    )
    weights = None
    if config.train.class_weights == "balanced":
        weights = label_fraction.balanced_weights(cases.labels[chosen], len(bags.class_names))
    return label_fraction.keep_cases(bags, cases, chosen), weights


def _draw_views(config: Config, method: Method, bags: Bags):
    """Returns how the views of an example are drawn, see `training_batches`."""
    if not method.whole_cases:
        return method.draw_views
    largest = bags.num_images - bags.num_bags + 1  # no bag can have more
    return functools.partial(method.draw_views, max_images=min(config.data.max_bag_size, largest))


def _schedule(config: Config, num_examples: int, total_steps: int) -> WarmupCosine:
    batch_size = config.train.train_batch_size
    warmup_steps = num_warmup_steps(num_examples, batch_size, config.optim.warmup_epochs)
    if warmup_steps >= total_steps:
        print(
            f"Note: warm-up takes {warmup_steps} steps (--warmup_epochs="
            f"{config.optim.warmup_epochs:g}) and the run {total_steps}: the learning rate grows "
            "to the end and never reaches its peak."
        )
    peak = scaled_learning_rate(
        config.optim.learning_rate, batch_size, config.optim.learning_rate_scaling
    )
    return WarmupCosine(peak=peak, warmup_steps=warmup_steps, total_steps=total_steps)


def _check_batch(config: Config, method: Method, bags: Bags, num_examples: int, replicas: int):
    batch_size = config.train.train_batch_size
    what = "bags" if method.keeps_bags else "images"
    if batch_size > num_examples and not method.whole_cases:  # a bag twice: a false negative
        raise UserError(
            f"--train_batch_size={batch_size} is more than the {num_examples} {what} of split "
            f"'{config.data.train_split}'. Choose at most {num_examples}."
        )
    if batch_size % replicas:
        raise UserError(
            f"--train_batch_size={batch_size} cannot be shared equally by {replicas} replicas; "
            f"choose a multiple of {replicas}."
        )
    if (micro_batch := config.train.micro_batch) and batch_size // replicas % micro_batch:
        raise UserError(
            f"--micro_batch={micro_batch} does not divide the {batch_size // replicas} examples of a "
            f"replica (--train_batch_size={batch_size}, {replicas} replica(s)). Choose a divisor."
        )
    if config.train.lineareval_while_pretraining and not bags.class_names:
        print("No labels: --lineareval_while_pretraining is off, and nothing is probed.")
