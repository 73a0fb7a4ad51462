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
_NO_TRAINING = "what was evaluated was trained on other data, or it is not known on what"


def save_embedding(path: str, found: Measured) -> None:
    """Writes the map of the cases."""
    titled = {
        f"encoder: {encoder_title(found.result, which)}": value
        for which, value in found.features.items()
    }
    embedding.save(
        path,
        titled,
        found.cases.labels,
        found.class_names,
        found.result["eval_split"],
        functools.partial(case_pictures, found.bags, size=_SIDE),
    )


def save_curves(config: Config, path: str, found: Measured) -> None:
    """Writes curves.png again, with the metric that chose the checkpoint."""
    model_dir = os.path.dirname(path)
    title = curves.title(config.method, model_dir)
    guess = data_json.read(model_dir).get("constant_guess")
    curves.save(path, run_folder.read_metrics(model_dir), title, guess, _selection(found))


def _selection(found: Measured) -> dict:
    """Returns how the checkpoint was chosen, its metric by its title."""
    said = found.result["selection"]
    return {**said, "metric": TITLES.get(said.get("metric"), said.get("metric"))}


def save_report(
    config: Config,
    path: str,
    found: Measured,
    label_efficiency: list[dict] | None,
    drawn: dict[str, str],
) -> dict[str, str]:
    """Writes the page; returns what `html.save` returns.

    Args:
      config: of the run.
      path: of the page, in the folder of the run.
      found: what was measured.
      label_efficiency: see `html.View`.
      drawn: {"views" | "embedding": path of the PNG}, as far as it is there.
    """
    scores, features = found.predictions.get("predictions"), found.features.get("trained")
    wanted = strips.wanted(found.cases, scores, features)
    alike, shown = _alike(found, features)
    shown |= {*wanted.pictures}
    maps, no_maps = {}, activation.why_not(config.run.train_mode, found.models.get("trained"))
    if scores is not None and not no_maps:
        maps = _activation_maps(config, found, scores, [*wanted.errors, *wanted.hits])
    model_dir = os.path.dirname(path)
    view = html.View(
        cases=found.cases,
        scores=scores,
        class_names=found.class_names,
        features=features,
        pictures=case_pictures(found.bags, shown, _SIDE),
        maps=maps,
        no_maps=no_maps,
        config=config.to_dict(),
        label_efficiency=label_efficiency,
        identifiers=config.eval.keep_identifiers,
        **alike,
        curves=curves.panels(
            run_folder.read_metrics(model_dir),
            data_json.read(model_dir).get("constant_guess"),
            _selection(found),
        ),
        drawings={
            name: gfile.read(drawn[name]) for name in ("views", "embedding") if name in drawn
        },
    )
    return html.save(path, found.result, view)


def _alike(found: Measured, features: np.ndarray | None) -> tuple[dict, set[int]]:
    """Returns ({field of `html.View`: near-duplicates, ...}, the evaluated cases among them)."""
    if features is None:
        return {}, set()
    patients, training = found.cases.patients, found.training
    among = near_duplicates.find(features, patients)
    fields: dict = {"near_duplicates": among, "no_training": _NO_TRAINING}
    shown = {*among.pairs.ravel().tolist()}
    if training is not None:
        pairs = near_duplicates.find_in_training(features, patients, training)
        shown |= {*pairs.pairs[:, 0].tolist()}
        pictures = case_pictures(training.bags, {*pairs.pairs[:, 1].tolist()}, _SIDE)
        fields |= {"near_training": pairs, "training_ids": training.ids}
        fields |= {"training_pictures": pictures}
    return fields, shown


def _activation_maps(
    config: Config, found: Measured, scores: np.ndarray, cases: list[int]
) -> dict[int, tuple[str, np.ndarray]]:
    """Returns {case: (the class of its highest score, that class's activation map)}."""
    if not cases:
        return {}
    size, antialias = config.augment.image_size, config.augment.is_antialiased
    seen = case_pictures(found.bags, set(map(int, cases)), size, antialias)
    numbers = sorted(seen)
    classes = scores[numbers].argmax(axis=1)
    images = np.stack([seen[i] for i in numbers]).astype(np.float32) / 255
    of_all = activation.maps(found.models["trained"], images, classes)
    return {i: (found.class_names[c], m) for i, c, m in zip(numbers, classes, of_all)}
