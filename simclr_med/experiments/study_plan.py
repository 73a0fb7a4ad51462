"""What a study is made of: its configurations, and what must hold before hours of training."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable

from simclr_med.build import open_bags
from simclr_med.config import OF_A_FOLDER, Config
from simclr_med.errors import UserError
from simclr_med.evaluation import evaluate, splits
from simclr_med.experiments import grids, label_efficiency, sweep
from simclr_med.models.resnet import SMALL_IMAGE
from simclr_med.optim import num_train_steps, num_warmup_steps
from simclr_med.run_folder import gfile

RECIPES = ("simclr", "micle", "finetune")


@dataclasses.dataclass(frozen=True)
class Arm:
    """One way to start fine-tuning.

    Attributes:
      name: as tables say it.
      folder: as folders say it.
      checkpoint: the weights to start from, or the folder of one pretraining a seed; None: random.
      data: what it was pretrained on, as the paper's "Pretraining Dataset".
      of_seeds: whether `checkpoint` is the folder of one pretraining a seed.
    """

    name: str
    folder: str
    checkpoint: str | None
    data: str
    of_seeds: bool = False

    def start(self, seed: int) -> str | None:
        """Returns the weights that the runs of a seed start from."""
        if self.checkpoint is None or not self.of_seeds:
            return self.checkpoint
        return os.path.join(self.checkpoint, f"seed_{seed}")

    def pretraining(self, seed: int) -> str:
        """Returns what tells the pretraining of a seed from others; from random, each is its own."""
        return self.checkpoint if self.checkpoint and not self.of_seeds else f"seed {seed}"


class Builders:
    """Prepared datasets, each prepared once.

    Args:
      make: from a configuration to the prepared builder of its dataset.
    """

    _FIELDS: tuple[str, ...] = ("dataset", "manual_dir", "data_dir", *OF_A_FOLDER)

    def __init__(self, make: Callable[[Config], object]):
        self._make = make
        self._made: dict[tuple, object] = {}

    def __call__(self, config: Config):
        key = tuple(getattr(config.data, name) for name in self._FIELDS)
        if key not in self._made:
            self._made[key] = self._make(config)
        return self._made[key]


def arms(config: Config, recipes: dict[str, Config], model_dir: str) -> list[Arm]:
    """Returns the arms, the baseline first; with `--checkpoint` also those weights as they are."""
    given = config.run.checkpoint
    start = "given weights" if given else ""
    first, second = (str(recipes[name].data.dataset) for name in ("simclr", "micle"))
    data = first if first == second else f"{first}, {second}"
    data = f"{start} → {data}" if given else data

    def pretrained(name):
        return os.path.join(model_dir, f"pretrain_{name}")

    return [
        Arm("random init", "scratch", None, "none"),
        *([Arm("given weights", "given", given, start)] if given else []),
        Arm("SimCLR", "simclr", pretrained("simclr2"), data, of_seeds=True),
        Arm("SimCLR → MICLe", "micle", pretrained("micle"), data, of_seeds=True),
    ]


def seeds(config: Config, tuned: Config) -> list[int]:
    """Returns the seeds of the study: of pretraining and of the fine-tuning that starts from it."""
    return list(range(tuned.run.seed, tuned.run.seed + config.experiment.repeats))


def first_stage(config: Config, recipe: Config, seed: int) -> Config:
    """Returns SimCLR's configuration, from `--checkpoint` if there is one."""
    return _pretraining(recipe).replace(micle=False, checkpoint=config.run.checkpoint, seed=seed)


def second_stage(recipe: Config, builder, checkpoint: str, seed: int) -> dict[str, Config]:
    """Returns {"micle", "simclr2"}: the same steps and learning rates, another positive pair.

    MICLe counts its epochs in bags, SimCLR in images; so epochs become the steps they mean to
    MICLe, and the control's warm-up is stretched to as many steps.
    """
    bags = open_bags(recipe, builder, recipe.data.train_split)
    batch = recipe.train.train_batch_size
    steps = num_train_steps(
        bags.num_bags, batch, recipe.train.train_epochs, recipe.train.train_steps
    )
    warmup = num_warmup_steps(bags.num_bags, batch, recipe.optim.warmup_epochs)
    stretched = (warmup + 0.5) * batch / bags.num_images  # half a step, as it is rounded down
    common = _pretraining(recipe).replace(train_steps=steps, checkpoint=checkpoint, seed=seed)
    return {
        "micle": common.replace(micle=True),
        "simclr2": common.replace(micle=False, warmup_epochs=stretched if warmup else 0.0),
    }


def _pretraining(recipe: Config) -> Config:
    """Returns a recipe that is evaluated at its last step, where fine-tuning starts from."""
    return recipe.replace(
        train_mode="pretrain", selection_split=None, label_fraction=1.0, eval_name=None
    )


def fine_tuning(config: Config, recipe: Config, arm: Arm) -> Config:
    """Returns an arm's fine-tuning with the first seed, before the choice of its learning rate."""
    asked = config.experiment
    keys = ("repeats", "label_fractions", "sweep_learning_rates", "sweep_weight_decays")
    return recipe.replace(
        train_mode="finetune",
        micle=False,
        checkpoint=arm.start(recipe.run.seed),
        eval_name=None,
        **{key: getattr(asked, key) for key in keys},
    )


def fine_tunings(tuned: Config, arm: Arm) -> dict[str, Config]:
    """Returns {folder: configuration} of an arm's runs: each seed from the pretraining of that seed."""
    return {
        name: job.replace(checkpoint=arm.start(job.run.seed))
        for name, job in label_efficiency.jobs(tuned).items()
    }


def check_folder(model_dir: str) -> None:
    """Refuses a study that was begun when all seeds shared one pretraining.

    Raises:
      UserError: it was.
    """
    old = os.path.join(model_dir, "pretrain_simclr1", "config.json")
    if gfile.exists(old):
        raise UserError(
            f"--model_dir={model_dir} holds a study of an earlier version, which pretrained once for "
            "all seeds. A study now pretrains once for each seed: choose another --model_dir."
        )


def elsewhere(config: Config, tuned: Config) -> Config:
    """Returns how a fine-tuned run is evaluated on `--shift_dataset`."""
    asked = config.experiment
    return tuned.replace(
        dataset=asked.shift_dataset,
        manual_dir=asked.shift_manual_dir,
        eval_split=asked.shift_split,
        eval_name="shift",
        keep_hub_module_max=0,
    )


def with_shift_split(config: Config, recipes: dict[str, Config], builders: Builders) -> Config:
    """Returns the study's configuration with `--shift_split`: where none is given, all or test.

    All of a dataset that no stage was trained on, unless its table names splits.
    """
    asked = config.experiment
    if not asked.shift_dataset or asked.shift_split:
        return config
    tuned = recipes["finetune"]
    outside = shift_builder(config, tuned, builders)
    shift = elsewhere(config.replace(shift_split="test"), tuned)
    for recipe in recipes.values():
        of_run = splits.of_run(recipe, builders(recipe))
        if splits.whole_if_unseen(shift, outside, of_run).data.eval_split != "all":
            return config.replace(shift_split="test")
    return config.replace(shift_split="all")


def check(config: Config, recipes: dict[str, Config], builders: Builders) -> None:
    """Finds mistakes that would otherwise show up after hours.

    Raises:
      UserError: says which.
    """
    tuned = recipes["finetune"]
    _check_alike(recipes)
    config = with_shift_split(config, recipes, builders)
    builder = builders(tuned)
    inside = open_bags(tuned, builder, tuned.data.eval_split)
    for recipe in (
        first_stage(config, recipes["simclr"], tuned.run.seed),
        _pretraining(recipes["micle"]),
    ):
        evaluate.check_splits(recipe, builders(recipe))  # they are evaluated too, by probes
    if not inside.class_names:
        raise UserError(f"--mode=study fine-tunes, and {builder.info.full_name} has no labels.")
    trial = fine_tuning(config, tuned, Arm("", "", None, ""))
    label_efficiency.jobs(trial)
    if has_grid(trial) and not tuned.data.selection_split:
        raise UserError(
            "A study with more than one learning rate or weight decay chooses among them on "
            "--selection_split, which is missing."
        )
    evaluate.check_splits(tuned, builder)
    if config.experiment.shift_dataset:
        shifted = shift_builder(config, tuned, builders)
        shift = elsewhere(config, tuned)
        outside = open_bags(shift, shifted, shift.data.eval_split)
        splits.check(shift, shifted, splits.of_run(tuned, builder), None)
        if outside.class_names != inside.class_names:
            raise UserError(
                f"--shift_dataset={config.experiment.shift_dataset} has the classes "
                f"{', '.join(outside.class_names) or '(none)'}, and {builder.info.full_name} has "
                f"{', '.join(inside.class_names)}: a model of one cannot be tested on the other. "
                "--shift_dataset= leaves that part of the study out."
            )


def has_grid(config: Config) -> bool:
    """Returns whether there is anything to choose: more than one learning rate or weight decay."""
    return len(sweep.points(config)) > 1


def shift_builder(config: Config, tuned: Config, builders: Builders):
    """Returns the builder of `--shift_dataset`."""
    asked = config.experiment
    return builders(tuned.replace(dataset=asked.shift_dataset, manual_dir=asked.shift_manual_dir))


def architecture(config: Config) -> str:
    """Returns "ResNet-50 (1x)", "BiT ResNet-50 (3x)" or "Keras ResNet-50 (1x)"."""
    model = config.model
    family = {"resnet": "", "bit": "BiT ", "keras_resnet": "Keras "}[model.encoder]
    extras = (", selective kernels" * (model.sk_ratio > 0)) + (", SE" * (model.se_ratio > 0))
    return f"{family}ResNet-{model.resnet_depth} ({model.width_multiplier}x{extras})"


def fractions(config: Config) -> list[float]:
    """Returns the label fractions, ascending."""
    text = config.experiment.label_fractions
    return sorted(grids.numbers("label_fractions", text, "label_fraction"))


def _check_alike(recipes: dict[str, Config]) -> None:
    """Raises UserError where an encoder could not take over the weights of the one before."""
    alike = ("encoder", "resnet_depth", "width_multiplier", "sk_ratio", "se_ratio")
    shown = ("input_range", "antialias")
    for field in (*alike, *shown, "image_size"):
        found = {name: recipe.to_dict()[field] for name, recipe in recipes.items()}
        kinds = set(found.values())
        if field == "image_size":  # any size fits, but small images have another stem
            kinds = {size <= SMALL_IMAGE for size in kinds}
        if len(kinds) > 1:
            said = ", ".join(f"{value} in --{name}_recipe" for name, value in found.items())
            raise UserError(
                f"--{field} is {said}: one encoder could not take over the weights of the other. "
                "Give it in the study's own flags."
            )
    if len({recipe.device for recipe in recipes.values()}) > 1:
        raise UserError(
            "The recipes of a study differ in a flag of the machine, such as --mixed_precision. "
            "Give it in the study's own flags."
        )
