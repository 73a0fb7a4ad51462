"""What a run trains on, for how long, and at which learning rates."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import tensorflow as tf

from simclr_med.build import labelled_cases, open_bags
from simclr_med.config import Config
from simclr_med.data import DATA_ORDER, Bags, label_fraction, training_batches
from simclr_med.data.base_rates import constant_guess
from simclr_med.data.cases import count_multi, read_cases
from simclr_med.data.pipeline import examples_per_epoch
from simclr_med.data.streams import Streams, streams_of
from simclr_med.errors import UserError
from simclr_med.optim import (
    WarmupCosine,
    num_train_steps,
    num_warmup_steps,
    scaled_learning_rate,
)
from simclr_med.training.methods import Method


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a run trains on, how, and for how long.

    Attributes:
      config: of the run, its input range settled.
      method: what a positive pair is, and which loss.
      bags: those that are trained on.
      class_weights: of the loss, see `Trained`.
      num_examples: of an epoch: bags, with what --multi_image_repeats adds, or images.
      total_steps: of the whole run.
      schedule: of the learning rate.
      data_order: how the seed decides batches, see `training_batches`.
      streams: in which the split is read, see `data.streams`; of a run before them, one.
      without_cases: {"training" | "selection": the classes, or labels, without a case there}, of a
        fine-tuning; see `label_fraction.without_cases`.
      guess: loss and accuracy without a look at images, see `constant_guess`; {} of a pretraining.
    """

    config: Config
    method: Method
    bags: Bags
    class_weights: np.ndarray | None
    num_examples: int
    total_steps: int
    schedule: WarmupCosine
    streams: Streams
    data_order: int = DATA_ORDER
    without_cases: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    guess: dict[str, float] = dataclasses.field(default_factory=dict)


def make_plan(
    config: Config,
    builder,
    num_replicas: int,
    data_order: int | None = None,
    num_streams: int | None = None,
) -> Plan:
    """Returns the plan of a run; prints a note about anything unusual.

    Args:
      config: of the run, its input range settled.
      builder: a prepared TFDS builder.
      num_replicas: which share a batch equally.
      data_order, num_streams: of a run that has begun; None: of a new one.

    Raises:
      UserError: labels are needed and missing, or all alike; or the batch does not fit the data or the
        replicas.
    """
    method = Method.of(config)
    soft = method.needs_labels and config.train.soft_labels and data_order != 1
    bags = open_bags(config, builder, config.data.train_split, with_differential=soft)
    if method.needs_labels and not bags.class_names:
        raise UserError("--train_mode=finetune needs labels, and the dataset has none.")
    bags, trained_on, class_weights = _with_labels(config, method, bags)
    without_cases: dict[str, list[str]] = {}
    guess: dict[str, float] = {}
    if trained_on:
        without_cases = _without_cases(config, builder, trained_on, bags)
        labels, shares = trained_on
        guess = constant_guess(labels, len(bags.class_names), class_weights, shares)
    bags = _with_num_multi(config, method, bags)
    repeats, order = repeats_of(config, method), data_order or DATA_ORDER
    num_examples = examples_per_epoch(bags, method.keeps_bags, repeats)
    _check_batch(config, method, bags, num_examples, num_replicas)
    train = config.train
    batch_size = train.train_batch_size
    total_steps = num_train_steps(num_examples, batch_size, train.train_epochs, train.train_steps)
    schedule = make_schedule(config, num_examples, total_steps)
    if order < 3:
        num_streams = 1
    if order != DATA_ORDER:
        print(
            "Note: this run began with an older version; --seed still gives the same batches"
            + (", and differentials are not used." if data_order == 1 else ".")
        )
    return Plan(
        config,
        method,
        bags,
        class_weights,
        num_examples,
        total_steps,
        schedule,
        streams_of(bags, num_examples, batch_size, method.keeps_bags, repeats, num_streams),
        order,
        without_cases,
        guess,
    )


def repeats_of(config: Config, method: Method) -> int:
    """Returns how often an epoch has each bag of several images."""
    of_bags = method.keeps_bags and not method.whole_cases
    return config.train.multi_image_repeats if of_bags else 1


def _with_num_multi(config: Config, method: Method, bags: Bags) -> Bags:
    """Returns the bags, `num_multi` counted where pairs are of bags; prints how many have two images."""
    repeats, of_pairs = repeats_of(config, method), config.method == "micle"
    if repeats == 1 and not of_pairs:
        return bags
    bags = dataclasses.replace(bags, num_multi=count_multi(bags))
    multi, alone = int(bags.num_multi or 0), bags.num_bags - int(bags.num_multi or 0)
    if repeats > 1:
        share = multi * repeats / (alone + multi * repeats)
        what = "pairs are two different images" if of_pairs else "examples are of such bags"
        print(
            f"{multi:,} of {bags.num_bags:,} bags hold several images and appear {repeats} times each: "
            f"{share:.0%} of an epoch's {what}."
        )
    elif alone:
        print(
            f"{alone:,} of {bags.num_bags:,} bags hold one image only: their pairs are two views of it. "
            "(--multi_image_repeats shows the others more often.)"
        )
    return bags


def _with_labels(config: Config, method: Method, bags: Bags):
    """Returns (the bags to train on, (labels, shares), the weights of the classes if to be balanced).

    Fine-tuning sees the chosen labelled cases only; pretraining sees all, and hides other labels
    from the linear head that may train beside. Its labels, which would have to be read, are None.
    """
    if not bags.class_names or (not method.needs_labels and config.data.label_fraction == 1):
        return bags, None, None
    cases, chosen = labelled_cases(config, bags)
    if not method.needs_labels:
        return label_fraction.hide_labels(bags, chosen), None, None
    by = "--seed" if config.data.label_seed is None else f"--label_seed={config.data.label_seed}"
    print(
        f"Labels of {chosen.sum():,} of {cases.labelled.sum():,} labelled cases "
        f"(--label_fraction={config.data.label_fraction:g} of the patients, by {by})."
    )
    labels = cases.labels[chosen]
    shares = None if cases.differential is None else cases.differential[chosen]
    if shares is None or (shares > 0).any(axis=0).sum() < 2:
        check_kinds(config, bags, labels)
    weights = None
    if config.train.class_weights == "balanced":
        weights = label_fraction.balanced_weights(labels, len(bags.class_names), shares)
    return label_fraction.keep_cases(bags, cases, chosen), (labels, shares), weights


def _without_cases(config: Config, builder, trained_on: tuple, bags: Bags) -> dict:
    """Returns `Plan.without_cases`; prints which classes, or labels, those are."""
    names, kind = bags.class_names, "label" if bags.multilabel else "class"
    data = config.data
    labels, shares = trained_on
    without = {"training": label_fraction.without_cases(labels, names, shares)}
    splits = {"training": data.train_split, "selection": data.selection_split}
    if data.selection_split:
        chosen_on = read_cases(open_bags(config, builder, data.selection_split), 0)
        without["selection"] = label_fraction.without_cases(chosen_on.labels, names)
    for of, missing in without.items():
        if missing:
            lacks = "case with it, or none without it" if bags.multilabel else "case"
            print(
                f"Note: no {of} {lacks}, in split '{splits[of]}', of {kind} {', '.join(missing)}: "
                + ("it cannot be learnt." if of == "training" else "it takes no part in choosing.")
            )
    return without


def check_kinds(config: Config, bags: Bags, labels: np.ndarray) -> None:
    """Refuses labels that are all the same: then a constant is a perfect classifier.

    Args:
      config: of the run.
      bags: of the training split.
      labels: of the cases that train, as in `Cases`.
    """
    split = f"--train_split={config.data.train_split}"
    if config.data.label_fraction < 1:
        split += f" --label_fraction={config.data.label_fraction:g}"
    todo = (
        "Check the labels and splits with --mode=verify, or pretrain, which needs none "
        "(--train_mode=pretrain)."
    )
    if bags.multilabel:
        if not ((labels == 0).any(0) & (labels == 1).any(0)).any():
            raise UserError(
                f"{split}: no label is present in some and absent in others of its {len(labels):,} "
                f"labelled cases, so there is nothing to learn. {todo}"
            )
    elif len(kinds := np.unique(labels)) < 2:
        raise UserError(
            f"{split}: all {len(labels):,} labelled cases are of one class, "
            f"'{bags.class_names[kinds[0]]}', so there is nothing to learn. {todo}"
        )


def make_schedule(config: Config, num_examples: int, total_steps: int) -> WarmupCosine:
    """Returns the learning rates of a run; prints a note if its warm-up never ends.

    Args:
      config: of the run.
      num_examples: of an epoch.
      total_steps: of the run.
    """
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
    if batch_size == 1 and not method.needs_labels:
        raise UserError(
            "--train_batch_size=1: a view's negatives are the other examples of its batch, and there "
            "are none: the loss is 0 from the first step and nothing is learnt. Choose at least 2, "
            "better hundreds; --micro_batch encodes a large batch a part at a time."
        )
    most = min(num_examples, bags.num_bags) if method.keeps_bags else num_examples
    if batch_size > most and not method.whole_cases:  # a bag twice: a false negative
        raise UserError(
            f"--train_batch_size={batch_size} is larger than split '{config.data.train_split}' with "
            f"its {most} {what}. Use at most {most}."
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
    """Returns a part of each batch of a run, see `training_batches`.

    Args:
      plan: of the run.
      start_step: number of steps that are done.
      part: (i, n): part i of n equal ones.
    """
    config, method = plan.config, plan.method
    sample_images = method.sample_images
    if method.whole_cases:
        largest = plan.bags.num_images - plan.bags.num_bags + 1  # no bag can have more
        most = min(config.data.max_bag_size, largest)
        sample_images = functools.partial(method.sample_images, max_images=most)
    return training_batches(
        plan.bags,
        sample_images=sample_images,
        keep_bags=method.keeps_bags,
        batch_size=config.train.train_batch_size,
        image_size=config.augment.image_size,
        antialias=config.augment.is_antialiased,
        crop_min_area=config.augment.crop_min_area,
        seed=config.run.seed,
        start_step=start_step,
        shuffle_buffer=config.data.shuffle_buffer,
        cache=config.data.cache_dataset,
        part=part,
        data_order=plan.data_order,
        repeats=repeats_of(config, method),
        num_streams=plan.streams.count,
    )


def views_per_example(plan: Plan, batches: tf.data.Dataset) -> float:
    """Returns how many views of an example pass the network; of whole cases the mean."""
    if plan.method.whole_cases:  # most have fewer than there are places
        return plan.bags.num_images / plan.bags.num_bags
    return batches.element_spec["images"].shape[1]
