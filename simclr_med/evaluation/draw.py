"""What an evaluation draws: embedding.png, report.html, and the selection in curves.png."""

from __future__ import annotations

import functools
import os

import numpy as np

from simclr_med import run_folder
from simclr_med.config import Config
from simclr_med.evaluation import activation
from simclr_med.evaluation.features import case_pictures
from simclr_med.evaluation.measure import Measured
from simclr_med.evaluation.report import embedding, html, near_duplicates, strips
from simclr_med.metrics.text import TITLES, encoder_title
from simclr_med.run_folder import curves, data_json, gfile

_SIDE = 96  # px, of a case's picture
_NO_TRAINING = "what was evaluated was trained on other data, or its training data is unknown"


def save_embedding(path: str, measured: Measured) -> None:
    """Writes embedding.png, the map of the evaluated cases.

    Args:
      path: of the PNG.
      measured: with the features of each encoder.
    """
    titled = {
        f"encoder: {encoder_title(measured.result, encoder)}": value
        for encoder, value in measured.features.items()
    }
    embedding.save(
        path,
        titled,
        measured.cases.labels,
        measured.class_names,
        measured.result["eval_split"],
        functools.partial(case_pictures, measured.bags, size=_SIDE),
    )


def save_curves(config: Config, path: str, measured: Measured) -> None:
    """Writes curves.png again, with the metric that chose the checkpoint.

    Args:
      config: of the run.
      path: of the PNG, in the folder of the run.
      measured: whose result says how the checkpoint was chosen.
    """
    model_dir = os.path.dirname(path)
    title = curves.title(config.method, model_dir)
    guess = data_json.read(model_dir).get("constant_guess")
    curves.save(path, run_folder.read_metrics(model_dir), title, guess, _selection(measured))


def _selection(measured: Measured) -> dict:
    """Returns how the checkpoint was chosen, its metric by its title."""
    selection = measured.result["selection"]
    return {**selection, "metric": TITLES.get(selection.get("metric"), selection.get("metric"))}


def save_report(
    config: Config,
    path: str,
    measured: Measured,
    label_efficiency: list[dict] | None,
    drawn: dict[str, str],
) -> dict[str, str]:
    """Writes the page; returns what `html.save` returns.

    Args:
      config: of the run.
      path: of the page, in the folder of the run.
      measured: the evaluation.
      label_efficiency: see `html.View`.
      drawn: {"views" | "embedding": path of the PNG}, those that exist.
    """
    scores, features = measured.predictions.get("predictions"), measured.features.get("trained")
    strip_cases = strips.choose_cases(measured.cases, scores, features)
    alike, shown = _alike(measured, features)
    shown |= {*strip_cases.pictures}
    maps, no_maps = {}, activation.why_not(config.run.train_mode, measured.models.get("trained"))
    if scores is not None and not no_maps:
        maps = _activation_maps(config, measured, scores, [*strip_cases.errors, *strip_cases.hits])
    model_dir = os.path.dirname(path)
    view = html.View(
        cases=measured.cases,
        scores=scores,
        class_names=measured.class_names,
        features=features,
        pictures=case_pictures(measured.bags, shown, _SIDE),
        maps=maps,
        no_maps=no_maps,
        config=config.to_dict(),
        label_efficiency=label_efficiency,
        identifiers=config.eval.keep_identifiers,
        **alike,
        curves=curves.panels(
            run_folder.read_metrics(model_dir),
            data_json.read(model_dir).get("constant_guess"),
            _selection(measured),
        ),
        drawings={
            name: gfile.read(drawn[name]) for name in ("views", "embedding") if name in drawn
        },
    )
    return html.save(path, measured.result, view)


def _alike(measured: Measured, features: np.ndarray | None) -> tuple[dict, set[int]]:
    """Returns ({field of `html.View`: near-duplicates, ...}, the evaluated cases among them)."""
    if features is None:
        return {}, set()
    patients, training = measured.cases.patients, measured.training
    duplicates = near_duplicates.find(features, patients)
    fields: dict = {"near_duplicates": duplicates, "no_training": _NO_TRAINING}
    shown = {*duplicates.pairs.ravel().tolist()}
    if training is not None:
        pairs = near_duplicates.find_in_training(features, patients, training)
        shown |= {*pairs.pairs[:, 0].tolist()}
        pictures = case_pictures(training.bags, {*pairs.pairs[:, 1].tolist()}, _SIDE)
        fields |= {"near_training": pairs, "training_ids": training.ids}
        fields |= {"training_pictures": pictures}
    return fields, shown


def _activation_maps(
    config: Config, measured: Measured, scores: np.ndarray, cases: list[int]
) -> dict[int, tuple[str, np.ndarray]]:
    """Returns {case: (the class of its highest score, that class's activation map)}."""
    if not cases:
        return {}
    size, antialias = config.augment.image_size, config.augment.is_antialiased
    pictures = case_pictures(measured.bags, set(map(int, cases)), size, antialias)
    numbers = sorted(pictures)
    classes = scores[numbers].argmax(axis=1)
    images = np.stack([pictures[i] for i in numbers]).astype(np.float32) / 255
    class_maps = activation.maps(measured.models["trained"], images, classes)
    return {i: (measured.class_names[c], m) for i, c, m in zip(numbers, classes, class_maps)}
