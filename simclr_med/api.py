"""simclr_med in Python: `load` a trained run, and `verify`, `pretrain` and `finetune` a folder of images.

Thin calls of what the command line does, for notebooks and services.
"""

from __future__ import annotations

import io
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from tensorflow.python.framework import config as _tf_config  # no public way to undo determinism

from simclr_med import distribution, signals
from simclr_med.commands import dataset, main
from simclr_med.commands.run_config import config_of_model
from simclr_med.errors import UserError
from simclr_med.evaluation.ensemble import Ensemble, open_ensemble
from simclr_med.evaluation.predict import predict
from simclr_med.evaluation.prediction_table import PredictionTable
from simclr_med.export.network import width
from simclr_med.keras_api import keras
from tfds_builders.new_cases import Loaded, NewCases, in_paths


def load(path: str | os.PathLike | Sequence[str | os.PathLike]) -> TrainedModel:
    """Returns a trained run, or an export of one, to be used on new images.

    Args:
      path: the model_dir of a run, or the folder of an export; several fine-tuned ones are averaged.

    Raises:
      UserError: there is none, or they cannot be averaged.

    >>> model = simclr_med.load(run)
    >>> model.class_names
    ('label0', 'label1')
    >>> model.embed(photos).shape
    (12, 64)
    >>> model.predict(photos)[["case_id", "num_images"]].head(2)
      case_id  num_images
    0      c0           1
    1      c1           2
    """
    folders = [path] if isinstance(path, (str, os.PathLike)) else list(path)
    paths = [os.path.expanduser(os.fspath(p)) for p in folders]
    configs = {p: config_of_model({"mode": "predict"}, p) for p in paths}
    return TrainedModel(open_ensemble(configs, distribution.local_strategy(), or_encoder=True))


class TrainedModel:
    """A trained run, or several fine-tuned ones whose probabilities are averaged.

    Images are given as a folder in any layout that training reads, as paths or a pattern such as
    "new/*.png", or as arrays, uint8 [H, W, 3] or [H, W], or float in [0, 1]. Each path or array is a
    case of its own; {case id: [images]} says which belong together.
    """

    def __init__(self, ensemble: Ensemble):
        self._ensemble = ensemble

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes or labels; () of a pretrained run."""
        return self._ensemble.class_names

    @property
    def image_size(self) -> int:
        """Side of the network's input, px; images of any size are reduced to it."""
        return self._ensemble.config.augment.image_size

    def predict(self, images: Any, *, positive_class: str | None = None) -> pd.DataFrame:
        """Returns a row per case, with the columns of predictions.csv (docs/predict.md).

        Args:
          images: see the class.
          positive_class: adds the verdicts of the thresholds that validation data chose for this class.

        Raises:
          UserError: a pretrained run, an unknown class, or no such images. A file that cannot be read is
            no error: the column `unreadable` names it.
        """
        if not self.class_names:
            raise UserError(
                "A pretrained run tells no classes apart: fine-tune it (simclr_med.finetune), or use "
                "embed."
            )
        table = PredictionTable(self._ensemble, positive_class)
        rows = [
            table.row(case)
            for part in predict(self._ensemble, self._cases(images))
            for case in part
        ]
        return pd.DataFrame(rows, columns=table.columns)

    def embed(self, images: Any) -> pd.DataFrame:
        """Returns a row per case, its embedding: the mean over its images, float32, d columns.

        Rows are named by the case; one without an image that can be read is NaN. Of several runs the
        embeddings are those of the first.

        Args:
          images: see the class.
        """
        cases = [case for part in predict(self._ensemble, self._cases(images)) for case in part]
        features = [case.features for case in cases if case.features is not None]
        d = len(features[0]) if features else width(self._ensemble.members[0].model)
        nothing = np.full(d, np.nan, np.float32)
        rows = [nothing if case.features is None else case.features for case in cases]
        index = pd.Index([case.case_id for case in cases], name="case_id")
        return pd.DataFrame(np.array(rows, np.float32).reshape(len(rows), d), index=index)

    def summary(self) -> str:
        """Returns a description of the model in a few lines; a notebook shows it too."""
        lines = []
        for member in self._ensemble.members:
            config = member.config
            encoder = f"{config.model.encoder} {config.model.resnet_depth}"
            lines.append(
                f"{member.weights}: {encoder} x {config.model.width_multiplier}, images at "
                f"{config.augment.image_size} px, embeddings of {width(member.model):,} numbers"
            )
        what = (
            "labels, of which a case can have several" if self._ensemble.multilabel else "classes"
        )
        names = ", ".join(self.class_names)
        lines.append(
            f"{len(self.class_names)} {what}: {names}" if names else "pretrained: no classes"
        )
        return "\n".join(lines)

    def __repr__(self) -> str:
        return self.summary()

    def _cases(self, images: Any) -> Iterator[Loaded]:
        """Yields the cases of images, read as those of the run's own data were.

        Raises:
          UserError: there are none.
        """
        data = self._ensemble.config.data
        cases = _as_cases(images, data.projection, data.bag_by == "patient")
        if isinstance(cases, NewCases):
            return cases.load(0, data.build_long_side, data.dicom_frame)
        return cases


def verify(folder: str | os.PathLike, **flags: Any) -> bool:
    """Counts and checks a folder of images; returns whether nothing is wrong. See --mode=verify.

    Args:
      folder: with a manifest.csv or in another layout that is known.
      **flags: those of the command line, as bag_regex="([^/]+)/".

    Raises:
      UserError: the folder cannot be read at all.
    """
    return _run({"mode": "verify", "manual_dir": folder, **flags}) == 0


def pretrain(
    folder: str | os.PathLike,
    model_dir: str | os.PathLike,
    *,
    recipe: str = "laptop.flags",
    **flags: Any,
) -> str:
    """Pretrains on a folder of images, or resumes the run in `model_dir`; returns `model_dir`.

    Args:
      folder: of the images; labels are used to evaluate only.
      model_dir: of the run; made if it is missing.
      recipe: flag file, yours or one of those that come along.
      **flags: those of the command line, which win over the recipe: micle=True, train_steps=1000.

    Raises:
      UserError: a mistake in the folder or the flags.
    """
    return _train(recipe, model_dir, {"manual_dir": folder, **flags})


def finetune(
    folder: str | os.PathLike,
    model_dir: str | os.PathLike,
    checkpoint: str | os.PathLike | None,
    *,
    recipe: str = "laptop_finetune.flags",
    **flags: Any,
) -> str:
    """Fine-tunes a pretrained run on the labels of a folder; returns `model_dir`.

    Args:
      folder: of the images, with labels.
      model_dir: of the new run.
      checkpoint: of the pretrained run, its model_dir; None trains from scratch.
      recipe: flag file, yours or one of those that come along.
      **flags: those of the command line, which win over the recipe.

    Raises:
      UserError: a mistake in the folder, the checkpoint or the flags.
    """
    start = {} if checkpoint is None else {"checkpoint": checkpoint}
    return _train(recipe, model_dir, {"manual_dir": folder, **start, **flags})


def _train(recipe: str, model_dir: str | os.PathLike, flags: Mapping[str, Any]) -> str:
    code = _run({"flagfile": recipe, "model_dir": model_dir, **flags})
    if code:  # a signal: everything is saved
        raise KeyboardInterrupt
    return os.fspath(model_dir)


def _run(flags: Mapping[str, Any]) -> int:
    """Runs a command line in this process and returns its exit code; restores the handler of Ctrl-C."""
    argv = ["simclr-med"]
    for name, value in flags.items():
        if isinstance(value, bool):
            argv.append(f"--{name}" if value else f"--no{name}")
        elif value is not None:
            argv.append(f"--{name}={os.fspath(value) if isinstance(value, os.PathLike) else value}")
    handler = signal.getsignal(signal.SIGINT) if signals.in_main_thread() else None
    policy = keras.mixed_precision.global_policy()
    was_deterministic = _tf_config.is_op_determinism_enabled()
    try:
        return main.run(argv)
    finally:
        # A command's process-wide settings must not leak into a notebook that continues with other work.
        keras.mixed_precision.set_global_policy(policy)
        if not was_deterministic:
            _tf_config.disable_op_determinism()
        if handler is not None:
            signal.signal(signal.SIGINT, handler)


def _as_cases(images: Any, projection: str, by_patient: bool) -> NewCases | Iterator[Loaded]:
    """Returns the cases of images as `TrainedModel` takes them."""
    if isinstance(images, (str, os.PathLike)):
        path = os.path.expanduser(os.fspath(images))
        if os.path.isdir(path):
            return dataset.in_a_folder(path, projection=projection, by_patient=by_patient)
        return dataset.in_a_pattern(path)
    if isinstance(images, np.ndarray) and images.ndim in (2, 3):
        images = [images]
    if not isinstance(images, Mapping):
        images = list(images)
        are_paths = all(isinstance(image, (str, os.PathLike)) for image in images)
        images = {os.fspath(p) if are_paths else f"{i}": [p] for i, p in enumerate(images)}
    if not images:
        raise UserError("There are no images.")
    pictures = [picture for case_images in images.values() for picture in case_images]
    if all(isinstance(picture, (str, os.PathLike)) for picture in pictures):
        return in_paths({str(case): list(map(os.fspath, p)) for case, p in images.items()})
    return iter([_of_arrays(str(case), case_images) for case, case_images in images.items()])


def _of_arrays(case: str, pictures: Sequence[np.ndarray]) -> Loaded:
    encoded = tuple(_encoded(np.asarray(picture)) for picture in pictures)
    ids = tuple(f"image {i}" for i in range(len(encoded)))
    return Loaded(case, case, encoded, ids, ((),) * len(encoded), ())


def _encoded(pixels: np.ndarray) -> bytes:
    """Returns an image as PNG; uint8 [H, W, 3] or [H, W], or float in [0, 1]."""
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[-1] not in (1, 3)):
        raise UserError(f"An array of shape {pixels.shape} is no image: give [H, W, 3] or [H, W].")
    if np.issubdtype(pixels.dtype, np.floating):
        if not (pixels.min() >= 0 and pixels.max() <= 1):
            raise UserError(
                f"An image of floats from {pixels.min():g} to {pixels.max():g}: give values from 0 to 1."
            )
        pixels = np.rint(pixels * 255).astype(np.uint8)
    if pixels.dtype != np.uint8:
        raise UserError(f"An image of {pixels.dtype}: give uint8, or floats from 0 to 1.")
    file = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1:] == (1,) else pixels).save(file, "PNG")
    return file.getvalue()
