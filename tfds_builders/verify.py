"""Counts a prepared dataset and compares it with the expected numbers; prints nothing.

`verify` reads every example once; images are decoded at a small size to be compared across splits, see
near_duplicates.py. verify_tables.py turns the result into tables, contact_sheet.py draws a picture.
"""

import collections
import dataclasses
import hashlib
import itertools
from collections.abc import Mapping

import numpy as np
import tensorflow_datasets as tfds

from tfds_builders import verify_findings, verify_images
from tfds_builders.image_log import IMAGES_CSV
from tfds_builders.near_duplicates import Thumbnails
from tfds_builders.stored_bags import label_state, label_text, read_encoded
from tfds_builders.verify_images import some as _some

NO_LABEL = "(no label)"


@dataclasses.dataclass(frozen=True)
class LabelCounts:
    """Number of images by the state of one label of their bag."""

    positive: int
    negative: int
    uncertain: int
    blank: int

    def prevalence(self, uncertain: str) -> float:
        """Returns the share of positives if uncertain is read as "zeros" or "ones", blank as 0."""
        positive = self.positive + (self.uncertain if uncertain == "ones" else 0)
        return positive / (self.positive + self.negative + self.uncertain + self.blank)


STATES = tuple(field.name for field in dataclasses.fields(LabelCounts))


@dataclasses.dataclass(frozen=True)
class SplitCounts:
    """One split, counted. `classes` counts bags; `labels` and `views` count images."""

    bags: int
    images: int
    patients: int
    repeated_images: int  # with the same bytes as another image of the split
    bag_sizes: Mapping[int, int]  # images in a bag -> bags
    classes: Mapping[str, int]  # of one label a bag, NO_LABEL included; else empty
    labels: Mapping[str, LabelCounts]  # of several labels a bag; else empty
    views: Mapping[str, int]  # "frontal", "lateral"; else empty
    ties: int = 0  # bags with several heaviest labels
    weighted: frozenset[str] = frozenset()  # classes that a differential gives some weight


@dataclasses.dataclass(frozen=True)
class Verification:
    """Result of verifying a dataset: counts, `problems` to fix, and `notes` worth knowing."""

    dataset: str
    source: str  # the user's folder
    patient_id_from: str  # if it is "case_id", each case counts as a patient of its own
    splits: Mapping[str, SplitCounts]
    named_splits: Mapping[str, SplitCounts]  # parts of a split that have a name of their own
    common_patients: Mapping[tuple[str, str], tuple[str, ...]]  # two splits -> patient ids
    common_images: Mapping[tuple[str, str], tuple[tuple[str, str], ...]]  # -> pairs of image ids
    unreadable: tuple[tuple[int, str, str], ...]  # row, path, reason
    num_missing: int
    missing: tuple[str, ...]  # the first of their paths
    expected: Mapping[str, tuple[int, int]]  # name -> (published, counted)
    in_tables: Mapping[str, int]  # the same names -> number in the tables, with or without images
    classes: tuple[str, ...]  # of one label a bag; else empty
    lost_labels: Mapping[str, int]  # class or label -> its images, which were all left out
    image_root: str = ""  # folder of the images, where it is not `source`
    # (missing image, path of another spelling), the first few
    near_images: tuple[tuple[str, str], ...] = ()
    is_part: bool = False  # whether images are expected to be missing
    # two splits -> pairs of image ids of pictures that look the same, and their correlation
    look_alikes: Mapping[tuple[str, str], tuple[tuple[str, str, float], ...]] = dataclasses.field(
        default_factory=dict
    )
    # reason -> number of files that are no pictures
    passed_over: Mapping[str, int] = dataclasses.field(default_factory=dict)
    # note -> images, and the first few of their ids
    image_notes: Mapping[str, tuple[int, list[str]]] = dataclasses.field(default_factory=dict)
    images_csv: str = ""  # file that lists all images with a reason or a note; "" without one

    @property
    def all_splits(self) -> dict[str, SplitCounts]:
        """Returns the splits, then the named parts of splits."""
        return {**self.splits, **self.named_splits}

    @property
    def problems(self) -> list[str]:
        """Returns a message for each problem."""
        messages = []
        for (first, second), patients in self.common_patients.items():
            if patients:
                messages.append(
                    f"Patients in both {first!r} and {second!r}: {len(patients):,} ({_some(patients)}). "
                    "What is learnt from one leaks into the other: give each patient one split."
                )
        for (first, second), pairs in self.common_images.items():
            if pairs:
                names = _some([f"{a} = {b}" for a, b in pairs])
                messages.append(
                    f"Images in both {first!r} and {second!r}, byte for byte: {len(pairs):,} ({names}). "
                    "Remove one of each, or give both the same patient_id."
                )
        messages += verify_images.problems(
            self.look_alikes, self.unreadable, self.image_notes, self.images_csv
        )
        messages += verify_findings.missing_images(self)[0]
        messages += verify_findings.lost_labels(self)
        messages += verify_findings.untrained_labels(self)
        messages += verify_findings.unused_splits(self)
        return messages + verify_findings.published_numbers(self)[0]

    @property
    def notes(self) -> list[str]:
        """Returns notes that are worth knowing but no problems."""
        missing_notes, number_notes = (
            verify_findings.missing_images(self)[1],
            verify_findings.published_numbers(self)[1],
        )
        image_notes = verify_images.notes(self.passed_over, self.image_notes, self.images_csv)
        return [*missing_notes, *verify_findings.ties(self), *number_notes, *image_notes]


def verify(builder: tfds.core.DatasetBuilder, is_part: bool = False) -> Verification:
    """Counts and checks the prepared dataset of `builder`; reads all of it once.

    `info.metadata["expected"]`, if a builder has published numbers, is {name: number}. A name is
    "images", "bags", "studies" (bags), "patients", "frontal" or "lateral", of all splits or of some, as
    in "patients in train+validation+test". Missing or unreadable images are not counted. Memory: about
    200 bytes per image, for its hash and id.

    Args:
      builder: of a prepared dataset.
      is_part: whether images are known to be missing, as --on_missing_image=skip says.

    Raises:
      ValueError: an expected number that is not counted.
    """
    metadata = builder.info.metadata
    counts, patients, images, looks = {}, {}, {}, {}
    for split in builder.info.splits:
        thumbnails = Thumbnails()
        counts[split], patients[split], images[split] = _count(builder, split, thumbnails)
        looks[split] = thumbnails.finish()
    named = metadata.get("named_splits", {})
    # In a copy without file names the id of an image is its row; the config of the folder has its path.
    paths: dict[str, str] = getattr(builder.builder_config, "paths", dict)()
    for of_split in images.values():
        of_split.update(
            {digest: verify_images.path_of(name, paths) for digest, name in of_split.items()}
        )
    pairs = list(itertools.combinations(counts, 2))
    common_images = {
        (a, b): tuple(sorted((images[a][h], images[b][h]) for h in images[a] & images[b].keys()))
        for a, b in pairs
    }
    table = builder.data_path / IMAGES_CSV
    return Verification(
        dataset=builder.info.full_name,
        source=metadata["source"],
        patient_id_from=metadata["patient_id_from"],
        splits=counts,
        named_splits={name: _count(builder, part)[0] for name, part in named.items()},
        common_patients={(a, b): tuple(sorted(patients[a] & patients[b])) for a, b in pairs},
        common_images=common_images,
        unreadable=tuple(tuple(skipped) for skipped in metadata["skipped_images"]),
        num_missing=metadata.get("missing_images", 0),
        missing=tuple(metadata.get("missing_examples", ())),
        expected={
            name: (number, _counted(name, counts, patients))
            for name, number in metadata.get("expected", {}).items()
        },
        in_tables=metadata.get("in_tables", {}),
        classes=tuple(_classes(builder)),
        lost_labels=_lost_labels(builder, counts),
        image_root=metadata.get("image_root", ""),
        near_images=tuple(tuple(pair) for pair in metadata.get("near_images", ())),
        is_part=is_part,
        look_alikes={
            (a, b): verify_images.near(looks[a], looks[b], paths, common_images[a, b])
            for a, b in pairs
        },
        passed_over=metadata.get("passed_over", {}),
        image_notes=metadata.get("image_notes", {}),
        images_csv=str(table) if table.exists() else "",
    )


def _classes(builder: tfds.core.DatasetBuilder) -> list[str]:
    """Returns the names of the classes, none where bags have several labels or no label."""
    features = builder.info.features
    return list(features["label"].names) if "label" in features else []


def _lost_labels(
    builder: tfds.core.DatasetBuilder, counts: Mapping[str, SplitCounts]
) -> dict[str, int]:
    """Returns {class or label: images} of those whose images were all missing or unreadable."""
    metadata = builder.info.metadata
    lost = dict(metadata.get("lost_classes", {}))
    if not (metadata["skipped_images"] or metadata.get("missing_images")):
        return lost
    if manifest := getattr(builder.builder_config, "manifest", None):
        images: collections.Counter = collections.Counter()
        for case in manifest.cases:
            images[case.label] += len(case.images)
        remaining = {name for of_split in counts.values() for name in of_split.classes}
        lost |= {
            name: images[name] for name in _classes(builder) if name not in remaining | {*lost}
        }
    for label, positives in metadata.get("positives_in_tables", {}).items():
        if positives and not sum(of_split.labels[label].positive for of_split in counts.values()):
            lost[label] = positives
    return {name: number for name, number in lost.items() if number}


def _count(
    builder: tfds.core.DatasetBuilder, split: str, thumbnails: Thumbnails | None = None
) -> tuple[SplitCounts, set[str], dict[bytes, str]]:
    """Returns counts, patient ids and sha1 of an image's bytes -> its id.

    Without `thumbnails`, which receives each distinct image once, images are neither read nor hashed.
    """
    features = ["patient_id", "image_ids", "label", "label_weights", "labels", "views"]
    if thumbnails:
        features.append("images")
    sizes: collections.Counter = collections.Counter()
    classes: collections.Counter = collections.Counter()
    views: collections.Counter = collections.Counter()
    states: collections.Counter = collections.Counter()  # (label, state) -> images
    patients: set[str] = set()
    images: dict[bytes, str] = {}
    ties = 0
    names = _classes(builder)
    weighted = np.zeros(len(names), bool)
    for example in read_encoded(builder, split, features):
        ids = example["image_ids"]
        sizes[len(ids)] += 1
        patients.add(example["patient_id"].decode())
        if "label" in example:
            classes[label_text(builder, example) or NO_LABEL] += 1
        if "label_weights" in example:
            weights = example["label_weights"]
            weighted |= weights > 0
            ties += bool(weights.any()) and int((weights == weights.max()).sum()) > 1
        for name, value in example.get("labels", {}).items():
            states[name, label_state(value)] += len(ids)
        views.update(view.decode() for view in example.get("views", ()))
        for data, image_id in zip(example.get("images", ()), ids):
            digest = hashlib.sha1(data).digest()
            if thumbnails and digest not in images:
                images[digest] = image_id.decode()
                thumbnails.add(images[digest], data)
    num_images = sum(size * bags for size, bags in sizes.items())
    labels = {
        name: LabelCounts(**{state: states[name, state] for state in STATES})
        for name in (builder.info.features["labels"] if "labels" in builder.info.features else ())
    }
    counts = SplitCounts(
        bags=sizes.total(),
        images=num_images,
        patients=len(patients),
        repeated_images=num_images - len(images) if thumbnails else 0,
        bag_sizes=dict(sorted(sizes.items())),
        classes=dict(sorted(classes.items())),
        labels=labels,
        views=dict(sorted(views.items())),
        ties=ties,
        weighted=frozenset(itertools.compress(names, weighted)),
    )
    return counts, patients, images


def _counted(name: str, counts: Mapping[str, SplitCounts], patients: Mapping[str, set[str]]) -> int:
    """Returns the counted number to compare with the expected number `name`."""
    what, _, where = name.partition(" in ")
    splits = [split for split in where.split("+") if split in counts] if where else list(counts)
    if what == "patients":
        return len(set().union(*(patients[split] for split in splits)))
    if what in ("images", "bags", "studies"):
        field = "images" if what == "images" else "bags"
        return sum(getattr(counts[split], field) for split in splits)
    if what in ("frontal", "lateral"):
        return sum(counts[split].views.get(what, 0) for split in splits)
    raise ValueError(f"info.metadata['expected'] has {name!r}, which is not counted.")
