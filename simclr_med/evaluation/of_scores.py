"""Evaluation of scores that are not from one checkpoint: precomputed features, or the runs of folds."""

from __future__ import annotations

from typing import Any

import numpy as np

from simclr_med.build import label_reading
from simclr_med.config import Config
from simclr_med.data import Bags
from simclr_med.data.cases import Cases
from simclr_med.evaluation import splits
from simclr_med.evaluation.measure import Measured, main_scores, metrics_of_scores, of_dataset
from simclr_med.run_folder import data_json


def measured(
    config: Config,
    builder,
    bags: Bags,
    cases: Cases,
    scores: dict[tuple[str, str], np.ndarray],
    *,
    untrained: list[str],
    features: dict[str, np.ndarray],
    facts: dict[str, Any],
) -> Measured:
    """Returns all metrics of given scores, as `measure` does for a run.

    Args:
      config: of the evaluation.
      builder: of the prepared dataset.
      bags: that were scored.
      cases: of these bags.
      scores: {(evaluator, encoder): float [n, classes]}, those of the encoder "trained" among them.
      untrained: names of classes without a training case.
      features: {"trained": float [n, d]} for the report's neighbours; {} without.
      facts: entries of result.json that only the caller knows: "patients", "adopted_weights" and others.
    """
    nothing: dict = {"calibration": None, "operating_points": [], "positive_class": None}
    result = {
        **of_dataset(config, builder),
        "global_step": 0,
        "trained_on": data_json.name_of(builder),
        "evaluated": splits.evaluated_part(config, builder, len(cases.ids)),
        **{"selection": {}, "contrastive": {}, "encoders": {}, **nothing},
        "skipped_images": list((builder.info.metadata or {}).get("skipped_images", [])),
        "labels": label_reading(config, bags),
        **metrics_of_scores(config, cases, bags.class_names, scores, None, untrained),
        **facts,
    }
    return Measured(
        result=result,
        checkpoint="",
        models={},
        bags=bags,
        cases=cases,
        class_names=bags.class_names,
        features=features,
        predictions=main_scores(config, scores),
        shift_from=None,
    )
