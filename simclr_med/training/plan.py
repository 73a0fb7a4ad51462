"""What a run trains on, for how long, and at which learning rates."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import tensorflow as tf

from simclr_med.build import labelled_cases, open_bags
from simclr_med.config import Config
from simclr_med.data import Bags, label_fraction, training_batches
from simclr_med.errors import UserError
from simclr_med.optim import (
    WarmupCosine,
    num_train_steps,
    num_warmup_steps,
    scaled_learning_rate,
)
from simclr_med.training.methods import METHODS, Method


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a run trains on, how, and for how long.

    Attributes:
      config: of the run, its input range settled.
      method: what a positive pair is, and which loss.
      bags: those that are trained on.
      class_weights: of the loss, see `Trained`.
      num_examples: of an epoch: bags or images.
      total_steps: of the whole run.
      schedule: of the learning rate.
    """

    config: Config
    method: Method
    bags: Bags
    class_weights: np.ndarray | None
    num_examples: int
    total_steps: int
    schedule: WarmupCosine


def make_plan(config: Config, builder, num_replicas: int) -> Plan:
    """Returns the plan of a run; prints what is unusual about it.

    Args:
      config: of the run, its input range settled.
      builder: a prepared TFDS builder.
      num_replicas: which share a batch equally.

    Raises:
      UserError: labels are needed and missing, or the batch does not fit the data or the replicas.
    """
    method = METHODS[config.method]
    bags = open_bags(config, builder, config.data.train_split)
    if method.needs_labels and not bags.class_names:
        raise UserError("--train_mode=finetune needs labels, and the dataset has none.")
    bags, class_weights = _with_labels(config, method, bags)
    num_examples = bags.num_bags if method.keeps_bags else bags.num_images
    _check_batch(config, method, bags, num_examples, num_replicas)
    train = config.train
    total_steps = num_train_steps(
        num_examples, train.train_batch_size, train.train_epochs, train.train_steps
    )
    schedule = make_schedule(config, num_examples, total_steps)
    return Plan(config, method, bags, class_weights, num_examples, total_steps, schedule)


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


def make_schedule(config: Config, num_examples: int, total_steps: int) -> WarmupCosine:
    """Returns the learning rates of a run; prints a note if its warm-up never ends."""
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


def batches_from(plan: Plan, start_step: int, part: tuple[int, int]) -> tf.data.Dataset:
    """Returns part i of n of each batch from `start_step` on, see `training_batches`."""
    config, method = plan.config, plan.method
    draw_views = method.draw_views
    if method.whole_cases:
        largest = plan.bags.num_images - plan.bags.num_bags + 1  # no bag can have more
        most = min(config.data.max_bag_size, largest)
        draw_views = functools.partial(method.draw_views, max_images=most)
    return training_batches(
        plan.bags,
        draw_views=draw_views,
        keep_bags=method.keeps_bags,
        batch_size=config.train.train_batch_size,
        image_size=config.augment.image_size,
        antialias=config.augment.is_antialiased,
        seed=config.run.seed,
        start_step=start_step,
        shuffle_buffer=config.data.shuffle_buffer,
        cache=config.data.cache_dataset,
        part=part,
    )


def views_per_example(plan: Plan, batches: tf.data.Dataset) -> float:
    """Returns how many views of an example pass the network; of whole cases the mean."""
    if plan.method.whole_cases:  # most have fewer than there are places
        return plan.bags.num_images / plan.bags.num_bags
    return batches.element_spec["images"].shape[1]
