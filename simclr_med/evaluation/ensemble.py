"""Trained classifiers, one or several, that score the same images: their probabilities are averaged."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from simclr_med import checkpoints
from simclr_med.build import make_model, set_precision
from simclr_med.checkpoints import files as checkpoint_files
from simclr_med.checkpoints.restore import restore
from simclr_med.checkpoints.weights import Classes, input_range, open_weights
from simclr_med.config import Config
from simclr_med.data import Bags
from simclr_med.errors import UserError
from simclr_med.evaluation.features import (
    EVERY_IMAGE,
    case_probabilities,
    features_of,
    forward,
)
from simclr_med.evaluation.likeness import Likeness, looks
from simclr_med.export import source
from simclr_med.keras_api import keras
from simclr_med.metrics import temperature
from simclr_med.metrics.operating_points import Chosen
from simclr_med.models import Model
from simclr_med.run_folder import data_json, gfile, read_json

LOOKS = -1  # beside the numbers of members


@dataclasses.dataclass(frozen=True)
class Member:
    """A trained classifier.

    Attributes:
      path: the folder that was named.
      config: of its run.
      model: with its weights.
      class_names: of its logits, in their order.
      multilabel: a sigmoid for each of them.
      weights: where they were read.
      identity: of their content.
      likeness: to its training images; None where the run wrote none.
      thresholds: {label: threshold} that validation data chose; {} without.
      temperature: that it fitted, see `metrics.temperature`; None without.
      operating_points: {class: those that it chose}; {} without.
    """

    path: str
    config: Config
    model: Model
    class_names: tuple[str, ...]
    multilabel: bool
    weights: str
    identity: str
    likeness: Likeness | None = None
    thresholds: dict[str, float] = dataclasses.field(default_factory=dict)
    temperature: float | None = None
    operating_points: dict[str, list[Chosen]] = dataclasses.field(default_factory=dict)

    def probabilities(self, features: np.ndarray, class_names: tuple[str, ...]) -> np.ndarray:
        """Returns the probabilities, float [n, classes], with classes in the order of `class_names`.

        Args:
          features: of the cases, float32 [n, d].
          class_names: those of the member, in any order.
        """
        columns = [self.class_names.index(name) for name in class_names]
        return case_probabilities(self.model, features, self.multilabel)[:, columns]


@dataclasses.dataclass(frozen=True)
class Ensemble:
    """Classifiers with the same input and the same classes."""

    members: tuple[Member, ...]
    strategy: tf.distribute.Strategy

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes or labels, in the order of the first member."""
        return self.members[0].class_names

    @property
    def multilabel(self) -> bool:
        """Whether a case can have several labels."""
        return self.members[0].multilabel

    @property
    def thresholds(self) -> dict[str, float]:
        """{label: threshold} of one classifier; {} for the mean of several, which has none chosen."""
        return self.members[0].thresholds if len(self.members) == 1 else {}

    @property
    def is_calibrated(self) -> bool:
        """Whether every member has a temperature."""
        return all(member.temperature is not None for member in self.members)

    def calibrated(self, probabilities: np.ndarray) -> np.ndarray | None:
        """Returns the mean over members of probabilities at each one's temperature, float [n, classes].

        None where a member has no temperature.

        Args:
          probabilities: by each member, float [members, n, classes].
        """
        scaled = [
            temperature.scaled(p, member.temperature, self.multilabel)
            for p, member in zip(probabilities, self.members)
            if member.temperature is not None
        ]
        return np.mean(scaled, axis=0) if self.is_calibrated else None

    def operating_points(self, class_name: str | None) -> list[Chosen]:
        """Returns the operating points of a class; [] of None.

        Raises:
          UserError: there is no such class, or no operating points were chosen for it.
        """
        if class_name is None:
            return []
        if class_name not in self.class_names:
            raise UserError(
                f"--positive_class={class_name} is none of the classes {', '.join(self.class_names)}."
            )
        if len(self.members) > 1:
            raise UserError(
                f"--positive_class={class_name}: thresholds are chosen for one run, not for the mean of "
                "several. Give one --model_dir, or leave it out."
            )
        (member,) = self.members
        points = [p for p in member.operating_points.get(class_name, []) if p.threshold is not None]
        if not points:
            raise UserError(
                f"--positive_class={class_name}: {member.path} has no operating points for it. They are "
                "chosen by --mode=eval, if the run's --selection_split has enough cases with and without "
                "that class."
            )
        return points

    @property
    def config(self) -> Config:
        """How images are shown to all of them."""
        return self.members[0].config

    @property
    def knowing(self) -> tuple[Model, Likeness] | None:
        """(model, likeness) of the first member that has a likeness to its training images; else None."""
        return next(((m.model, m.likeness) for m in self.members if m.likeness), None)

    def forward(self, bags: Bags) -> Iterator[tuple[dict[int, np.ndarray], np.ndarray, np.ndarray]]:
        """Yields ({number of a member: features [m, d]}, case [m], index in the case [m]).

        For every image of every case, in the order of the cases, a batch at a time. Beside the features
        there are, under LOOKS, the looks that `knowing` compares.
        """
        functions = {
            str(i): functools.partial(features_of, member.model)
            for i, member in enumerate(self.members)
        }
        if self.knowing:
            functions[str(LOOKS)] = functools.partial(looks, self.knowing[0])
        batches = forward(self.config, self.strategy, functions, bags, EVERY_IMAGE)
        for outputs, case, image in batches:
            yield {int(name): value for name, value in outputs.items()}, case, image

    def probabilities(self, features: list[np.ndarray]) -> np.ndarray:
        """Returns the probabilities by each member, float [members, n, classes].

        Args:
          features: of each member, float32 [n, d].
        """
        pairs = zip(self.members, features)
        return np.stack(
            [m.probabilities(member_features, self.class_names) for m, member_features in pairs]
        )


def open_ensemble(
    configs: dict[str, Config], strategy: tf.distribute.Strategy, *, or_encoder: bool = False
) -> Ensemble:
    """Returns the classifiers of some folders.

    Args:
      configs: {folder of a run, or of an export: its configuration}.
      strategy: from `build.set_up`.
      or_encoder: a pretrained run, which has no classes, will do.

    Raises:
      UserError: a folder without a classifier; or they differ in image size, antialiasing or classes.
    """
    policy = keras.mixed_precision.global_policy()
    try:
        members = [_open(path, config, strategy) for path, config in configs.items()]
    finally:
        keras.mixed_precision.set_global_policy(policy)
    pretrained = [member.path for member in members if not member.class_names]
    if pretrained and not or_encoder:
        raise UserError(
            f"--model_dir={pretrained[0]} was pretrained and tells no classes apart. Fine-tune it "
            f"(--train_mode=finetune --checkpoint={pretrained[0]}), or use its embeddings (--mode=embed)."
        )
    for member in members[1:]:
        _check_alike(members[0], member)
    return Ensemble(tuple(members), strategy)


def _open(path: str, config: Config, strategy: tf.distribute.Strategy) -> Member:
    if gfile.exists(os.path.join(path, "config.json")):
        return _of_run(path, config, strategy)
    return _of_export(path, config, strategy)


def _of_run(path: str, config: Config, strategy: tf.distribute.Strategy) -> Member:
    names = source.class_names_of(config, path)
    config = input_range.resolve(config, path)
    model, checkpoint = restored(config, path, strategy, len(names))
    selection_path = os.path.join(path, "selection.json")
    selection = read_json(selection_path) if gfile.exists(selection_path) else {}
    points = selection.get("operating_points") or {}
    identity = checkpoint_files.identity(checkpoint)
    return Member(
        path=path,
        config=config,
        model=model,
        class_names=names,
        multilabel=bool(data_json.read(path).get("several_labels")),
        weights=checkpoint,
        identity=str(identity),
        likeness=Likeness.read(path, identity),
        thresholds=selection.get("thresholds") or {},
        temperature=selection.get("temperature"),
        operating_points={name: [Chosen(**p) for p in fields] for name, fields in points.items()},
    )


def _of_export(path: str, config: Config, strategy: tf.distribute.Strategy) -> Member:
    folder = saved_model_in(path)
    weights = open_weights(folder)
    classes = Classes(weights.class_names or (), bool(weights.multilabel))
    set_precision(config)
    with strategy.scope():
        model = make_model(config, len(classes.names))
    checkpoints.load(model, weights, classes if classes.names else None)
    variables = os.path.join(folder, "variables", "variables")
    return Member(
        path=path,
        config=config,
        model=model,
        class_names=classes.names,
        multilabel=classes.multilabel,
        weights=folder,
        identity=str(checkpoint_files.identity(variables)),
    )


def restored(
    config: Config, model_dir: str, strategy: tf.distribute.Strategy, num_classes: int
) -> tuple[Model, str]:
    """Returns the model of a run, and the checkpoint whose weights it has: the chosen or newest one.

    Args:
      config: of the run, its input range settled.
      model_dir: of the run.
      strategy: in whose scope it is made.
      num_classes: of its supervised head; 0 without.

    Raises:
      UserError: there is no checkpoint, or none was chosen yet.
    """
    path = source.newest_or_chosen(config, model_dir)
    set_precision(config)
    with strategy.scope():
        model = make_model(config.replace(lineareval_while_pretraining=False), num_classes)
    restore(model, path)
    return model, path


def saved_model_in(path: str) -> str:
    """Returns the folder of the SavedModel of an export: `path`, or saved_model/ in it.

    Raises:
      UserError: there is none.
    """
    for folder in (path, os.path.join(path, "saved_model")):
        if gfile.exists(os.path.join(folder, "saved_model.pb")):
            return folder
    raise UserError(
        f"--model_dir={path} holds neither a run (config.json) nor an export (saved_model/)."
    )


def _check_alike(first: Member, other: Member) -> None:
    """Raises UserError where two classifiers cannot be averaged."""
    first_config, other_config = first.config.augment, other.config.augment
    for name, a, b in (
        ("image_size", first_config.image_size, other_config.image_size),
        ("antialias", first_config.is_antialiased, other_config.is_antialiased),
    ):
        if a != b:
            raise UserError(
                f"{first.path} was trained with --{name}={str(a).lower()}, {other.path} with "
                f"{str(b).lower()}, so their predictions cannot be averaged. Use one at a time."
            )
    same = set(first.class_names) == set(other.class_names)
    if not same or first.multilabel != other.multilabel:
        raise UserError(
            f"{first.path} knows the classes {', '.join(first.class_names)}; {other.path} "
            f"{', '.join(other.class_names)}. Only equal ones can be averaged."
        )
