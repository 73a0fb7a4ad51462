"""The labels of a chest X-ray: which ones are used, and how uncertain and blank ones are read.

A dataset stores each label as it was found: 1 positive, 0 negative, -1 uncertain, NaN blank (not
mentioned in the report). Here it becomes 1, 0 or NaN, and NaN takes no part in loss or metric.
"""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from simclr_med.config import DataConfig
from simclr_med.errors import UserError

# The five labels of CheXpert's competition (Irvin et al. 2019), those of the paper.
CHEXPERT5 = ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion")
CHEXPERT14 = (
    "No Finding",
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Opacity",
    "Lung Lesion",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
    "Support Devices",
)
LABEL_SETS = {"chexpert5": CHEXPERT5, "chexpert14": CHEXPERT14}


@dataclasses.dataclass(frozen=True)
class LabelReading:
    """How the X-rays of a study and their labels are read; each field is a flag, which explains it.

    Attributes:
      label_set: which of the labels: "all", or a name of LABEL_SETS.
      uncertain_policy: what -1 means, see `make_policy`.
      blank_policy: what a blank label means, "negative" or "ignore".
      projection: "all", or only "frontal" or "lateral" images, of datasets that know.
      bag_by: "study" keeps the bags as they are stored, "patient" joins those of a patient.
    """

    label_set: str = "all"
    uncertain_policy: str = "ignore"
    blank_policy: str = "negative"
    projection: str = "all"
    bag_by: str = "study"

    @classmethod
    def of(cls, data: DataConfig) -> LabelReading:
        """Returns the reading of a run's configuration."""
        return cls(**{field.name: getattr(data, field.name) for field in dataclasses.fields(cls)})


_VALUES = {"zeros": 0.0, "ones": 1.0, "ignore": float("nan"), "negative": 0.0}


AS_STORED = LabelReading()


@dataclasses.dataclass(frozen=True)
class LabelPolicy:
    """The labels to read: names [L] as results show them, stored keys [L], and two values [L].

    `uncertain[l]` and `blank[l]` are what -1 and NaN of label l become: 0, 1 or NaN.
    """

    names: tuple[str, ...]
    keys: tuple[str, ...]
    uncertain: tuple[float, ...]
    blank: float

    def apply(self, stored: dict[str, tf.Tensor]) -> tf.Tensor:
        """Returns float32 [..., L], each 1, 0 or NaN, of the stored labels {key: float32 [...]}."""
        values = tf.stack([stored[key] for key in self.keys], axis=-1)
        known = tf.where(values == -1.0, tf.constant(self.uncertain, tf.float32), values)
        return tf.where(tf.math.is_nan(values), self.blank, known)


def make_policy(
    stored: tuple[str, ...],
    reading: LabelReading,
    *,
    renamed: dict[str, str],
    dataset: str,
) -> LabelPolicy:
    """Returns how to read a dataset's labels.

    Args:
      stored: the names under which the dataset stores them.
      reading: which of them, and what uncertain and blank ones mean. Its `uncertain_policy` is zeros,
        ones or ignore, for all labels; or a list such as "zeros,Atelectasis:ones,Edema:ones", in
        which a value without a name is for the others.
      renamed: {stored name: its name in LABEL_SETS}, where they differ.
      dataset: its name, for the error message.

    Raises:
      UserError: a label that the dataset has not, or a list that cannot be read.
    """
    label_set = reading.label_set
    if label_set == "all":
        key_of, names = {key: key for key in stored}, stored
    else:
        key_of, names = {renamed.get(key, key): key for key in stored}, LABEL_SETS[label_set]
    if missing := [name for name in names if name not in key_of]:
        raise UserError(
            f"--label_set={label_set}: {dataset} has no label {missing[0]!r}; it has: "
            f"{', '.join(stored)}."
        )
    return LabelPolicy(
        names=tuple(names),
        keys=tuple(key_of[name] for name in names),
        uncertain=_uncertain_values(reading.uncertain_policy, tuple(names)),
        blank=_VALUES[reading.blank_policy],
    )


def _uncertain_values(text: str, names: tuple[str, ...]) -> tuple[float, ...]:
    """Returns what -1 becomes, for each label."""
    default, own = "ignore", {}
    for part in text.split(","):
        name, _, value = part.strip().rpartition(":")
        if value not in ("zeros", "ones", "ignore") or (name and name not in names):
            raise UserError(
                f"--uncertain_policy={text}: {part.strip()!r} is not zeros, ones or ignore, nor "
                f"LABEL:zeros|ones|ignore with one of the labels {', '.join(names)}."
            )
        if name:
            own[name] = value
        else:
            default = value
    return tuple(_VALUES[own.get(name, default)] for name in names)
