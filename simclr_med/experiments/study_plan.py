"""What a study is made of: stages of pretraining, arms, uses, subsets of the labels, and the
configuration of every run.

`make` plans the study of four arms, `arms_file` one whose arms a file names. Nothing here reads data or
weights: `jobs` lists the runs of a study that has not begun.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable

from simclr_med.config import OF_A_FOLDER, Config
from simclr_med.errors import UserError
from simclr_med.experiments import grids, sweep

RECIPES = ("simclr", "micle", "finetune")
USES = ("probe", "finetune", "probe_finetune")
BASELINE, SIMCLR, CONTROL, MICLE = (
    "no pretraining",
    "SimCLR",
    "SimCLR → SimCLR by case",
    "SimCLR → MICLe",
)
_LABEL_SEEDS = 1000  # between the subsets of the labels of one pretraining seed


@dataclasses.dataclass(frozen=True)
class Stage:
    """A stage of pretraining: a run for each seed, whichever arms share it.

    Attributes:
      name: in study.json.
      folder: of its runs, below the study's own.
      config: of its runs, but for the seed and the weights to start from.
      start: the stage that it goes on from, or weights; None: random ones.
      title: in tables.
    """

    name: str
    folder: str
    config: Config
    start: Stage | str | None
    title: str

    def job(self, model_dir: str, seed: int) -> Job:
        """Returns the run of a seed.

        Args:
          model_dir: of the study.
          seed: of the run.
        """
        start = self.start
        if isinstance(start, Stage):
            start = os.path.join(model_dir, start.folder, f"seed_{seed}")
        config = self.config.replace(seed=seed, checkpoint=start)
        return Job(f"{self.folder}/seed_{seed}", "pretraining", config, self.name, seed=seed)


@dataclasses.dataclass(frozen=True)
class Arm:
    """One way to get the encoder that is used.

    Attributes:
      name: in tables.
      folder: in the names of folders.
      checkpoint: the weights to start from, or the folder of one pretraining a seed; None: random.
      data: what it was pretrained on, as the paper's "Pretraining Dataset".
      of_seeds: whether `checkpoint` is the folder of one pretraining a seed.
      recipe: of its fine-tuning; None: the study's.
      all_labels_only: whether it leaves out the label fractions below 1.
    """

    name: str
    folder: str
    checkpoint: str | None
    data: str
    of_seeds: bool = False
    recipe: Config | None = None
    all_labels_only: bool = False

    def start(self, seed: int) -> str | None:
        """Returns the weights that the runs of a seed start from."""
        if self.checkpoint is None or not self.of_seeds:
            return self.checkpoint
        return os.path.join(self.checkpoint, f"seed_{seed}")

    def pretraining(self, seed: int) -> str:
        """Returns what tells the pretraining of a seed from others; from random, each is its own."""
        return self.checkpoint if self.checkpoint and not self.of_seeds else f"seed {seed}"


@dataclasses.dataclass(frozen=True)
class Job:
    """One run of a study.

    Attributes:
      folder: below the study's own.
      kind: "pretraining", "sweep" (a point of a grid), or its use, one of `USES`. A probe trains no
        encoder: all probes of an arm and a seed share one pass over the images.
      config: of the run.
      arm: folder of the arm; of a pretraining the name of its stage.
      use: one of `USES`; "" of a pretraining.
      fraction: of the labels.
      seed: of the pretraining and of all that starts from it.
      subset: of the labels.
    """

    folder: str
    kind: str
    config: Config
    arm: str
    use: str = ""
    fraction: float = 1.0
    seed: int = 0
    subset: int = 0


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


@dataclasses.dataclass(frozen=True)
class Plan:
    """A study: what it compares, and with which configurations.

    Attributes:
      config: of the study's own command.
      recipes: {"simclr" | "micle" | "finetune": configuration}, or of an arms file {"finetune": ...}.
      stages: of pretraining, each after the one that it goes on from.
      arms: the baseline first.
      uses: of each arm, in the order of `USES`.
      seeds: of pretraining, and of what starts from it.
      fractions: of the labels, ascending.
      searched: the fractions at which grids are searched, ascending.
      comparisons: {"question", "a", "b"} with names of arms; None: `study_compare.questions`.
      layout: tables, figures and left-out arms of an arms file, see `arms_file`; None without one.
    """

    config: Config
    recipes: dict[str, Config]
    stages: list[Stage]
    arms: list[Arm]
    uses: list[str]
    seeds: list[int]
    fractions: list[float]
    searched: list[float]
    comparisons: list[dict] | None = None
    layout: dict | None = None

    @property
    def tuning(self) -> Config:
        """The fine-tuning recipe with the grids of the study."""
        return self.tuning_of(None)

    def tuning_of(self, arm: Arm | None) -> Config:
        """Returns the fine-tuning recipe of an arm with the grids of the study."""
        grid = {name: self.config.to_dict()[name] for name in sweep.GRIDS}
        recipe = arm.recipe if arm else None
        return (recipe or self.recipes["finetune"]).replace(**grid)

    @property
    def has_grid(self) -> bool:
        """Whether there is anything to choose: more than one point."""
        return len(sweep.points(self.tuning)) > 1

    @property
    def keeps_weights(self) -> bool:
        """Whether checkpoints stay that nothing will start from."""
        return self.config.experiment.study_keep_weights == "all"

    def num_subsets(self, fraction: float) -> int:
        """Returns how many subsets of the labels a fraction has.

        All labels are one subset; with an arms file they are fine-tuned as often all the same, each
        time with another seed.
        """
        once = fraction == 1 and self.layout is None
        return 1 if once else self.config.experiment.label_subsets

    def arm_of(self, job: Job) -> Arm:
        """Returns the arm of a run that is no pretraining."""
        return next(arm for arm in self.arms if arm.folder == job.arm)

    def fractions_of(self, arm: Arm) -> list[float]:
        """Returns the label fractions of an arm, ascending."""
        return [f for f in self.fractions if f == 1 or not arm.all_labels_only]


def make(config: Config, recipes: dict[str, Config], model_dir: str) -> Plan:
    """Returns the plan of a study.

    Args:
      config: of the study's own command.
      recipes: configurations of the three kinds of runs, by `RECIPES`.
      model_dir: of the study.

    Raises:
      UserError: a mistake in `--uses`, the fractions or the grids.
    """
    return dataclasses.replace(
        without_arms(config, recipes),
        stages=_stages(config, recipes),
        arms=arms(config, recipes, model_dir),
    )


def without_arms(config: Config, recipes: dict[str, Config]) -> Plan:
    """Returns the plan of a study, without stages and arms.

    Args:
      config: of the study's own command.
      recipes: at least {"finetune": configuration}.

    Raises:
      UserError: a mistake in `--uses`, the fractions or the grids.
    """
    experiment, first = config.experiment, recipes["finetune"].run.seed
    plan = Plan(
        config,
        recipes,
        stages=[],
        arms=[],
        uses=uses(experiment.uses),
        seeds=list(range(first, first + experiment.repeats)),
        fractions=_fractions("label_fractions", experiment.label_fractions),
        searched=_fractions("sweep_label_fraction", experiment.sweep_label_fraction),
    )
    sweep.points(plan.tuning)
    return plan


def uses(text: str) -> list[str]:
    """Returns the values of `--uses`, in the order of `USES`.

    Raises:
      UserError: none, or one that does not exist.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in USES]
    if unknown or not names:
        raise UserError(
            f"--uses={text}: {f'{unknown[0]!r} is not a use' if unknown else 'none is given'}. Give one "
            f"or several of {','.join(USES)}."
        )
    return [use for use in USES if use in names]


def _fractions(flag: str, text: str) -> list[float]:
    return sorted(grids.numbers(flag, text, "label_fraction"))


def arms(config: Config, recipes: dict[str, Config], model_dir: str) -> list[Arm]:
    """Returns the arms, the baseline first; with `--checkpoint` also those weights as they are.

    Args:
      config: of the study's own command.
      recipes: configurations of the three kinds of runs, by `RECIPES`.
      model_dir: of the study.
    """
    checkpoint = config.run.checkpoint
    start = "given weights" if checkpoint else ""
    first, second = (str(recipes[name].data.dataset) for name in ("simclr", "micle"))
    both = first if first == second else f"{first}, {second}"
    one, both = (f"{start} → {data}" if checkpoint else data for data in (first, both))

    def pretrained(stage):
        return os.path.join(model_dir, f"pretrain_{stage}")

    return [
        Arm(BASELINE, "scratch", None, "none"),
        *([Arm("given weights", "given", checkpoint, start)] if checkpoint else []),
        Arm(SIMCLR, "simclr", pretrained("simclr"), one, of_seeds=True),
        Arm(CONTROL, "control", pretrained("control"), both, of_seeds=True),
        Arm(MICLE, "micle", pretrained("micle"), both, of_seeds=True),
    ]


def jobs(plan: Plan, model_dir: str) -> list[Job]:
    """Returns every run of a study, in the order in which they are made.

    Where a grid is to be searched, fine-tunings have its first point and its largest `--train_steps`.

    Args:
      plan: of the study.
      model_dir: of the study.
    """
    values = {arm.folder: _costliest(sweep.points(plan.tuning_of(arm))) for arm in plan.arms}
    return [
        *(job for seed in plan.seeds for job in pretrainings(plan, model_dir, seed)),
        *(job for job in runs_of_uses(plan) if job.use == "probe"),
        *(
            dataclasses.replace(job, folder=os.path.join(job.folder, name), config=point)
            for job in searches(plan)
            for name, point in sweep.points(job.config).items()
        ),
        *(
            dataclasses.replace(job, config=job.config.replace(**values[job.arm]))
            for job in runs_of_uses(plan)
            if job.use != "probe"
        ),
    ]


def _costliest(points: dict[str, Config]) -> dict:
    """Returns the hyperparameters of a grid's first point, with the largest number of steps."""
    longest = max(point.train.train_steps for point in points.values())
    return {**first_point(points), "train_steps": longest}


def first_point(points: dict[str, Config]) -> dict:
    """Returns the hyperparameters of a grid's first point."""
    first = next(iter(points.values())).to_dict()
    return {name: first[name] for name in sweep.CHOSEN}


def pretrainings(plan: Plan, model_dir: str, seed: int) -> list[Job]:
    """Returns the stages of one seed, each after the one that it goes on from."""
    return [stage.job(model_dir, seed) for stage in plan.stages]


def _stages(config: Config, recipes: dict[str, Config]) -> list[Stage]:
    """Returns SimCLR, then MICLe and the control, which both start from it.

    The control draws bags as MICLe does, and one image of each: the two see the same bags in the same
    batches, for as many steps at the same learning rates, and differ in the pair alone.
    """
    first, second = (of_pretraining(recipes[name]) for name in ("simclr", "micle"))
    simclr = Stage(
        *("simclr", "pretrain_simclr", first.replace(micle=False), config.run.checkpoint, SIMCLR)
    )
    by_case = second.replace(micle=False, simclr_unit="bag")
    by_pair = second.replace(micle=True, simclr_unit="image")
    return [
        simclr,
        Stage("control", "pretrain_control", by_case, simclr, CONTROL),
        Stage("micle", "pretrain_micle", by_pair, simclr, MICLE),
    ]


def of_pretraining(recipe: Config) -> Config:
    """Returns a recipe that is evaluated at its last step, where fine-tuning starts from."""
    all_labels = {"label_fraction": 1.0, "label_seed": None}
    return recipe.replace(train_mode="pretrain", selection_split=None, eval_name=None, **all_labels)


def searches(plan: Plan) -> list[Job]:
    """Returns the grid searches: of each arm, each use that trains, and each fraction of `searched`.

    Each is made with the first seed and its first subset of the labels; `sweep.points` of its
    configuration are its runs. [] where there is nothing to choose.
    """
    if not plan.has_grid:
        return []
    planned = []
    for arm in plan.arms:
        for use in plan.uses:
            for fraction in plan.searched if use != "probe" else ():
                folder = f"sweep/{use}/{arm.folder}/fraction_{grids.name(fraction)}"
                config = _of_use(plan, arm, use, fraction, plan.seeds[0], 0)
                planned.append(
                    Job(folder, "sweep", config, arm.folder, use, fraction, plan.seeds[0])
                )
    return planned


def searched_for(plan: Plan, fraction: float) -> float:
    """Returns the searched fraction whose hyperparameters a fraction uses: the nearest by ratio."""
    return min(plan.searched, key=lambda searched: abs(math.log(searched / fraction)))


def runs_of_uses(plan: Plan) -> list[Job]:
    """Returns the runs of all arms, with the hyperparameters of the recipe.

    All arms and uses take turns at each seed, fraction and subset, so that a study stopped early has a
    bit of each.
    """
    planned = []
    for seed in plan.seeds:
        for fraction in plan.fractions:
            for subset in range(plan.num_subsets(fraction)):
                of_labels = f"fraction_{grids.name(fraction)}"
                has_subsets = fraction < 1 or plan.num_subsets(fraction) > 1
                of_labels += f"/subset_{subset}" * has_subsets + f"/seed_{seed}"
                for use in plan.uses:
                    planned += [
                        Job(
                            f"{use}/{arm.folder}/{of_labels}",
                            use,
                            _of_use(plan, arm, use, fraction, seed, subset),
                            *(arm.folder, use, fraction, seed, subset),
                        )
                        for arm in plan.arms
                        if fraction in plan.fractions_of(arm)
                        and not _is_a_copy(plan, arm, use, fraction, seed, subset)
                    ]
    return planned


def _is_a_copy(plan: Plan, arm: Arm, use: str, fraction: float, seed: int, subset: int) -> bool:
    """Returns whether a probe is that of another seed or repeat: of the same encoder, on all labels."""
    same_encoder = arm.checkpoint is not None and not arm.of_seeds
    again = subset > 0 or (same_encoder and seed != plan.seeds[0])
    return use == "probe" and fraction == 1 and again


def _of_use(plan: Plan, arm: Arm, use: str, fraction: float, seed: int, subset: int) -> Config:
    """Returns the configuration of a run, before the choice of its hyperparameters."""
    recipe = plan.tuning_of(arm)
    overrides: dict = {"init_head": recipe.train.init_head}
    if use == "probe_finetune":
        overrides = {"init_head": "probe", "zero_init_logits_layer": False}
    elif recipe.train.init_head == "probe":
        overrides = {"init_head": "random"}
    if not plan.keeps_weights:
        overrides["keep_hub_module_max"] = 0
    return recipe.replace(
        train_mode="finetune",
        micle=False,
        checkpoint=arm.start(seed),
        seed=seed + _LABEL_SEEDS * subset if fraction == 1 else seed,
        eval_name=None,
        label_fraction=fraction,
        label_seed=seed + _LABEL_SEEDS * subset if fraction < 1 else None,
        **overrides,
    )


def elsewhere(config: Config, tuned: Config) -> Config:
    """Returns the configuration that evaluates a run on `--shift_dataset`.

    Args:
      config: of the study.
      tuned: of the run.
    """
    experiment = config.experiment
    return tuned.replace(
        dataset=experiment.shift_dataset,
        manual_dir=experiment.shift_manual_dir,
        eval_split=experiment.shift_split,
        eval_name="shift",
        keep_hub_module_max=0,
    )


def shift_builder(config: Config, tuned: Config, builders: Builders):
    """Returns the builder of `--shift_dataset`.

    Args:
      config: of the study.
      tuned: of a run, whose other flags of the data hold.
      builders: of the datasets.
    """
    experiment = config.experiment
    return builders(
        tuned.replace(dataset=experiment.shift_dataset, manual_dir=experiment.shift_manual_dir)
    )


def architecture(config: Config) -> str:
    """Returns "ResNet-50 (1x)", "BiT ResNet-50 (3x)" or "Keras ResNet-50 (1x)"."""
    model = config.model
    family = {"resnet": "", "bit": "BiT ", "keras_resnet": "Keras "}[model.encoder]
    extras = (", selective kernels" * (model.sk_ratio > 0)) + (", SE" * (model.se_ratio > 0))
    return f"{family}ResNet-{model.resnet_depth} ({model.width_multiplier}x{extras})"
