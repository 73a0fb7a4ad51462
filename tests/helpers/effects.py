"""What a configuration shows: of a run, of its evaluation, or of the calls that the command makes.

Loop, data, step, evaluation and command are the real ones. Cheap is what they work on: an encoder that
is hardly more than a stem, without a graph of the step, and batches that are drawn once for all runs
that have them in common.
"""

import contextlib
import functools
import json
import os

import numpy as np
import pytest
import tensorflow as tf

from helpers import cxr_twins, encoders
from helpers.command_line import flags_of
from helpers.folders import draw_cases
from helpers.slurm import SLURM
from simclr_med import build, data, distribution, export, losses
from simclr_med.commands import flags
from simclr_med.commands.main import main
from simclr_med.config import Config
from simclr_med.evaluation import embed, evaluate, features
from simclr_med.experiments import label_efficiency, repeats, study_plan, sweep
from simclr_med.export import command
from simclr_med.keras_api import keras
from simclr_med.metrics import predictions
from simclr_med.training import plan, train
from tfds_builders import chexpert_studies, prepare
from tfds_builders.derm_bags import Builder, folder_config
from tfds_builders.errors import DataError

BASE = Config().replace(
    dataset="derm_bags",
    resnet_depth=18,
    image_size=34,  # above 32 px: the ordinary stem
    train_batch_size=4,
    train_steps=2,
    checkpoint_steps=1,
    warmup_epochs=0.0,
    weight_decay=1e-3,
    eval_batch_size=4,
    keep_hub_module_max=0,
    micle=True,
    proj_out_dim=8,
    bootstrap_resamples=200,
)
FINETUNE = {"train_mode": "finetune", "micle": False}
TUNED = BASE.replace(**FINETUNE)
_MAX_STEPS = 5  # of a run


def draw_photos(folder, seed=0):
    """Writes 16 cases of 1 to 9 noisy images in three classes, and returns the folder."""
    return draw_cases(
        folder,
        {"train": 9, "validation": 4, "more": 3},
        classes=3,
        images=lambda case: 9 if case == 12 else 1 + case % 3,
        seed=seed,
        columns={"sex": lambda case: "female" if case % 2 else "male"},
    )


class Effects:
    """Where runs happen; `see_*` methods return what a configuration shows, as something to compare.

    What was seen once is remembered: most flags are compared with the same base.
    """

    def __init__(self, root):
        self.root = root
        photos = draw_photos(root / "photos")
        self.builder = Builder(config=folder_config(photos), data_dir=root / "tfds")
        self.builder.download_and_prepare()
        self.strategy = distribution.make_strategy()
        self._seen, self._bags, self._batches = {}, {}, {}
        self._runs = 0

    def see(self, how, config):
        """Returns what a configuration shows there, from memory if it was seen before."""
        if (how, config) not in self._seen:
            self._seen[how, config] = getattr(self, f"see_{how}")(config)
        return self._seen[how, config]

    @contextlib.contextmanager
    def _cheap(self):
        """Runs of a stem, eagerly: to trace a step takes longer than a few of them."""
        with pytest.MonkeyPatch.context() as patch:
            encoders.shorten(patch, blocks=())
            patch.setattr(plan, "open_bags", self._open_bags)
            patch.setattr(plan, "training_batches", self._training_batches)
            patch.setattr(train.curves, "save", lambda path, rows: None)
            patch.setattr(train.views, "save", lambda *args: tf.zeros([1, 1, 3], tf.uint8))
            tf.config.run_functions_eagerly(True)
            try:
                yield patch
            finally:
                tf.config.run_functions_eagerly(False)

    def _open_bags(self, config, builder, split):
        """Returns the bags that were opened before, whose batches may be known."""
        key = config.data, split
        if key not in self._bags:
            self._bags[key] = build.open_bags(config, builder, split)
        return self._bags[key]

    def _training_batches(self, bags, **options):
        """Returns the first of the real batches, from memory if they were drawn before."""
        views = options["draw_views"]
        if hasattr(views, "func"):  # a partial of it, which is equal to no other
            views = views.func, *sorted(views.keywords.items())
        key = id(bags), *sorted({**options, "draw_views": views}.items())
        if key not in self._batches:
            first = data.training_batches(bags, **options).take(_MAX_STEPS)
            stacked = tf.nest.map_structure(lambda *x: tf.stack(x), *first)
            # `bags` is kept, so that no other gets its id.
            self._batches[key] = tf.data.Dataset.from_tensor_slices(stacked), bags
        return self._batches[key][0]

    def train(self, config):
        """Returns the folder of a new run."""
        self._runs += 1
        model_dir = str(self.root / f"run{self._runs}")
        with self._cheap():
            train.train(config, self.builder, model_dir, self.strategy, {})
        return model_dir

    @functools.cached_property
    def finished(self):
        """The folder of a finished fine-tuning."""
        return self.train(TUNED)

    def see_training(self, config):
        """Metrics, checkpoint files, every number in the last checkpoint, and what shows in none of
        these: what was cached, how many rows of logits the contrastive loss is to hold at once, how
        many functions were handed to XLA (on the CPU: augmentation and step)."""
        cached, chunks, compiled = [], [], []
        batches, in_chunks, function = self._training_batches, losses.nt_xent_in_chunks, tf.function

        def spy_batches(*args, **options):
            cached.append(options["cache"])
            return batches(*args, **options)

        def spy_loss(*args, **options):
            chunks.append(options["chunk"])
            return in_chunks(*args, **options)

        def spy_function(*args, **options):
            compiled.append(options.pop("jit_compile", False))  # noted; compiling takes long
            return function(*args, **options)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(self, "_training_batches", spy_batches)
            patch.setattr(losses, "nt_xent_in_chunks", spy_loss)
            patch.setattr(train.tf, "function", spy_function)
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
        return metrics, files, weights, cached, chunks, sum(map(bool, compiled))

    def see_model(self, config):
        """Initial weights, which of them train, a training pass, and how its BatchNorms and blocks are
        computed."""
        with pytest.MonkeyPatch.context() as patch:
            encoders.shorten(patch, resnet34=(2,))
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
        """Result, new files, sizes of batches and models to keep, of evaluating a fine-tuning."""
        before = set(os.listdir(self.finished))
        sizes, kept = [], []

        def spy(bags, **options):
            sizes.append(options["batch_size"])
            return data.evaluation_batches(bags, **options)

        with pytest.MonkeyPatch.context() as patch:
            encoders.shorten(patch, blocks=())
            patch.setattr(features, "evaluation_batches", spy)
            patch.setattr(export, "save", lambda *args: kept.append(args[-1]) or "saved")
            result = evaluate.evaluate(
                config, self.builder, self.finished, self.strategy, pictures=False
            )
        new = {}
        for name in set(os.listdir(self.finished)) - before:
            path = os.path.join(self.finished, name)
            with open(path, "rb") as file:
                new[name] = file.read()
            os.remove(path)
        return json.dumps(result, default=str), new, sizes, kept

    def see_export(self, config):
        """Which files an export of a pretraining makes."""
        if not hasattr(self, "_pretrained"):
            self._pretrained = self.train(BASE)
        with pytest.MonkeyPatch.context() as patch:
            encoders.shorten(patch, blocks=())
            folder = command.export(config, self._pretrained, of_run=True)
        return sorted(os.listdir(folder))

    def see_embedding(self, config):
        """How many embeddings there are."""
        with pytest.MonkeyPatch.context() as patch:
            encoders.shorten(patch, blocks=())
            paths = embed.embed(config, self.builder, self.finished, self.strategy, of_run=True)
        with np.load(paths[1]) as stored:
            return len(stored["embeddings"])

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
            assert main(self._argv(config)) == 0
        return calls

    def _argv(self, config):
        """Returns the command line of a configuration, of the photos here if it names no others."""
        if config.data.manual_dir is None:
            config = config.replace(manual_dir=str(self.root / "photos"))
        return ["run.py", *flags_of(config)]

    def see_preparation(self, config):
        """What run.py asks of the builders."""
        calls = []

        def spy(name, **options):
            calls.append((name, options))
            raise DataError("Seen enough.")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(prepare, "prepare", spy)
            assert main(self._argv(config)) == 2
        return calls

    def see_bags(self, config):
        """The bags of a chest X-ray dataset: ids, numbers of images, labels."""
        if not hasattr(self, "_chexpert"):
            cxr_twins.draw_chexpert(self.root / "cxr", num_patients=12, seed=0, size=16)
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
        config = config.replace(**FINETUNE)
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
