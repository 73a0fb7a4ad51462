"""From the name of a dataset to its prepared builder; a mistake on the way is a DataError.

The builders here read a folder of the user's; every other name is TFDS's own, downloaded or, where
its licence asks for that, unpacked by hand.
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
    """How a folder becomes a dataset; `folder_config` of each builder says what each option means.

    An option that is left at its default is not passed on: not every builder has every option.
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
    used_columns: tuple[str, ...] = ()  # stored too, where they are: those of subgroups

    def given(self) -> dict[str, Any]:
        """Returns {name: value} of the options that differ from their defaults."""
        default = BuildOptions()
        values = dataclasses.asdict(self)
        return {name: v for name, v in values.items() if v != getattr(default, name)}


_NO_LOCKS = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)  # so a file system says it
# What messages call an option.
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
      when_built: called with a builder of tfds_builders that was just prepared, before others may use it.

    Raises:
      DataError: for anything the user has to mend.
    """
    options = options or BuildOptions()
    builder = unprepared(name, manual_dir, data_dir, options)
    for note in builder.builder_config.notes if name in FOLDERS else ():
        print(f"Note: {note}", flush=True)
    if builder.is_prepared():
        if note := image_log.want_of_decoders(builder.info.metadata or {}, builder.data_path):
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
    with _one_at_a_time(builder) as alone:
        if builder.is_prepared():  # meanwhile, by another process: this builder knows no splits
            return unprepared(name, manual_dir, data_dir, options)
        if name not in FOLDERS:
            _download(name, builder, download)
            if when_built and name.split("/")[0] in FOLDERS:
                when_built(builder)
            return builder
        for left in _unfinished(builder) if alone else []:
            shutil.rmtree(left)
        with contextlib.redirect_stdout(None):  # TFDS would say that it downloads
            _build(builder, download, beam_runner)
        if when_built:
            when_built(builder)
        for line in image_log.summary(builder.info.metadata, builder.data_path):
            print(line, flush=True)
    return builder


def _other_copy(builder, name: str, manual_dir, data_dir, options: BuildOptions):
    """Returns a prepared copy of the same folder that stands in for the one asked for; else None.

    To prepare it again may take hours. That it stands in, and why it is another, is printed.
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
    everything = dataclasses.replace(options, keep_metadata=kept_metadata.ALL, used_columns=())
    copy = unprepared(name, manual_dir, data_dir, everything)
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
        if builder.builder_config.holds_the_same(copy.info):
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
    except AssertionError as error:  # TFDS's way to say what is to be fetched by hand
        raise DataError(_one_line(f"--dataset={name}: {error}")) from error
    except (OSError, tfds.download.DownloadError) as error:
        if getattr(error, "errno", None):  # the disk, which run.py has a message for
            raise
        raise DataError(
            _one_line(f"--dataset={name} could not be downloaded ({type(error).__name__}): {error}")
        ) from error


def _build(builder, download: tfds.download.DownloadConfig, beam_runner: str | None) -> None:
    """Builds; what a worker of Beam raised, wrapped many times on its way here, is a DataError."""
    try:
        builder.download_and_prepare(download_config=download)
    except DataError:
        raise
    except Exception as error:
        if not beam_runner:
            raise
        lines = [line.strip() for line in f"{type(error).__name__}: {error}".splitlines()]
        ours = [line for line in lines if "DataError: " in line]
        message = ours[-1].split("DataError: ", 1)[1] if ours else lines[0]
        raise DataError(_one_line(f"--beam_runner={beam_runner}: {message}")) from None


@contextlib.contextmanager
def _one_at_a_time(builder):
    """Holds a lock beside the prepared dataset: a second process waits, and finds it done.

    Yields whether it does, for then what killed builds have left may be cleared away. A remote folder
    cannot be locked, nor can some local ones (Lustre without -o flock): there, TFDS puts a dataset
    into place when it is whole, and two builds do double work.
    """
    folder = os.path.dirname(os.fspath(builder.data_path))
    if "://" in folder:
        yield False
        return
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, ".lock"), "a") as file:
        yield _locks(file)


def _locks(file) -> bool:
    """Waits for the lock of a file, until it is closed; returns False where there are no locks."""
    try:
        filelock.lock_descriptor(file.fileno())
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return False
    return True


def _unfinished(builder) -> list[str]:
    """Returns what killed builds have left beside the prepared dataset; call it with the lock."""
    folder = os.path.dirname(os.fspath(builder.data_path))
    return glob.glob(os.path.join(glob.escape(folder), "incomplete.*"))


def unprepared(name: str, manual_dir: str | None, data_dir: str | None, options: BuildOptions):
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
    for option, value in options.given().items():
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
            + detect.meant(name, manual_dir)
        ) from error


def _config(name: str, manual_dir: str | None, data_dir: str | None, options: BuildOptions):
    """Returns the config of a folder; of several problems, all are written to a CSV file.

    It is stored beside the prepared data, never in the user's folder.
    """
    manual_dir = manual_dir or ""
    try:
        return FOLDERS[name].folder_config(
            manual_dir, **options.given(), contents=Contents(data_dir)
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
    """Returns `download` with a Beam runner, which works in pieces that only some builders have."""
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
    others = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = f"{root}{os.pathsep}{others}" if others else root
    return dataclasses.replace(
        download, beam_runner=runner, beam_options=PipelineOptions(options.split())
    )


def _one_line(text: str) -> str:
    """Returns the text without line breaks, at most 500 characters."""
    text = " ".join(text.split())
    return text if len(text) <= 500 else text[:497] + "..."
