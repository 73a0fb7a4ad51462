"""The TFDS builder `nih_cxr14`: one example is one image with its own 14 labels.

Why not one patient, who may have 184 images? NIH labels images, and the labels of a patient change
from visit to visit, so a bag of all of them has no label that could be evaluated honestly. Examples
are stored in the order (sha256 of the patient, follow-up), and no patient crosses the end of a file: a
reader makes bags by patient by joining neighbours.
"""

from collections.abc import Iterable
from typing import ClassVar

import tensorflow_datasets as tfds

from tfds_builders.bag_builder import BagBuilder, FolderConfig, make_config
from tfds_builders.contents import Contents
from tfds_builders.kept_metadata import USUAL
from tfds_builders.nih_cxr14.table import LABELS, METADATA_KEYS, read_table

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
    """Returns the config for a folder with NIH's table and images; see `bag_builder.make_config`."""
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
    """NIH ChestX-ray14: 112,120 frontal chest X-rays of 30,805 patients."""

    VERSION = tfds.core.Version(CODE_VERSION)
    RELEASE_NOTES: ClassVar = {CODE_VERSION: "First release."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Download Data_Entry_2017_v2020.csv, train_val_list.txt, test_list.txt and images_001 to "
        "images_012 from https://nihcc.app.box.com/v/ChestXray-NIHCC and unpack the images there."
    )
    LABELS: ClassVar = LABELS
    METADATA_KEYS: ClassVar = METADATA_KEYS
    folder_config: ClassVar = staticmethod(folder_config)
