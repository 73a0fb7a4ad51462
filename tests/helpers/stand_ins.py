"""Training and evaluation that cost nothing, for tests of what many runs are made of."""

import json
import os

import numpy as np
import tensorflow as tf

from simclr_med import build, run_folder
from simclr_med.build import chosen_cases, open_bags
from simclr_med.checkpoints.weights import input_range
from simclr_med.data.cases import read_cases
from simclr_med.evaluation.report.results import predictions_csv
from simclr_med.experiments import probe_runs, repeats, runs, study_report
from simclr_med.run_folder import data_json


def toy_weights(value):
    """What `open_weights` takes for a checkpoint of simclr_med."""
    model = tf.Module()
    model.encoder = tf.Module()
    model.encoder.stem = tf.Variable(value)
    return tf.train.Checkpoint(model=model)


class StandIns:
    """Training and evaluation that cost nothing; `trained` and `evaluated` say what was called.

    `score(config)` is the macro-AUC of a run evaluated on `config.data.eval_split`. `before` is
    called when a run begins to train, and may raise.
    """

    def __init__(self, monkeypatch):
        self.trained, self.evaluated = [], []
        self.score = lambda config: 0.5
        self.before = lambda config: None
        monkeypatch.setattr(runs.train, "train", self._train)
        monkeypatch.setattr(runs.evaluate, "evaluate", self._evaluate)
        monkeypatch.setattr(runs, "forget_models", lambda: None)
        monkeypatch.setattr(repeats, "_evaluate_together", lambda *args: None)  # nothing is scored

    def _train(self, config, builder, model_dir, strategy, invocation, start_head=None):
        self.trained.append(os.path.basename(model_dir))
        config = input_range.resolve(config, model_dir)  # as train.train does
        identity = (model_dir, config, data_json.name_of(builder), ("a", "b"))
        run_folder.check_same_run(*identity)
        run_folder.write_config(*identity, data_order=3, num_streams=1)
        self.before(config)
        weights = toy_weights(config.run.seed + len(config.method) / 10)
        tf.train.CheckpointManager(weights, model_dir, 5).save(config.train.train_steps)

    def _evaluate(
        self, config, builder, model_dir, strategy, pictures=True, label_efficiency=None, **how
    ):
        # Only where it is part of the choice may an evaluation be on the split that chooses.
        judges = config.data.eval_split == config.data.selection_split
        assert how.get("to_choose", False) == judges, config.data
        name = config.eval.eval_name
        self.evaluated.append((os.path.basename(model_dir), config.data.eval_split))
        suffix = f"_{name}" if name else ""
        predictions = os.path.join(model_dir, f"predictions{suffix}.csv")
        run_folder.write_atomically(predictions, f"{config.data.eval_split}\n")
        if pictures:
            report = os.path.join(model_dir, f"report{suffix}.html")
            run_folder.write_atomically(report, json.dumps(label_efficiency))
        value = self.score(config)
        row = {"cases": 6, "macro_auc": value, "macro_auc_95": [value, value]}
        row |= {"top_1": value / 2, "top_1_95": [0.0, 1.0]}
        result = {
            "global_step": 2,
            "dataset": data_json.name_of(builder),
            "eval_split": config.data.eval_split,
            "contrastive": {},
            "classification": {"supervised head": {"trained": row}},
            "files": {"predictions": predictions},
        }
        run_folder.write_json(os.path.join(model_dir, f"result{suffix}.json"), result)
        return result


class Killed(BaseException):
    """Stands for the end of the process: none of simclr_med's handlers may catch it."""


class StudyStandIns(StandIns):
    """Stand-ins of a study: runs that predict, with noise of their own.

    `strength(use, config)` is how far apart the scores of two classes are, in standard deviations, of a
    run of `use` ("pretrain" of a pretraining) evaluated on `config.data.eval_split`. `selected(use,
    config)` is the selection metric of its checkpoint. `featured` says whose features were computed.
    """

    def __init__(self, monkeypatch):
        super().__init__(monkeypatch)
        self.strength = lambda use, config: 1.0
        self.selected = lambda use, config: 0.5
        self.featured, self.reports, self._read = [], [], {}
        monkeypatch.setattr(probe_runs, "_encoder", self._encoder)
        monkeypatch.setattr(probe_runs, "case_features", self._features)
        monkeypatch.setattr(probe_runs.linear_probe, "fit_predict_proba", _nearest_mean)
        for module in (build, probe_runs):
            monkeypatch.setattr(module, "read_cases", self._read_cases)
        monkeypatch.setattr(
            study_report, "save", lambda folder, content: self.reports.append(content)
        )

    def _train(self, config, builder, model_dir, strategy, invocation, start_head=None):
        super()._train(config, builder, model_dir, strategy, invocation)
        cases = self._cases(config, builder, config.data.train_split)
        facts = {"class_names": ["label0", "label1"], "several_labels": False}
        facts["bags"] = int(chosen_cases(config, cases).sum())
        run_folder.write_json(os.path.join(model_dir, data_json.FILE), facts)

    def _evaluate(self, config, builder, model_dir, strategy, **how):
        result = super()._evaluate(
            config, builder, model_dir, strategy, **{"pictures": False, **how}
        )
        use = "pretrain"
        if config.run.train_mode == "finetune":
            use = "probe_finetune" if config.train.init_head == "probe" else "finetune"
        cases = self._cases(config, builder, config.data.eval_split)
        apart = cases.labels[:, None] == np.arange(2)
        noise = _noise(use, config, apart.shape)
        scores = np.exp(self.strength(use, config) * apart + noise)
        table = predictions_csv(cases, scores / scores.sum(1, keepdims=True), ("label0", "label1"))
        run_folder.write_atomically(result["files"]["predictions"], table)
        if use != "pretrain":
            value = self.selected(use, config)
            result["selection"] = {"value_of_step": {str(result["global_step"]): value}}
        path = os.path.join(model_dir, f"result{config.eval.suffix}.json")
        run_folder.write_json(path, result)
        return result

    def _cases(self, config, builder, split):
        return self._read_cases(open_bags(config, builder, split), 0)

    def _read_cases(self, bags, max_cases):
        """Returns the cases of a split, read once: they differ in their number here."""
        if bags.num_bags not in self._read:
            self._read[bags.num_bags] = read_cases(bags, max_cases)
        return self._read[bags.num_bags]

    def _encoder(self, config, builder, train, strategy):
        self.featured.append(config.run.checkpoint)
        return config, {}

    def _features(self, config, strategy, models, bags, max_cases):
        cases = self._read_cases(bags, 0)
        apart = (cases.labels[:, None] - 0.5) * np.ones(3)
        strength = self.strength("probe", config)
        noise = _noise(cases.ids[0], config, apart.shape)
        return {"": (strength * apart + noise).astype(np.float32)}


def _nearest_mean(train_x, train_y, train_patients, test_x, num_classes, seed, fitted):
    """In the place of a logistic regression: how near the means of the classes are."""
    means = np.stack([train_x[train_y == c].mean(axis=0) for c in range(num_classes)])
    near = np.exp(-np.linalg.norm(test_x[:, None] - means, axis=2))
    return near / near.sum(axis=1, keepdims=True)


def _noise(name, config, shape):
    """Standard normal, the same for the same start, seed, labels and name."""
    start = config.run.checkpoint or ""
    parts = start.split(os.sep)[-2:]  # wherever the study is
    text = repr((name, parts, config.run.seed, config.data.label_seed, config.data.label_fraction))
    return np.random.default_rng(list(text.encode())).normal(size=shape)
