"""What a run was trained on, stage by stage: its own data, and that of the runs it began from.

A stage is known by the config.json of its run. Weights from elsewhere end the list: which images they
were trained on is unknown.
"""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import tensorflow_datasets as tfds
from etils import epath

from simclr_med import run_folder
from simclr_med.config import FIELDS, Config
from simclr_med.data.labels import LabelReading
from simclr_med.data.patients import patients_of, same_pictures
from simclr_med.errors import UserError
from simclr_med.run_folder import data_json, gfile

# Datasets, and layouts of derm_bags, whose patient ids are the publisher's (or the demo's own): equal
# ids are equal people in every copy.
_PUBLISHED = ("chexpert_studies", "nih_cxr14")
_PUBLISHED_LAYOUTS = ("ham10000", "pad_ufes_20", "scin", "demo")
_SAVED_MODEL_DEPTH = 3  # RUN/saved_model/STEP, RUN/export/saved_model, RUN/ckpt-STEP


@dataclasses.dataclass(frozen=True)
class Stage:
    """Patients that shaped a model.

    Attributes:
      what: "training" (with labels), "pretraining" (without), "probe" (the labels that probes were
        fitted on) or "selection" (what chose the checkpoint).
      dataset: full name of the prepared dataset.
      split: of it.
      projection: which images of it, as `--projection` says.
      manual_dir: the folder that it was prepared from, if there was one.
      data_dir: where it was prepared.
    """

    what: str
    dataset: str
    split: str
    projection: str = "all"
    manual_dir: str | None = None
    data_dir: str | None = None

    @property
    def with_labels(self) -> bool:
        """Whether the patients' labels were used, so that results on them are too good."""
        return self.what != "pretraining"


def stages(values: dict[str, Any]) -> tuple[list[Stage], str]:
    """Returns the trainings of a run, the last one first, and what is not known of those before.

    Args:
      values: of its config.json, or `Config.to_dict()` and "prepared_dataset".

    Returns:
      The stages, none for weights that were taken over as they are (--keep_head); and "" where the
      first of them began at random weights, else a few words.
    """
    trainings: list[Stage] = [] if values.get("adopted_weights") else [_stage(values)]
    for folder in folders(values):
        values = _values_of(folder)
        trainings.append(_stage(values))
    if values.get("checkpoint"):
        return trainings, "the images behind the weights it began from, which no run here made"
    return trainings, ""


def folders(values: dict[str, Any]) -> list[str]:
    """Returns the folders of the runs that a run goes on from, the last one first.

    Args:
      values: of its config.json.
    """
    earlier: list[str] = []
    while path := values.get("checkpoint"):
        folder = _run_of(str(path))
        if folder is None or folder in earlier:
            break
        earlier.append(folder)
        values = _values_of(folder)
    return earlier


def _values_of(folder: str) -> dict[str, Any]:
    return run_folder.read_json(os.path.join(folder, "config.json"))


def _stage(values: dict[str, Any]) -> Stage:
    values = {**{name: field.default for name, field in FIELDS.items()}, **values}
    return Stage(
        what="training" if values["train_mode"] == "finetune" else "pretraining",
        dataset=values.get("prepared_dataset") or str(values["dataset"]),
        split=values["train_split"],
        projection=values["projection"],
        manual_dir=values["manual_dir"],
        data_dir=values["data_dir"],
    )


def _run_of(path: str) -> str | None:
    """Returns the folder of the run whose checkpoint or export a path holds; None if it is no run's."""
    folder = path.rstrip("/")
    for _ in range(_SAVED_MODEL_DEPTH):
        file = os.path.join(folder, "config.json")
        if gfile.exists(file):
            try:
                values = run_folder.read_json(file)
            except UserError:  # others write files of that name too
                return None
            return folder if isinstance(values, dict) and "train_split" in values else None
        folder = os.path.dirname(folder)
    return None


def number_in_common(
    config: Config, builder, evaluated: frozenset[str], stage: Stage
) -> tuple[int | None, str]:
    """Returns how many of the `evaluated` patients of a builder are in a stage; None and why, if unknown.

    Ids are compared where they mean the same people: in one prepared dataset, in two copies of a
    published one, of one folder, or where cases of equal names hold equal pictures.

    Args:
      config: with the `manual_dir` of `builder`.
      builder: of the data evaluated.
      evaluated: ids of its patients.
      stage: to compare with.
    """
    stage_builder = opened(builder, stage)
    if not comparable(config, builder, stage, stage_builder):
        return None, "another dataset, whose patient ids need not mean the same people"
    if stage_builder is None:
        return None, "its prepared data is no longer there"
    try:
        return len(
            evaluated
            & patients_of(stage_builder, stage.split, LabelReading(projection=stage.projection))
        ), ""
    except UserError:  # prepared again, with other splits
        return None, f"its prepared data has no split '{stage.split}'"


def comparable(config: Config, builder, stage: Stage, stage_builder: Any) -> bool:
    """Returns whether equal patient ids in two datasets refer to the same people.

    Args:
      config: with the `manual_dir` of `builder`.
      builder: of the data evaluated.
      stage: to compare with.
      stage_builder: of the stage's data, from `opened`; None if that is gone.
    """
    name = builder.info.name
    if stage.dataset == data_json.name_of(builder):
        return True
    if stage.dataset.split("/")[0] != name:
        return False
    manual_dir, stage_manual_dir = config.data.manual_dir, stage.manual_dir
    if name in _PUBLISHED or (
        manual_dir
        and stage_manual_dir
        and os.path.realpath(manual_dir) == os.path.realpath(stage_manual_dir)
    ):
        return True
    if stage_builder is None:
        return False
    layouts = [(b.info.metadata or {}).get("layout") for b in (builder, stage_builder)]
    if layouts[0] == layouts[1] and layouts[0] in _PUBLISHED_LAYOUTS:
        return True
    return same_pictures(builder, stage_builder)


def opened(builder, stage: Stage) -> Any:
    """Returns the builder of a stage's prepared data, None if that is no longer there.

    Args:
      builder: of the data evaluated; the stage's data is looked for beside it and in its `data_dir`.
      stage: whose `dataset` is opened.
    """
    if stage.dataset == data_json.name_of(builder):
        return builder
    depth = len(builder.info.full_name.split("/"))
    name, *folders = stage.dataset.split("/")
    roots = [builder.data_path.parents[depth - 1]]
    roots.append(epath.Path(stage.data_dir or tfds.core.constants.DATA_DIR))
    for root in roots:
        # A copy is stored under a longer name where it keeps chosen metadata only.
        for path in (root / stage.dataset, *sorted((root / name).glob(f"{'_*/'.join(folders)}"))):
            if (path / "dataset_info.json").exists():
                stage_builder = tfds.builder_from_directory(path)
                if data_json.name_of(stage_builder) == stage.dataset:
                    return stage_builder
    return None
