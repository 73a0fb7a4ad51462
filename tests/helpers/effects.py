"""What a configuration shows: of a run, of its evaluation, or of the calls that the command makes.

Loop, data, step, evaluation and command are the real ones. Cheap is what they work on: an encoder that
is hardly more than a stem, without a graph of the step, and batches that are drawn once for all runs
that have them in common.
"""

import contextlib
import functools
import io
import json
import logging
import os
import pathlib
import re

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from helpers import cxr_twins, encoders
from helpers.command_line import flags_of
from helpers.folders import draw_cases
from helpers.slurm import SLURM
from simclr_med import build, data, distribution, export, losses
from simclr_med.commands import dry_run
from simclr_med.commands import train as train_command
from simclr_med.commands.main import main
from simclr_med.commands.recipes import of_study
from simclr_med.config import Config
from simclr_med.data.cases import Cases
from simclr_med.errors import UserError
from simclr_med.evaluation import draw, embed, evaluate, features, foreign_features
from simclr_med.evaluation.compare_runs import compare_runs
from simclr_med.evaluation.report import results
from simclr_med.experiments import arms_file, folds, label_efficiency, repeats, study_plan, sweep
from simclr_med.export import command
from simclr_med.keras_api import keras
from simclr_med.metrics import predictions
from simclr_med.training import loop, plan, train
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


REMOTE = {"model_dir": "gs://bucket/run", "data_dir": "gs://bucket/data"}
# flag: (what is looked at, its other value, what else is set in both runs)
CHANGES = {
    "mode": ("command", "train_then_eval", {}),
    "train_mode": ("training", "finetune", {"micle": False}),
    "model_dir": ("command", "elsewhere", {}),
    "checkpoint": ("training", "CHECKPOINT", {}),
    "keep_head": ("training", True, {**FINETUNE, "checkpoint": "CHECKPOINT"}),
    "seed": ("model", 1, {}),
    "checkpoint_epochs": ("training", 2, {"checkpoint_steps": 0, "train_steps": 3}),
    "checkpoint_steps": ("training", 2, {}),
    "keep_checkpoint_max": ("training", 1, {}),
    "keep_hub_module_max": ("evaluation", 2, FINETUNE),
    "dry_run": ("command", True, {}),
    "quiet": ("terminal", True, {}),
    "verbose": ("terminal", True, {}),
    "dataset": ("command", "derm_bags/demo", {}),
    "manual_dir": ("command", "PHOTOS2", {}),
    "data_dir": ("command", "elsewhere", {}),
    "train_split": ("training", "validation", {}),
    "eval_split": ("evaluation", "more", FINETUNE),
    "selection_split": ("evaluation", "more", FINETUNE),
    "label_fraction": ("training", 0.4, FINETUNE),
    "cache_dataset": ("training", True, {}),
    "shuffle_buffer": ("training", 2, {}),
    "on_bad_image": ("command", "skip", {}),
    "build_long_side": ("command", 20, {}),
    "top_conditions": ("command", 2, {}),
    "bag_regex": ("preparation", "(.)", {}),
    "image_root": ("preparation", "elsewhere", {}),
    "follow_links": ("preparation", True, {}),
    "dicom_frame": ("preparation", "middle", {}),
    "on_missing_image": ("preparation", "skip", {}),
    "on_label_conflict": ("preparation", "latest", {}),
    "missing_labels": ("preparation", "none", {}),
    "beam_runner": ("preparation", "DirectRunner", {}),
    "beam_options": ("preparation", "--direct_num_workers=2", {}),
    "label_set": ("bags", "chexpert5", {}),
    "uncertain_policy": ("bags", "ones", {}),
    "blank_policy": ("bags", "ignore", {}),
    "projection": ("bags", "frontal", {}),
    "bag_by": ("bags", "patient", {}),
    "keep_metadata": ("command", "none", {}),
    "max_bag_size": ("training", 1, FINETUNE),
    "label_seed": ("training", 1, {**FINETUNE, "label_fraction": 0.4}),
    "split_column": ("preparation", "fold", {}),
    "label_columns": ("preparation", "edema,effusion", {}),
    "image_size": ("model", 20, {}),
    "antialias": ("training", "false", {}),
    "color_jitter_strength": ("training", 0.5, {}),
    "grayscale_probability": ("training", 1.0, {}),
    "use_blur": ("training", False, {}),
    "rotation_degrees": ("training", 45.0, {}),
    "crop_min_area": ("training", 0.5, {}),
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
    "same_patient_negatives": ("training", "keep", {"micle": False, "train_batch_size": 12}),
    "nt_xent_chunk": ("training", 3, {}),
    "micro_batch": ("training", 2, {}),
    "lineareval_while_pretraining": ("training", False, {}),
    "zero_init_logits_layer": ("model", True, {}),
    "fine_tune_after_block": ("model", 1, FINETUNE),
    "class_weights": ("training", "balanced", {**FINETUNE, "train_split": "validation"}),
    "soft_labels": ("training", False, FINETUNE),
    "train_batch_size": ("training", 3, {}),
    "train_epochs": ("training", 2, {"train_steps": 0, "train_epochs": 1}),
    "train_steps": ("training", 1, {}),
    "init_head": ("model", "zero", FINETUNE),
    "simclr_unit": ("training", "bag", {"micle": False}),
    "multi_image_repeats": ("training", 2, {}),
    "optimizer": ("training", "adam", {}),
    "learning_rate": ("training", 0.1, {}),
    "learning_rate_scaling": ("training", "sqrt", {}),
    "warmup_epochs": ("training", 1.0, {}),
    "weight_decay": ("training", 0.1, {}),
    "momentum": ("training", 0.5, {}),
    "layer_decay": ("training", 0.5, {**FINETUNE, "optimizer": "momentum"}),
    "eval_steps": ("evaluation", 1, {**FINETUNE, "eval_batch_size": 2}),
    "eval_batch_size": ("evaluation", 2, FINETUNE),
    "features_dir": ("passes", "ELSEWHERE", FINETUNE),
    "eval_name": ("evaluation", "again", FINETUNE),
    "allow_patient_overlap": ("evaluation", True, {**FINETUNE, "eval_split": "train"}),
    "selection_metric": ("evaluation", "top_1", {**FINETUNE, "selection_split": "more"}),
    "ordinal": ("evaluation", True, {**FINETUNE, "class_order": "label0,label1,label2"}),
    "class_order": ("evaluation", "label1,label0,label2", {**FINETUNE, "ordinal": True}),
    "positive_class": ("evaluation", "label1", FINETUNE),
    "bootstrap_resamples": ("comparison", 500, FINETUNE),
    "export_formats": ("export", "keras", {"export_formats": "saved_model"}),
    "embed_unit": ("embedding", "image", FINETUNE),
    "subgroups": ("evaluation", "none", FINETUNE),
    "min_subgroup": ("evaluation", 1, FINETUNE),
    "keep_identifiers": ("report", True, FINETUNE),
    "images": ("prediction", "IMAGES", FINETUNE),
    "output_dir": ("prediction", "ELSEWHERE", FINETUNE),
    "per_image": ("prediction", True, FINETUNE),
    "repeats": ("plan", 3, {}),
    "folds": ("plan", 3, {"folds": 2}),
    "runs": ("plan", "PREDICTIONS", {}),
    "features": ("features", "FEATURES", {}),
    "label_fractions": ("plan", "0.1,1", {}),
    "sweep_learning_rates": ("plan", "0.1", {}),
    "sweep_weight_decays": ("plan", "0", {}),
    "simclr_recipe": ("plan", "RECIPE", {}),
    "micle_recipe": ("plan", "RECIPE", {}),
    "finetune_recipe": ("plan", "RECIPE", {}),
    "arms": ("plan", "ARMS", {}),
    "weights_dir": ("plan", "elsewhere", {"arms": "ARMS"}),
    "shift_dataset": ("plan", "derm_bags/demo_shift", {}),
    "shift_manual_dir": ("plan", "elsewhere", {}),
    "shift_split": ("plan", "validation", {}),
    "sweep_train_steps": ("plan", "1,2", {}),
    "sweep_flags": ("plan", "temperature=0.2,0.3", {}),
    "uses": ("plan", "probe", {}),
    "label_subsets": ("plan", 2, {}),
    "sweep_label_fraction": ("plan", "0.1,1", {}),
    "study_keep_weights": ("plan", "all", {}),
    "use_tpu": ("machine", False, {}),
    "tpu_name": ("machine", "pod", REMOTE),
    "tpu_zone": ("machine", "zone", {}),
    "gcp_project": ("machine", "project", {}),
    "master": ("machine", "grpc://there", REMOTE),
    "cpu_replicas": ("machine", 2, {}),
    "num_workers": ("machine", 4, {}),
    "mixed_precision": ("machine", True, {}),
    "jit_compile": ("training", True, {}),
    "deterministic": ("machine", False, {}),
}


def draw_photos(folder, seed=0):
    """Writes 16 cases of 1 to 9 noisy images in three classes, and returns the folder.

    Those of the third have a differential.
    """
    return draw_cases(
        folder,
        {"train": 9, "validation": 4, "more": 3},
        classes=["label0", "label1", "\"{'label2': 0.6, 'label0': 0.4}\""],
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

    def of_a_change(self, name):
        """Returns what is seen of the two configurations of CHANGES that differ in a flag alone."""
        how, value, context = CHANGES[name]
        if value == "PHOTOS2":
            value = str(draw_photos(self.root / "photos2", seed=1))
        elif value == "FEATURES":
            np.savez(self.root / "f.npz", case_id=["a"], embeddings=[[1.0]])
            value = f"x:{self.root / 'f.npz'}"
        elif value == "IMAGES":
            value = str(self.root / "photos" / "1_*.png")
        elif value == "ELSEWHERE":
            value = str(self.root / "elsewhere")
        elif value == "PREDICTIONS":
            (self.root / "a.csv").write_text("case_id\n")
            value = f"{self.root / 'a.csv'},{self.root / 'a.csv'}"
        elif value == "RECIPE":
            value = self.write_recipe()
        elif "ARMS" in (value, context.get("arms")):
            path = self.write_arms()
            value = path if value == "ARMS" else value
            context = {**context, "arms": path} if "arms" in context else context
        elif "CHECKPOINT" in (value, context.get("checkpoint")):
            path = self.train(BASE.replace(seed=7))
            value = path if value == "CHECKPOINT" else value
            context = {**context, "checkpoint": path} if "checkpoint" in context else context
        config = BASE.replace(**context)
        return self.see(how, config), self.see(how, config.replace(**{name: value}))

    def write_recipe(self):
        """Returns the path of a flag file."""
        (self.root / "recipe.flags").write_text("--train_steps=77\n")
        return str(self.root / "recipe.flags")

    def write_arms(self):
        """Returns the path of an arms file: an arm from nothing, one from weights that are not there."""
        (self.root / "arms.toml").write_text(
            f'finetune = "{self.write_recipe()}"\n[encoders.a]\ntitle = "A"\n[arms.first]\n'
            'encoder = "a"\n[arms.second]\nencoder = "a"\nstart = "w"\n[weights.w]\ntitle = "W"\n'
            'method = "M"\n[weights.w.path]\na = "a.npz"\n'
        )
        return str(self.root / "arms.toml")

    def of_the_same(self, how):
        """Returns what is seen of a configuration twice."""
        config = (
            TUNED if how in ("evaluation", "passes", "embedding", "prediction", "report") else BASE
        )
        return self.see(how, config), getattr(self, f"see_{how}")(config)

    @contextlib.contextmanager
    def _cheap(self):
        """Runs of a stem, eagerly: to trace a step takes longer than a few of them."""
        with pytest.MonkeyPatch.context() as patch:
            encoders.shorten(patch, blocks=())
            patch.setattr(plan, "open_bags", self._open_bags)
            patch.setattr(plan, "training_batches", self._training_batches)
            patch.setattr(train.curves, "save", lambda *args: None)
            patch.setattr(loop.views, "save", lambda *args: tf.zeros([1, 1, 3], tf.uint8))
            tf.config.run_functions_eagerly(True)
            try:
                yield patch
            finally:
                tf.config.run_functions_eagerly(False)

    def _open_bags(self, config, builder, split, **also):
        """Returns the bags that were opened before, whose batches may be known."""
        key = config.data, split, *also.items()
        if key not in self._bags:
            self._bags[key] = build.open_bags(config, builder, split, **also)
        return self._bags[key]

    def _training_batches(self, bags, **options):
        """Returns the first of the real batches, from memory if they were drawn before."""
        views = options["sample_images"]
        if hasattr(views, "func"):  # a partial of it, which is equal to no other
            views = views.func, *sorted(views.keywords.items())
        key = id(bags), *sorted({**options, "sample_images": views}.items())
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
        sizes, exported = [], []

        def spy(bags, **options):
            sizes.append(options["batch_size"])
            return data.evaluation_batches(bags, **options)

        with pytest.MonkeyPatch.context() as patch:
            encoders.shorten(patch, blocks=())
            patch.setattr(features, "evaluation_batches", spy)
            patch.setattr(export, "save", lambda *args: exported.append(args[-1]) or "saved")
            try:
                result = evaluate.evaluate(
                    config, self.builder, self.finished, self.strategy, pictures=False
                )
                del result["provenance"]  # when, and how long
            except UserError as error:
                result = str(error)
        new = {}
        for name in set(os.listdir(self.finished)) - before:
            path = os.path.join(self.finished, name)
            with open(path, "rb") as file:
                new[name] = file.read()
            if name.startswith("result"):
                new[name] = {k: v for k, v in json.loads(new[name]).items() if k != "provenance"}
            os.remove(path)
        return json.dumps(result, default=str), json.dumps(new, default=str), sizes, exported

    def see_passes(self, config):
        """In how many batch sizes, one for each pass, two evaluations see images."""
        return [self.see_evaluation(config)[2] for _ in range(2)]

    def see_comparison(self, config):
        """compare.json of two drawn models on 40 patients."""
        rng = np.random.default_rng(0)
        truth, ids = rng.integers(0, 2, 40), np.arange(40).astype(str)
        cases = Cases(ids, ids, truth, np.ones(40, int))
        paths = []
        for name in ("a", "b"):
            paths.append(self.root / "comparison" / f"{name}.csv")
            paths[-1].parent.mkdir(exist_ok=True)
            scores = rng.dirichlet(np.ones(2), 40)
            paths[-1].write_text(results.predictions_csv(cases, scores, ("x", "y")))
        out = self.root / "comparison"
        compare_runs(config.replace(runs=",".join(map(str, paths)), model_dir=str(out)))
        comparison = json.loads((out / "compare.json").read_text())[0]
        return {name: row["p"] for name, row in comparison["metrics"].items()}

    def see_report(self, config):
        """The page of an evaluation, without the time when it was written."""
        with pytest.MonkeyPatch.context() as patch:
            encoders.shorten(patch, blocks=())
            patch.setattr(
                draw.embedding, "save", lambda path, *args: Image.new("RGB", (8, 8)).save(path)
            )
            patch.setattr(export, "save", lambda *args: "saved")
            result = evaluate.evaluate(config, self.builder, self.finished, self.strategy)
        with open(result["files"]["report"], encoding="utf-8") as file:
            return re.sub(r"written [^<]*UTC", "", file.read())

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

    def see_prediction(self, config):
        """Which files a prediction writes, where, and what the tables hold."""
        options = config.predict
        folder = pathlib.Path(options.output_dir or self.finished)
        argv = ["run.py", "--mode=predict", f"--model_dir={self.finished}"]
        argv += (
            [f"--images={options.images}"]
            if options.images
            else [f"--manual_dir={self.root}/photos"]
        )
        argv += [f"--output_dir={folder}"] if options.output_dir else []
        with pytest.MonkeyPatch.context() as patch:
            encoders.shorten(patch, blocks=())
            assert main([*argv, *["--per_image"] * options.per_image]) == 0
        tables = {str(path): path.read_text() for path in folder.glob("predictions_new*")}
        for path in tables:
            os.remove(path)
        return {path: text for path, text in tables.items() if path.endswith(".csv")}

    def see_features(self, config):
        """Which features a comparison reads."""
        return [
            foreign_features.read(name, paths).name
            for name, paths in foreign_features.named(config.experiment.features)
        ]

    def see_command(self, config):
        """What run.py prepares, and which of training and evaluation it calls, where."""
        calls = []

        def note(name):
            def called(config, builder, model_dir="", *rest):
                calls.append((name, model_dir))
                return {"classification": {}}

            return called

        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.root)  # a relative --data_dir is made where the command runs
            patch.setattr(Builder, "download_and_prepare", lambda b, **_: calls.append(b.data_path))
            patch.setattr(build, "set_up", lambda c: self.strategy)
            patch.setattr(train, "train", note("train"))
            patch.setattr(evaluate, "check_splits", lambda c, builder: None)
            patch.setattr(evaluate, "evaluate", note("evaluate"))
            patch.setattr(dry_run, "run", lambda invocation: calls.append("dry run") or 0)
            assert main(self._argv(config)) == 0
        return calls

    def see_terminal(self, config):
        """What a command prints, and from which level on TensorFlow logs."""
        out, logger = io.StringIO(), logging.getLogger("tensorflow")
        before = logger.level
        with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out):
            patch.setattr(train_command, "run", lambda invocation: print("step 1 of 2") or 0)
            assert main(self._argv(config)) == 0
            level = logger.level
        logger.setLevel(before)
        return out.getvalue(), level

    def _argv(self, config):
        """Returns the command line of a configuration, of the photos here if it names no others."""
        if config.data.manual_dir is None and config.data.dataset == "derm_bags":
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
                recipes[name] = of_study(given)[name].train.train_steps
        if config.experiment.arms:
            of_file = of_study({"arms": config.experiment.arms})
            plan = arms_file.plan(config, of_file, "S")
            return {"arms": [arm.name for arm in plan.arms], "left_out": plan.layout["left_out"]}
        config = config.replace(**FINETUNE)
        shifted = study_plan.elsewhere(config, config).data
        plan = study_plan.make(config, dict.fromkeys(study_plan.RECIPES, config), "S")
        planned = [*study_plan.runs_of_uses(plan), *study_plan.searches(plan)]
        return {
            "study": [job.folder for job in planned],
            "keeps_weights": plan.keeps_weights,
            "repeats": list(repeats.make_configs(config, config.experiment.repeats)),
            "folds": list(folds.make_configs(config)),
            "fractions": list(label_efficiency.make_configs(config)),
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
