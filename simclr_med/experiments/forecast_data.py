"""What the data say of runs that have not been made: their steps, their images, fits of their probes."""

from __future__ import annotations

import contextlib
import io
import time

import numpy as np

from simclr_med.build import open_bags
from simclr_med.config import Config
from simclr_med.data import cases as data_cases
from simclr_med.data.labels import LabelReading
from simclr_med.evaluation.probes import linear_probe
from simclr_med.experiments.forecast_jobs import Job
from simclr_med.run_folder import data_json
from simclr_med.training.plan import make_plan

_FITTED = 256  # cases at most that a probe is fitted to here


class Lengths:
    """Steps of runs; those whose epochs are fixed have their data looked at, once for equal ones.

    Args:
      num_replicas: R.
    """

    def __init__(self, num_replicas: int):
        self._num_replicas = num_replicas
        self._known: dict[tuple, int] = {}

    def steps(self, job: Job) -> int:
        """Returns the number of steps of a whole run."""
        if job.config.train.train_steps:
            return job.config.train.train_steps
        key_config = job.config.replace(
            checkpoint=None, learning_rate=1.0, weight_decay=0.0, eval_name=None, keep_head=False
        )
        key = (data_json.name_of(job.builder), *key_config.to_dict().items())
        if key not in self._known:
            with contextlib.redirect_stdout(io.StringIO()):  # its notes are the run's to print
                plan = make_plan(key_config, job.builder, self._num_replicas)
            self._known[key] = plan.total_steps
        return self._known[key]


class Cases:
    """The cases of splits, each split read once."""

    def __init__(self) -> None:
        self._read: dict[tuple, data_cases.Cases] = {}

    def of(self, config: Config, builder, split: str) -> data_cases.Cases:
        """Returns the cases of a split, read as the configuration says.

        Args:
          config: which labels and images are read.
          builder: of the prepared dataset.
          split: of it.
        """
        key = data_json.name_of(builder), split, LabelReading.of(config.data)
        if key not in self._read:
            self._read[key] = data_cases.read_cases(open_bags(config, builder, split), 0)
        return self._read[key]

    def seen(self, config: Config, builder, split: str | None) -> int:
        """Returns how many images of a split are encoded, at most --max_bag_size of a case.

        Args:
          config, builder: as in `of`.
          split: of the dataset; None: no image.
        """
        if not split:
            return 0
        counts = self.of(config, builder, split).num_images
        return int(np.minimum(counts, config.data.max_bag_size).sum())


class Fits:
    """The time of a probe's fit, measured on random features when it is first needed.

    Their variances fall as 1 / k^2, k = 1 ... d, in random directions: on these the solver took as long
    as on features of the demo's encoder (33 s each, 716 cases, d = 512, two busy cores); on white
    noise a tenth of that.

    Args:
      cases: of splits.
    """

    def __init__(self, cases: Cases):
        self._cases = cases
        self._per_case: dict[tuple, float] = {}

    def seconds(self, job: Job, num_features: int) -> float:
        """Returns the seconds of a fit to the labelled training cases of a run; 0 without labels.

        Args:
          job: the run.
          num_features: d, of the encoder.
        """
        data = job.config.data
        read = self._cases.of(job.config, job.builder, data.train_split)
        labelled = np.flatnonzero(read.labelled)
        if not len(labelled):
            return 0.0
        key = data_json.name_of(job.builder), data.train_split, num_features
        if key not in self._per_case:
            sample = np.random.default_rng(0).permutation(labelled)[:_FITTED]
            self._per_case[key] = _time_of_fit(read, sample, num_features) / len(sample)
        return self._per_case[key] * len(labelled) * data.label_fraction


def _time_of_fit(read: data_cases.Cases, sample: np.ndarray, num_features: int) -> float:
    """Returns the seconds of a linear probe of random features with the labels of some cases, [n]."""
    rng = np.random.default_rng(0)
    directions = np.linalg.qr(rng.standard_normal((num_features, num_features)))[0]
    scales = 1 / np.arange(1, num_features + 1)
    features = rng.standard_normal((len(sample), num_features)) * scales @ directions
    labels, patients = read.labels[sample], read.patients[sample]
    start = time.monotonic()
    num_classes = labels.shape[1] if labels.ndim == 2 else int(labels.max()) + 1
    linear_probe.fit_predict_proba(features, labels, patients, features[:1], num_classes, 0)
    return time.monotonic() - start
