"""The TFDS builder `chexpert_studies`: one example is one study, with CheXpert's 14 labels.

Labels are stored as in the table (1, 0, -1 for uncertain, NaN for blank): what uncertain and blank
mean is decided when reading. Studies are stored in the order (sha256 of the patient, study), and no
patient crosses the end of a file, so a reader makes bags by patient by joining neighbours.
"""

from collections.abc import Iterable
from typing import ClassVar

import tensorflow_datasets as tfds

from tfds_builders.bag_builder import BagBuilder, FolderConfig, make_config
from tfds_builders.chexpert_studies.table import LABELS, METADATA_KEYS, read_table
from tfds_builders.contents import Contents
from tfds_builders.kept_metadata import USUAL

CODE_VERSION = "1.0.0"


def folder_config(
    manual_dir: str,
    on_bad_image: str = "error",
    long_side: int = 0,
    keep_metadata: str = USUAL,
    used_columns: Iterable[str] = (),
    on_missing_image: str = "auto",
    image_root: str = "",
    follow_links: bool = False,
    dicom_frame: str = "first",
    contents: Contents | None = None,
) -> FolderConfig:
    """Returns the config for a folder with CheXpert; see `bag_builder.make_config`."""
    return make_config(
        read_table,
        CODE_VERSION,
        manual_dir,
        on_bad_image=on_bad_image,
        long_side=long_side,
        keep_metadata=keep_metadata,
        used_columns=used_columns,
        on_missing_image=on_missing_image,
        image_root=image_root,
        follow_links=follow_links,
        dicom_frame=dicom_frame,
        contents=contents,
    )


class Builder(BagBuilder):
    """CheXpert: 223,648 chest X-rays in studies, of 64,740 patients."""

    VERSION = tfds.core.Version(CODE_VERSION)
    RELEASE_NOTES: ClassVar = {CODE_VERSION: "First release."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Register at https://aimi.stanford.edu/datasets/chexpert-chest-x-rays, download "
        "CheXpert-v1.0-small (or CheXpert-v1.0, or CheXpert Plus as PNG) and unpack it there."
    )
    LABELS: ClassVar = LABELS
    METADATA_KEYS: ClassVar = METADATA_KEYS
    folder_config: ClassVar = staticmethod(folder_config)
