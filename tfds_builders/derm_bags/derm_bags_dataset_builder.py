"""The TFDS builder `derm_bags`: one example is one bag, the images of one case.

Configs "demo" and "demo_shift" draw their own cases, in two clinics; `folder_config` returns the config
of a folder of images.

Read with `decoders={"images": tfds.decode.SkipDecoding()}`: images of one bag may differ in size,
so TFDS cannot stack them decoded; undecoded they are a [K] string tensor.
"""

import collections
import dataclasses
import hashlib
import itertools
from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from tfds_builders.bag_counts import same_counts
from tfds_builders.contents import Contents
from tfds_builders.derm_bags import demo
from tfds_builders.derm_bags.bags import (
    DEMO_SEED,
    Bag,
    demo_bags,
    demo_metadata_keys,
    folder_bags,
    image_names,
)
from tfds_builders.derm_bags.conflicts import ON_LABEL_CONFLICT
from tfds_builders.derm_bags.demo_clinic import ELSEWHERE, HERE, Clinic
from tfds_builders.derm_bags.labels import MISSING_LABELS
from tfds_builders.derm_bags.manifest import Manifest, read_manifest
from tfds_builders.errors import DataError, check_choice
from tfds_builders.image_log import ImageLog
from tfds_builders.kept_metadata import USUAL
from tfds_builders.pixels import frame_salt

CODE_VERSION = "1.2.0"
DEMO_VERSION = "1.3.0"  # of the drawings; folders prepared by 1.2.0 stay as they are
ON_BAD_IMAGE = ("error", "skip")
ON_MISSING_IMAGE = ("auto", "error", "skip")


@dataclasses.dataclass(eq=False, kw_only=True)
class DermBagsConfig(tfds.core.BuilderConfig):
    """What to build: the folder of `manifest`, or, without one, `num_cases` drawn at a `clinic`."""

    manifest: Manifest | None = dataclasses.field(default=None, repr=False)  # TFDS logs the repr
    on_bad_image: str = "error"
    long_side: int = 0
    older_names: tuple[str, ...] = ()  # of copies that versions before `contents.py` prepared
    dicom_frame: str = "first"
    clinic: Clinic = dataclasses.field(default=HERE, repr=False)
    num_cases: int = HERE.num_cases

    def has_same_contents(self, info: tfds.core.DatasetInfo) -> bool:
        """Returns whether a copy that an earlier version prepared has these cases and labels."""
        if self.manifest is None:
            return False
        label = info.features["label"].names if "label" in info.features else []
        bags = collections.Counter(case.split for case in self.manifest.cases)
        skipped = bool(info.metadata.get("skipped_images"))
        return list(label) == list(self.manifest.classes) and same_counts(info, bags, skipped)

    def paths(self) -> dict[str, str]:
        """Returns {id of an image: its path in the folder}; {} for the demo."""
        manifest = self.manifest
        if manifest is None:
            return {}
        names = (image_names(manifest, case) for case in manifest.cases)
        return {name: path for of_case in names for path, name in of_case.items()}

    @property
    def notes(self) -> tuple[str, ...]:
        """Assumptions about the folder, to be printed; () for the demo."""
        return self.manifest.notes if self.manifest else ()


def folder_config(
    manual_dir: str,
    on_bad_image: str = "error",
    long_side: int = 0,
    *,
    top_conditions: int = 0,
    bag_regex: str = "",
    dicom_frame: str = "first",
    keep_metadata: str = USUAL,
    used_columns: Iterable[str] = (),
    on_missing_image: str = "auto",
    on_label_conflict: str = "error",
    missing_labels: str = MISSING_LABELS,
    image_root: str = "",
    follow_links: bool = False,
    split_column: str = "split",
    label_columns: str = "",
    contents: Contents | None = None,
) -> DermBagsConfig:
    """Returns the config for a folder of images, after checking its tables.

    Its name contains the fingerprint of tables, images (path and content), options and version, so a
    folder that has changed is prepared again, a copy of it is not; it differs if not all columns are
    kept.

    Args:
      manual_dir: the folder; README.md says what it may hold.
      on_bad_image: "error" refuses the folder at its first missing or unreadable image; "skip"
        leaves such images out, and cases that have no other, and lists them in `info.metadata`.
      long_side: pixels that the longer side of an image is reduced to; 0 keeps it as it is.
      top_conditions: the number of labels to keep, the commonest of the training split; all others
        become "Other". 26 makes the paper's 27 classes; 0 keeps all.
      dicom_frame: which images of a DICOM of several frames are stored: "first", "middle", or "all"
        as images of the case.
      bag_regex: for a folder of images only: the part of a path that names the case, see README.md.
      keep_metadata, used_columns: which columns of the table are stored, and whether names of image
        files are: see `kept_metadata.keep`.
      on_missing_image: "error" refuses a folder that lacks an image of its table, "skip" leaves such
        images out and lists them; "auto" does as `on_bad_image` says.
      on_label_conflict: of a case whose rows have different labels: "error", "unlabelled", "latest"
        (row) or "majority" (of its rows; none where there is no majority).
      missing_labels: values of the label that mean that there is none, separated by commas.
      image_root: the folder that paths of images are relative to; "": `manual_dir`.
      follow_links: whether links may lead out of that folder.
      split_column: of a manifest.csv, the column that names the splits.
      label_columns: of a manifest.csv, the columns of several labels a case, with commas: 1, 0, -1
        (uncertain) or nothing. Stored as chexpert's are.
      contents: cached hashes of the image files; None: all of them are read.

    Raises:
      DataError: for anything the user has to mend; unreadable images only show at build.
    """
    check_choice("on_bad_image", on_bad_image, ON_BAD_IMAGE)
    check_choice("on_missing_image", on_missing_image, ON_MISSING_IMAGE)
    check_choice("on_label_conflict", on_label_conflict, ON_LABEL_CONFLICT)
    salt = f"{CODE_VERSION} {long_side}{frame_salt(dicom_frame)}"
    if on_missing_image != "auto":
        salt += f" {on_bad_image} on_missing_image {on_missing_image}"
    if on_label_conflict != "error":
        salt += f" on_label_conflict {on_label_conflict}"
    if missing_labels != MISSING_LABELS:
        salt += f" missing_labels {missing_labels}"
    manifest = read_manifest(
        manual_dir,
        salt=salt,
        skip_missing=(on_bad_image if on_missing_image == "auto" else on_missing_image) == "skip",
        top_conditions=top_conditions,
        bag_regex=bag_regex,
        keep_metadata=keep_metadata,
        used_columns=used_columns,
        on_label_conflict=on_label_conflict,
        missing_labels=missing_labels,
        image_root=image_root,
        follow_links=follow_links,
        split_column=split_column,
        label_columns=label_columns,
        contents=contents,
    )
    return DermBagsConfig(
        name=manifest.kept.config_name(manifest.fingerprint),
        older_names=manifest.kept.older_config_names(manifest.older_fingerprint),
        description=f"The folder {manifest.folder}.",
        manifest=manifest,
        on_bad_image=on_bad_image,
        long_side=long_side,
        dicom_frame=dicom_frame,
    )


def _facts(manifest: Manifest) -> dict[str, Any]:
    """Returns the entries of `info.metadata` that only some folders have."""
    facts = {
        "image_root": manifest.image_folder if manifest.image_folder != manifest.folder else "",
        "renamed_splits": {old: list(new) for old, new in manifest.renamed_splits.items()},
        "lost_classes": dict(manifest.lost_classes),
        "positives_in_tables": dict(manifest.positive_rows),
    }
    return {name: fact for name, fact in facts.items() if fact}


class Builder(tfds.core.GeneratorBasedBuilder):
    """Photographs of skin conditions, several of one case in one bag."""

    VERSION = tfds.core.Version(CODE_VERSION)
    RELEASE_NOTES: ClassVar = {
        "1.0.0": "First release.",
        "1.1.0": "More kinds of folders; images without metadata; deep grey through its own range.",
        "1.2.0": "demo: 1,200 cases, larger lesions, an exposure meter; demo_shift.",
        "1.3.0": "demo, demo_shift: larger lesions, milder nuisances, clearer rings, dots and spots.",
    }
    BUILDER_CONFIGS: ClassVar = [
        DermBagsConfig(
            name="demo",
            version=DEMO_VERSION,
            description=f"{HERE.num_cases:,} drawn cases; no real data.",
        ),
        DermBagsConfig(
            name="demo_shift",
            version=DEMO_VERSION,
            description=f"{ELSEWHERE.num_cases} drawn cases of another clinic; no real data.",
            clinic=ELSEWHERE,
            num_cases=ELSEWHERE.num_cases,
        ),
    ]

    def _info(self) -> tfds.core.DatasetInfo:
        """Returns features as the config has them: no label or metadata where it has none."""
        manifest = self.builder_config.manifest
        text, texts = tfds.features.Text(), tfds.features.Sequence(tfds.features.Text())
        features = {
            "bag_id": text,
            "patient_id": text,
            "images": tfds.features.Sequence(tfds.features.Image(shape=(None, None, 3))),
            "image_ids": texts,
        }
        classes = manifest.classes if manifest else sorted(demo.CONDITIONS)
        if classes:
            features["label"] = tfds.features.ClassLabel(names=classes)
        if manifest and manifest.label_columns:
            features["labels"] = {
                name: tfds.features.Scalar(np.float32) for name in manifest.label_columns
            }
        if manifest and manifest.has_differentials:
            features["label_weights"] = tfds.features.Tensor(
                shape=(len(classes),), dtype=np.float32
            )
        keys = manifest.metadata_columns if manifest else demo_metadata_keys()
        if keys:
            features["metadata"] = {key: texts for key in keys}
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(features), metadata=tfds.core.MetadataDict()
        )

    def _split_generators(self, dl_manager):
        """Returns a generator for each split that has a readable image; downloads nothing."""
        del dl_manager
        config = self.builder_config
        metadata = self.info.metadata
        # Starts from nothing: an earlier attempt with this builder may have failed half way.
        metadata.update(num_images={}, num_bags={}, num_patients=0)
        self._patients, self._log = set(), ImageLog()
        if config.manifest:
            metadata.update(
                fingerprint=config.manifest.fingerprint,
                source=config.manifest.folder,
                patient_id_from=config.manifest.patient_id_from,
                splits_from=config.manifest.splits_from,
                layout=config.manifest.layout,
                kept_metadata=config.manifest.kept.facts(),
                table_notes=list(config.manifest.notes),
                **_facts(config.manifest),
            )
            bags = folder_bags(
                config.manifest,
                config.on_bad_image == "skip",
                self._log,
                config.long_side,
                config.dicom_frame,
            )
        else:
            recipe = (
                f"demo {DEMO_VERSION} seed {DEMO_SEED} clinic {config.clinic.number} "
                f"cases {config.num_cases}"
            )
            metadata.update(
                fingerprint=hashlib.sha256(recipe.encode()).hexdigest(),
                source=f"drawn by tfds_builders/derm_bags/demo.py, seed {DEMO_SEED}",
                patient_id_from="patient_id",
                layout="demo",
            )
            bags = demo_bags(config.clinic, config.num_cases)
        splits = {}
        for split, split_bags in bags.items():
            # TFDS cannot write an empty split: look at the first bag before promising the split.
            first = next(split_bags, None)
            if first is not None:
                splits[split] = self._generate_examples(split, itertools.chain([first], split_bags))
        if "train" not in splits:
            raise DataError(
                f"{metadata['source']}: no image of split 'train' is readable "
                f"({sum(1 for _ in self._log.left_out())} left out): replace the files."
            )
        return splits

    def _download_and_prepare(self, dl_manager, download_config=None):
        """Writes all splits, then the notes on single images."""
        super()._download_and_prepare(dl_manager, download_config)
        self.info.metadata.update(self._log.metadata())
        self._log.write_csv(self.data_path)

    def _generate_examples(self, split: str, bags: Iterable[Bag]):
        """Yields (bag_id, example), counting into `info.metadata`."""
        metadata = self.info.metadata
        metadata["num_images"][split] = metadata["num_bags"][split] = 0
        for bag in bags:
            example = {key: getattr(bag, key) for key in ("bag_id", "patient_id", "image_ids")}
            example["images"] = list(bag.images)
            if "label" in self.info.features:
                example["label"] = bag.label or -1
            if bag.labels:
                example["labels"] = bag.labels
            if "label_weights" in self.info.features:
                example["label_weights"] = np.asarray(bag.label_weights, np.float32)
            if bag.metadata:
                example["metadata"] = bag.metadata
            metadata["num_bags"][split] += 1
            metadata["num_images"][split] += len(bag.images)
            self._patients.add(bag.patient_id)
            metadata["num_patients"] = len(self._patients)
            yield bag.bag_id, example
