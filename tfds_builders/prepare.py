"""From the name of a dataset to its prepared builder; mistakes of the user raise DataError.

The builders here read a folder of the user's; every other name is one of TFDS's own datasets, which is
downloaded or, if its licence requires it, unpacked by hand.
"""

import contextlib
import dataclasses
import errno
import glob
import inspect
import os
import shutil
import sys
from collections.abc import Callable, Iterable
from typing import Any

import filelock
import tensorflow_datasets as tfds

from tfds_builders import (
    chexpert_studies,
    derm_bags,
    detect,
    image_log,
    kept_metadata,
    literal_folders,
    nih_cxr14,
    problems,
)
from tfds_builders.contents import Contents
from tfds_builders.derm_bags.labels import MISSING_LABELS
from tfds_builders.errors import DataError
from tfds_builders.kept_metadata import USUAL

literal_folders.mend()

# name -> package with a Builder and a folder_config(manual_dir, ...)
FOLDERS = {"derm_bags": derm_bags, "chexpert": chexpert_studies, "nih_cxr14": nih_cxr14}


@dataclasses.dataclass(frozen=True)
class BuildOptions:
    """How a folder becomes a dataset; each option is documented at `folder_config` of the builders.

    An option at its default is not passed on: not every builder has every option.
    """

    on_bad_image: str = "error"
    long_side: int = 0  # px
    top_conditions: int = 0
    bag_regex: str = ""
    image_root: str = ""
    follow_links: bool = False
    dicom_frame: str = "first"
    on_missing_image: str = "auto"
    on_label_conflict: str = "error"
    missing_labels: str = MISSING_LABELS
    split_column: str = "split"
    label_columns: str = ""
    keep_metadata: str = USUAL
    used_columns: tuple[str, ...] = ()  # stored too, if they exist: those of subgroups

    def non_default(self) -> dict[str, Any]:
        """Returns {name: value} of the options that differ from their defaults."""
        default = BuildOptions()
        values = dataclasses.asdict(self)
        return {name: v for name, v in values.items() if v != getattr(default, name)}


_NO_LOCKS = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)  # of file systems without locks
# Flags that are not named after their option.
_FLAGS = {"long_side": "--build_long_side"}


def prepare(
    name: str,
    *,
    manual_dir: str | None = None,
    data_dir: str | None = None,
    options: BuildOptions | None = None,
    beam_runner: str | None = None,
    beam_options: str = "",
    when_built: Callable[[tfds.core.DatasetBuilder], None] | None = None,
) -> tfds.core.DatasetBuilder:
    """Returns the builder of a dataset, with its data on disk.

    Args:
      name: a name of FOLDERS, or one that TFDS knows (with /config or :version).
      manual_dir: the user's folder; FOLDERS need it, of TFDS's own a few do.
      data_dir: where prepared datasets are stored; None means TFDS's own place.
      options: for FOLDERS.
      beam_runner: name of the Beam runner that builds, such as DirectRunner; None builds here.
      beam_options: its options, as a command line would have them, separated by spaces.
      when_built: called with a builder of tfds_builders just prepared, before the lock is released.

    Raises:
      DataError: for anything the user has to mend.
    """
    options = options or BuildOptions()
    builder = make_builder(name, manual_dir, data_dir, options)
    for note in builder.builder_config.notes if name in FOLDERS else ():
        print(f"Note: {note}", flush=True)
    if builder.is_prepared():
        if note := image_log.missing_decoders_note(builder.info.metadata or {}, builder.data_path):
            print(f"Note: {note}", flush=True)
        return builder
    if (other := _other_copy(builder, name, manual_dir, data_dir, options)) is not None:
        return other
    print(f"Preparing {builder.info.full_name} in {builder.data_path} ...", flush=True)
    if not sys.stderr.isatty():
        tfds.disable_progress_bar()
    download = tfds.download.DownloadConfig(manual_dir=manual_dir)
    if beam_runner:
        download = _with_beam(download, builder, beam_runner, beam_options)
    with _build_lock(builder) as is_locked:
        if builder.is_prepared():  # meanwhile, by another process: this builder knows no splits
            return make_builder(name, manual_dir, data_dir, options)
        if name not in FOLDERS:
            _download(name, builder, download)
            if when_built and name.split("/")[0] in FOLDERS:
                when_built(builder)
            return builder
        for leftover in _leftover_folders(builder) if is_locked else []:
            shutil.rmtree(leftover)
        with contextlib.redirect_stdout(None):  # TFDS would say that it downloads
            _build(builder, download, beam_runner)
        if when_built:
            when_built(builder)
        for line in image_log.summary(builder.info.metadata, builder.data_path):
            print(line, flush=True)
    return builder


def _other_copy(builder, name: str, manual_dir, data_dir, options: BuildOptions):
    """Returns a prepared copy of the same folder that can replace the requested one; else None.

    Preparing it again may take hours. Which copy is used, and why, is printed.
    """
    if name not in FOLDERS:
        return None
    names = builder.builder_config.older_names
    older = _of_older_version(builder, names if options.keep_metadata == USUAL else names[:1])
    if older:
        return older
    fuller = kept_metadata.name_with_everything(builder.builder_config.name)
    if not fuller or options.keep_metadata != USUAL:
        return None
    folder = builder.data_path.parent.parent / fuller / builder.data_path.name
    if not folder.exists():
        return None
    all_columns = dataclasses.replace(options, keep_metadata=kept_metadata.ALL, used_columns=())
    copy = make_builder(name, manual_dir, data_dir, all_columns)
    if not copy.is_prepared():
        return None
    print(
        f"Using the copy that was prepared in {copy.data_path}: it stores every metadata column and "
        "the names of the image files. Delete it, and one with the usual columns alone is prepared."
    )
    return copy


def _of_older_version(builder, names: Iterable[str]):
    """Returns the copy that a version before `contents.py` prepared of these files, if there is one."""
    for older in names:
        folder = builder.data_path.parent.parent / older / builder.data_path.name
        if not (folder / "dataset_info.json").exists():
            continue
        copy = tfds.builder_from_directory(folder)
        if builder.builder_config.has_same_contents(copy.info):
            print(
                f"Using the copy that an earlier version prepared in {folder}, as these files have not "
                "changed since. Delete it, and they are read again by the rules of this version."
            )
            return copy
        print(
            f"Not used: {folder}, which an earlier version prepared of these files. This version reads "
            "other cases or labels in them."
        )
    return None


def _download(name: str, builder, download: tfds.download.DownloadConfig) -> None:
    """Downloads and prepares one of TFDS's own datasets, or the demo."""
    is_drawn = name.split("/")[0] in FOLDERS  # TFDS would say that it downloads
    try:
        with contextlib.redirect_stdout(None) if is_drawn else contextlib.nullcontext():
            builder.download_and_prepare(download_config=download)
    except AssertionError as error:  # how TFDS reports files to download by hand
        raise DataError(_one_line(f"--dataset={name}: {error}")) from error
    except (OSError, tfds.download.DownloadError) as error:
        if getattr(error, "errno", None):  # the disk, which run.py has a message for
            raise
        raise DataError(
            _one_line(f"--dataset={name} could not be downloaded ({type(error).__name__}): {error}")
        ) from error


def _build(builder, download: tfds.download.DownloadConfig, beam_runner: str | None) -> None:
    """Builds; an error in a Beam worker, which arrives wrapped many times, is raised as DataError."""
    try:
        builder.download_and_prepare(download_config=download)
    except DataError:
        raise
    except Exception as error:
        if not beam_runner:
            raise
        lines = [line.strip() for line in f"{type(error).__name__}: {error}".splitlines()]
        messages = [line for line in lines if "DataError: " in line]
        message = messages[-1].split("DataError: ", 1)[1] if messages else lines[0]
        raise DataError(_one_line(f"--beam_runner={beam_runner}: {message}")) from None


@contextlib.contextmanager
def _build_lock(builder):
    """Holds a lock beside the prepared dataset: a second process waits until it is built.

    Yields whether the lock is held: only then may leftovers of killed builds be deleted. A remote folder
    cannot be locked, nor can some local ones (Lustre without -o flock): there TFDS moves a complete
    dataset into place, and two builds do the work twice.
    """
    folder = os.path.dirname(os.fspath(builder.data_path))
    if "://" in folder:
        yield False
        return
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, ".lock"), "a") as file:
        yield _lock(file)


def _lock(file) -> bool:
    """Waits for the lock of a file and holds it until the file is closed; False without locks."""
    try:
        filelock.lock_descriptor(file.fileno())
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return False
    return True


def _leftover_folders(builder) -> list[str]:
    """Returns leftover folders of killed builds beside the prepared dataset; requires the lock."""
    folder = os.path.dirname(os.fspath(builder.data_path))
    return glob.glob(os.path.join(glob.escape(folder), "incomplete.*"))


def make_builder(name: str, manual_dir: str | None, data_dir: str | None, options: BuildOptions):
    """Returns the builder of a dataset that may be on disk or not; arguments are those of `prepare`.

    Raises:
      DataError: for anything the user has to mend.
    """
    if name in FOLDERS and not manual_dir:
        raise DataError(
            f"--dataset={name} reads a folder: give it with --manual_dir=DIR. The embedded demo, "
            "which needs none, is --dataset=derm_bags/demo."
        )
    package = FOLDERS.get(name)
    known = inspect.signature(package.folder_config).parameters if package else ()
    for option, value in options.non_default().items():
        if not package and (option, value) == ("keep_metadata", kept_metadata.ALL):
            continue  # no choice, and no less
        if option not in known:
            flag = _FLAGS.get(option, f"--{option}")
            raise DataError(f"{flag} means nothing to --dataset={name}: leave it out.")
    if package:
        config = _config(name, manual_dir, data_dir, options)
        return package.Builder(config=config, data_dir=data_dir)
    if manual_dir and name.startswith("derm_bags/"):
        raise DataError(
            f"--dataset={name} draws its own images and reads no folder: for those in {manual_dir} pass "
            "--dataset=derm_bags, else leave --manual_dir out."
        )
    try:
        return tfds.builder(name, data_dir=data_dir)
    except (tfds.core.DatasetNotFoundError, ValueError) as error:
        raise DataError(
            f"--dataset={name} is no dataset that TFDS knows, nor one of {', '.join(detect.NAMES)}."
            + detect.suggestion(name, manual_dir)
        ) from error


def _config(name: str, manual_dir: str | None, data_dir: str | None, options: BuildOptions):
    """Returns the config of a folder; if there are several problems, all are written to a CSV file.

    The file is stored beside the prepared data, never in the user's folder.
    """
    manual_dir = manual_dir or ""
    try:
        return FOLDERS[name].folder_config(
            manual_dir, **options.non_default(), contents=Contents(data_dir)
        )
    except problems.ProblemsError as error:
        folder = os.path.basename(os.path.abspath(os.path.expanduser(manual_dir)))
        root = os.path.expanduser(data_dir or tfds.core.constants.DATA_DIR)
        path = os.path.join(root, FOLDERS[name].Builder.name, f"problems_{folder}.csv")
        try:
            problems.write_csv(error.problems, path)
        except OSError as failure:
            reason = failure.strerror or failure
            end = f"The whole list could not be written to {path} ({reason}): give another --data_dir."
        else:
            end = f"The whole list: {path}"
        raise DataError(f"{error}\n{end}") from error


def _with_beam(
    download: tfds.download.DownloadConfig,
    builder: tfds.core.DatasetBuilder,
    runner: str,
    options: str,
) -> tfds.download.DownloadConfig:
    """Returns `download` with a Beam runner, which needs a builder that works shard by shard."""
    if not isinstance(builder, tfds.core.ShardBasedBuilder):
        raise DataError(
            f"--beam_runner={runner}: {builder.name} is built by one process; leave it out. "
            "chexpert and nih_cxr14 can be built by Beam."
        )
    try:
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError as error:
        raise DataError(
            f"--beam_runner={runner} needs Apache Beam: pip install 'PATH_TO_CLONE[beam]', in an "
            "environment of its own."
        ) from error
    # Workers on this machine are new processes, which have to find this package.
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    existing = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = f"{root}{os.pathsep}{existing}" if existing else root
    return dataclasses.replace(
        download, beam_runner=runner, beam_options=PipelineOptions(options.split())
    )


def _one_line(text: str) -> str:
    """Returns the text without line breaks, at most 500 characters."""
    text = " ".join(text.split())
    return text if len(text) <= 500 else text[:497] + "..."
