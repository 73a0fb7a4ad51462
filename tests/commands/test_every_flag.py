"""Each flag, changed alone, changes something that a run shows: no knob without an effect.

The loop, the evaluation and the command are the real ones; only the encoder is tiny (one block), so
that a run takes a second. What is compared: weights, metrics and files of a training run, results
and files of an evaluation, or the calls that the command makes.
"""

import json
import os

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from helpers import cxr_twins
from helpers.slurm import SLURM
from simclr_med import build, data, distribution, export, losses
from simclr_med.commands import flags
from simclr_med.commands.main import main
from simclr_med.config import FIELDS, Config
from simclr_med.evaluation import embed, evaluate, features
from simclr_med.experiments import label_efficiency, repeats, study_plan, sweep
from simclr_med.export import command
from simclr_med.keras_api import keras
from simclr_med.metrics import predictions
from simclr_med.models import bit, resnet
from simclr_med.training import train
from tfds_builders import chexpert_studies, prepare
from tfds_builders.derm_bags import Builder, folder_config
from tfds_builders.errors import DataError

BASE = Config().replace(
    dataset="derm_bags",
    resnet_depth=18,
    image_size=34,  # above 32 px: the ordinary stem
    train_batch_size=4,
    train_steps=3,
    checkpoint_steps=1,
    warmup_epochs=0.0,
    weight_decay=1e-3,
    eval_batch_size=4,
    keep_hub_module_max=0,
    micle=True,
    proj_out_dim=8,
    bootstrap_resamples=200,
)


def draw_folder(folder, seed):
    """Writes 16 cases of 1 to 9 noisy images in three classes, and returns the folder."""
    rng = np.random.default_rng(seed)
    rows = ["case_id,image_path,label,split,sex"]
    folder.mkdir(parents=True)
    for case in range(16):
        split = "train" if case < 9 else "validation" if case < 13 else "more"
        for image in range(9 if case == 12 else 1 + case % 3):
            pixels = rng.integers(0, 256, (40, 48, 3), np.uint8)
            pixels[..., case % 3] |= 128
            Image.fromarray(pixels).save(folder / f"{case}_{image}.png")
            sex = "female" if case % 2 else "male"
            rows.append(f"c{case},{case}_{image}.png,label{case % 3},{split},{sex}")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """The folder of images, the prepared dataset, a strategy, and encoders of one block."""
    root = tmp_path_factory.mktemp("world")
    photos = draw_folder(root / "photos", seed=0)
    builder = Builder(config=folder_config(photos), data_dir=root / "tfds")
    builder.download_and_prepare()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(resnet.BLOCKS_PER_GROUP, 18, (1,))
        patch.setitem(resnet.BLOCKS_PER_GROUP, 34, (2,))
        patch.setitem(resnet.BLOCKS_PER_GROUP, 50, (1,))
        patch.setitem(bit.UNITS_PER_GROUP, 50, (1,))
        yield World(root, builder)


class World:
    """Where runs happen; `see_*` methods return what a configuration shows, as something to compare.

    What was seen once is remembered: most flags are compared with the same base.
    """

    def __init__(self, root, builder):
        self.root, self.builder = root, builder
        self.strategy = distribution.make_strategy()
        self._seen = {}
        self._runs = 0

    def see(self, how, config):
        if (how, config) not in self._seen:
            self._seen[how, config] = getattr(self, f"see_{how}")(config)
        return self._seen[how, config]

    def train(self, config):
        """Returns the folder of a new run."""
        self._runs += 1
        model_dir = str(self.root / f"run{self._runs}")
        train.train(config, self.builder, model_dir, self.strategy, {})
        return model_dir

    def see_training(self, config):
        """Metrics, checkpoint files, every number in the last checkpoint, and what was cached."""
        cached = []

        def spy(*args, **options):
            cached.append(options["cache"])
            return data.training_batches(*args, **options)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(train, "training_batches", spy)
            model_dir = self.train(config)
        with open(os.path.join(model_dir, "metrics.jsonl")) as file:
            metrics = file.read()
        files = sorted(name for name in os.listdir(model_dir) if name.startswith("ckpt"))
        reader = tf.train.load_checkpoint(model_dir)
        weights = {
            key: np.asarray(reader.get_tensor(key)).tobytes()
            for key in sorted(reader.get_variable_to_shape_map())
            if key != "_CHECKPOINTABLE_OBJECT_GRAPH"
        }
        return metrics, files, weights, cached

    def see_model(self, config):
        """Initial weights, which of them train, a training pass, and how its BatchNorms and blocks are
        computed."""
        model = build.make_model(config, 3)
        initial = [v.numpy().tobytes() for v in model.variables]
        trained = [v.shape for v in model.trainable_variables]
        images = np.linspace(0, 1, 2 * 34 * 34 * 3, dtype=np.float32).reshape(2, 34, 34, 3) ** 2
        outputs = {k: v.numpy().tobytes() for k, v in model(images, training=True).items()}
        statistics = [v.numpy().tobytes() for v in model.non_trainable_variables]
        norms = [m for m in model.submodules if isinstance(m, keras.layers.BatchNormalization)]
        synchronized = [norm.synchronized for norm in norms]
        return initial, trained, outputs, statistics, synchronized, model.encoder.remat

    def see_evaluation(self, config):
        """Result, new files, sizes of batches and models to keep, of evaluating a finished run."""
        if not hasattr(self, "_finished"):
            self._finished = self.train(BASE)
        before = set(os.listdir(self._finished))
        sizes, kept = [], []

        def spy(bags, **options):
            sizes.append(options["batch_size"])
            return data.evaluation_batches(bags, **options)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(features, "evaluation_batches", spy)
            patch.setattr(export, "save", lambda *args: kept.append(args[-1]) or "saved")
            result = evaluate.evaluate(config, self.builder, self._finished, self.strategy)
        new = {}
        for name in set(os.listdir(self._finished)) - before:
            path = os.path.join(self._finished, name)
            with open(path, "rb") as file:
                new[name] = file.read() if not name.endswith(".html") else ""  # it has the time
            os.remove(path)
        return json.dumps(result, default=str), new, sizes, kept

    def see_outside(self, config):
        """Which files an export makes, and how many embeddings there are."""
        if not hasattr(self, "_finished"):
            self._finished = self.train(BASE)
        folder = command.export(config, self._finished, of_run=True)
        paths = embed.embed(config, self.builder, self._finished, self.strategy, of_run=True)
        with np.load(paths[1]) as stored:
            return sorted(os.listdir(folder)), len(stored["embeddings"])

    def see_fine_tuning(self, config):
        """Metrics of fine-tuning, what its evaluation found, and its predictions."""
        config = config.replace(train_mode="finetune", micle=False)
        model_dir = self.train(config)
        result = evaluate.evaluate(config, self.builder, model_dir, self.strategy, pictures=False)
        found = {k: v for k, v in result.items() if k not in ("files", "selection")}
        chosen = {k: v for k, v in result["selection"].items() if k != "checkpoint"}
        with open(os.path.join(model_dir, "metrics.jsonl")) as file:
            return file.read(), json.dumps(found, default=str), chosen

    def see_command(self, config):
        """What run.py prepares, and which of training and evaluation it calls, where."""
        calls = []

        def note(name):
            return lambda c, builder, model_dir="", *rest: calls.append((name, model_dir))

        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.root)  # a relative --data_dir is made where the command runs
            patch.setattr(Builder, "download_and_prepare", lambda b, **_: calls.append(b.data_path))
            patch.setattr(build, "set_up", lambda c: self.strategy)
            patch.setattr(train, "train", note("train"))
            patch.setattr(evaluate, "check_splits", lambda c, builder: None)
            patch.setattr(evaluate, "evaluate", note("evaluate"))
            assert main(["run.py", *self._argv(config)]) == 0
        return calls

    def _argv(self, config):
        """Returns the command line of a configuration."""
        default = Config().to_dict()
        given = {name: v for name, v in config.to_dict().items() if v != default[name]}
        given.setdefault("manual_dir", self.root / "photos")
        return [f"--{name}={value}" for name, value in given.items()]

    def see_preparation(self, config):
        """What run.py asks of the builders."""
        calls = []

        def spy(name, **options):
            calls.append((name, options))
            raise DataError("Seen enough.")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(prepare, "prepare", spy)
            assert main(["run.py", *self._argv(config)]) == 2
        return calls

    def see_bags(self, config):
        """The bags of a chest X-ray dataset: ids, numbers of images, labels."""
        if not hasattr(self, "_chexpert"):
            cxr_twins.draw_chexpert(self.root / "cxr", num_patients=20, seed=0, size=16)
            folder = chexpert_studies.folder_config(str(self.root / "cxr"))
            self._chexpert = chexpert_studies.Builder(config=folder, data_dir=self.root / "tfds")
            self._chexpert.download_and_prepare()
        bags = build.open_bags(config, self._chexpert, "train")
        return [
            (bag["bag_id"], len(bag["images"]), bag["label"].tobytes())
            for bag in bags.dataset.as_numpy_iterator()
        ]

    def see_plan(self, config):
        """The runs that experiments are made of, and what a comparison reads."""
        recipes = {}
        for name in study_plan.RECIPES:
            path = config.to_dict()[f"{name}_recipe"]
            if path:
                given = {f"{other}_recipe": path for other in study_plan.RECIPES}
                recipes[name] = flags.study_recipes(given)[name].train.train_steps
        config = config.replace(train_mode="finetune", micle=False)
        shifted = study_plan.elsewhere(config, config).data
        return {
            "repeats": list(repeats.jobs(config, config.experiment.repeats)),
            "fractions": list(label_efficiency.jobs(config)),
            "grid": list(sweep.points(config.replace(selection_split="more"))),
            "recipes": recipes,
            "shift": (shifted.dataset, shifted.manual_dir, shifted.eval_split),
            "compared": [
                predictions.runs_of(run) for run in config.experiment.runs.split(",") if run
            ],
        }

    def see_machine(self, config):
        """What is asked of TensorFlow before anything else."""
        calls = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                distribution,
                "make_strategy",
                lambda **options: calls.append(sorted(options.items())) or self.strategy,
            )
            patch.setattr(
                tf.config.experimental,
                "enable_op_determinism",
                lambda: calls.append("deterministic"),
            )
            patch.setattr(
                keras.mixed_precision, "set_global_policy", lambda policy: calls.append(policy)
            )
            for name, value in SLURM.items():
                patch.setenv(name, value)
            patch.setenv("TF_CONFIG", "")  # set meanwhile, for TensorFlow
            build.set_up(config)
        return calls

    def see_loss(self, config):
        """How many rows of logits the contrastive loss is to hold; its value says nothing."""
        asked, in_chunks = [], losses.nt_xent_in_chunks

        def spy(*args, **options):
            asked.append(options["chunk"])
            return in_chunks(*args, **options)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(losses, "nt_xent_in_chunks", spy)
            self.train(config)
        return asked

    def see_compilation(self, config):
        """How many functions were handed to XLA: on the CPU the augmentation, and the step."""
        asked, function = [], tf.function

        def spy(*args, **options):
            asked.append(options.pop("jit_compile", False))  # noted; compiling takes long
            return function(*args, **options)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(train.tf, "function", spy)
            self.train(config)
        return sum(map(bool, asked))


REMOTE = {"model_dir": "gs://bucket/run", "data_dir": "gs://bucket/data"}
# flag: (what is looked at, its other value, what else is set in both runs)
CHANGES = {
    "mode": ("command", "train_then_eval", {}),
    "train_mode": ("training", "finetune", {"micle": False}),
    "model_dir": ("command", "elsewhere", {}),
    "checkpoint": ("training", "CHECKPOINT", {}),
    "seed": ("model", 1, {}),
    "checkpoint_epochs": ("training", 2, {"checkpoint_steps": 0, "train_steps": 5}),
    "checkpoint_steps": ("training", 3, {}),
    "keep_checkpoint_max": ("training", 1, {}),
    "keep_hub_module_max": ("evaluation", 2, {}),
    "dataset": ("command", "derm_bags/demo", {}),
    "manual_dir": ("command", "PHOTOS2", {}),
    "data_dir": ("command", "elsewhere", {}),
    "train_split": ("training", "validation", {}),
    "eval_split": ("evaluation", "more", {}),
    "selection_split": ("fine_tuning", "more", {}),
    "label_fraction": ("fine_tuning", 0.4, {}),
    "cache_dataset": ("training", True, {}),
    "shuffle_buffer": ("training", 2, {}),
    "on_bad_image": ("command", "skip", {}),
    "build_long_side": ("command", 20, {}),
    "top_conditions": ("command", 2, {}),
    "bag_regex": ("preparation", "(.)", {}),
    "beam_runner": ("preparation", "DirectRunner", {}),
    "beam_options": ("preparation", "--direct_num_workers=2", {}),
    "label_set": ("bags", "chexpert5", {}),
    "uncertain_policy": ("bags", "ones", {}),
    "blank_policy": ("bags", "ignore", {}),
    "views": ("bags", "frontal", {}),
    "bag_by": ("bags", "patient", {}),
    "max_bag_size": ("fine_tuning", 1, {}),
    "image_size": ("model", 20, {}),
    "color_jitter_strength": ("training", 0.5, {}),
    "grayscale_probability": ("training", 1.0, {}),
    "use_blur": ("training", False, {}),
    "rotation_degrees": ("training", 45.0, {}),
    "encoder": ("model", "bit", {"resnet_depth": 50}),
    "resnet_depth": ("model", 34, {}),
    "width_multiplier": ("model", 2, {}),
    "sk_ratio": ("model", 0.0625, {}),
    "se_ratio": ("model", 0.25, {}),
    "input_range": ("model", "symmetric", {}),
    "remat": ("model", True, {}),
    "batch_norm_decay": ("model", 0.5, {}),
    "global_bn": ("model", False, {}),
    "proj_head_mode": ("model", "linear", {}),
    "proj_out_dim": ("model", 4, {}),
    "num_proj_layers": ("model", 2, {}),
    "ft_proj_selector": ("model", 1, {}),
    "micle": ("training", False, {}),
    "temperature": ("training", 0.5, {}),
    "hidden_norm": ("training", False, {}),
    "nt_xent_chunk": ("loss", 3, {}),
    "micro_batch": ("training", 2, {}),
    "lineareval_while_pretraining": ("training", False, {}),
    "zero_init_logits_layer": ("model", True, {}),
    "fine_tune_after_block": ("model", 1, {"train_mode": "finetune", "micle": False}),
    "class_weights": ("fine_tuning", "balanced", {"train_split": "validation"}),
    "train_batch_size": ("training", 3, {}),
    "train_epochs": ("training", 2, {"train_steps": 0, "train_epochs": 1}),
    "train_steps": ("training", 2, {}),
    "optimizer": ("training", "adam", {}),
    "learning_rate": ("training", 0.1, {}),
    "learning_rate_scaling": ("training", "sqrt", {}),
    "warmup_epochs": ("training", 1.0, {}),
    "weight_decay": ("training", 0.1, {}),
    "momentum": ("training", 0.5, {}),
    "eval_steps": ("evaluation", 1, {"eval_batch_size": 2}),
    "eval_batch_size": ("evaluation", 2, {}),
    "eval_name": ("evaluation", "again", {}),
    "selection_metric": ("fine_tuning", "top_1", {"selection_split": "more"}),
    "bootstrap_resamples": ("fine_tuning", 500, {}),
    "export_formats": ("outside", "keras", {"export_formats": "saved_model"}),
    "embed_unit": ("outside", "image", {"export_formats": "keras"}),
    "subgroups": ("fine_tuning", "none", {}),
    "repeats": ("plan", 3, {}),
    "runs": ("plan", "PREDICTIONS", {}),
    "label_fractions": ("plan", "0.1,1", {}),
    "sweep_learning_rates": ("plan", "0.1", {}),
    "sweep_weight_decays": ("plan", "0", {}),
    "simclr_recipe": ("plan", "RECIPE", {}),
    "micle_recipe": ("plan", "RECIPE", {}),
    "finetune_recipe": ("plan", "RECIPE", {}),
    "shift_dataset": ("plan", "derm_bags/demo_shift", {}),
    "shift_manual_dir": ("plan", "elsewhere", {}),
    "shift_split": ("plan", "validation", {}),
    "use_tpu": ("machine", False, {}),
    "tpu_name": ("machine", "pod", REMOTE),
    "tpu_zone": ("machine", "zone", {}),
    "gcp_project": ("machine", "project", {}),
    "master": ("machine", "grpc://there", REMOTE),
    "cpu_replicas": ("machine", 2, {}),
    "num_workers": ("machine", 4, {}),
    "mixed_precision": ("machine", True, {}),
    "jit_compile": ("compilation", True, {"deterministic": False}),
    "deterministic": ("machine", False, {}),
}


def test_every_flag_is_tried():
    assert list(CHANGES) == list(FIELDS)


@pytest.mark.parametrize(
    "how", ["training", "model", "evaluation", "command", "preparation", "bags", "machine"]
)
def test_the_same_configuration_shows_the_same(world, how):
    assert world.see(how, BASE) == getattr(world, f"see_{how}")(BASE)


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_flag_changes_what_a_run_shows(world, name):
    how, value, context = CHANGES[name]
    if value == "PHOTOS2":
        value = str(draw_folder(world.root / "photos2", seed=1))
    elif value == "PREDICTIONS":
        (world.root / "a.csv").write_text("case_id\n")
        value = f"{world.root / 'a.csv'},{world.root / 'a.csv'}"
    elif value == "RECIPE":
        (world.root / "recipe.flags").write_text("--train_steps=77\n")
        value = str(world.root / "recipe.flags")
    elif value == "CHECKPOINT":
        value = world.train(BASE.replace(seed=7))
    config = BASE.replace(**context)
    assert world.see(how, config) != world.see(how, config.replace(**{name: value}))
