"""From the name of a dataset to its prepared builder; a mistake on the way is a DataError.

Ours read a folder of the user's; every other name is TFDS's own, downloaded or, where its licence
asks for that, unpacked by hand.
"""

import os
import sys

import tensorflow_datasets as tfds

from tfds_builders import derm_bags
from tfds_builders.errors import DataError

FOLDERS = {"derm_bags": derm_bags}  # packages that have a Builder and a folder_config


def prepare(
    name: str, *, manual_dir: str | None, data_dir: str | None, on_bad_image: str
) -> tfds.core.DatasetBuilder:
    """Returns the builder of a dataset, with its data on disk.

    Args:
      name: a name of FOLDERS, or one that TFDS knows (with /config or :version).
      manual_dir: the user's folder; FOLDERS need it, of TFDS's own a few do.
      data_dir: where prepared datasets lie; None means TFDS's own place.
      on_bad_image: "error" or "skip", for FOLDERS.

    Raises:
      DataError: for anything the user has to mend.
    """
    builder = _builder(name, manual_dir, data_dir, on_bad_image)
    if not builder.data_path.exists():
        print(f"Preparing {builder.info.full_name} in {builder.data_path} ...", flush=True)
    if not sys.stderr.isatty():
        tfds.disable_progress_bar()
    download = tfds.download.DownloadConfig(manual_dir=manual_dir)
    if builder.name in FOLDERS:
        builder.download_and_prepare(download_config=download)
        return builder
    try:
        builder.download_and_prepare(download_config=download)
    except AssertionError as error:  # TFDS's way to say what is to be fetched by hand
        raise DataError(_one_line(f"--dataset={name}: {error}")) from error
    except (OSError, tfds.download.DownloadError) as error:
        if getattr(error, "errno", None):  # the disk, which run.py has a sentence for
            raise
        raise DataError(
            _one_line(f"--dataset={name} could not be downloaded ({type(error).__name__}): {error}")
        ) from error
    return builder


def _builder(name: str, manual_dir: str | None, data_dir: str | None, on_bad_image: str):
    if name in FOLDERS:
        if not manual_dir:
            raise DataError(
                f"--dataset={name} reads a folder: give it with --manual_dir=DIR (DIR holds "
                "manifest.csv and images). The embedded demo is --dataset=derm_bags/demo."
            )
        package = FOLDERS[name]
        config = package.folder_config(manual_dir, on_bad_image)
        return package.Builder(config=config, data_dir=data_dir)
    try:
        return tfds.builder(name, data_dir=data_dir)
    except (tfds.core.DatasetNotFoundError, ValueError) as error:
        known = ", ".join((*FOLDERS, "derm_bags/demo"))
        hint = f"A folder is read with --dataset=derm_bags --manual_dir={name}."
        raise DataError(
            f"--dataset={name} is no dataset that TFDS knows, nor one of {known}."
            + (f" {hint}" if os.path.isdir(name) else "")
        ) from error


def _one_line(text: str) -> str:
    """Returns the text without line breaks, at most 500 characters."""
    text = " ".join(text.split())
    return text if len(text) <= 500 else text[:497] + "..."
