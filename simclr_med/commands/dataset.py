"""--mode=build and --mode=verify; and how every other command gets its prepared dataset."""

from __future__ import annotations

from typing import Any

import tensorflow_datasets as tfds

from simclr_med import printing
from simclr_med.commands import next_step
from simclr_med.commands.invocation import Invocation
from simclr_med.config import Config
from simclr_med.data import case_index
from simclr_med.errors import UserError
from simclr_med.metrics.grades import grades_of, in_words, order_of
from simclr_med.run_folder import data_json, figures, terminal
from simclr_med.transient import retried
from tfds_builders import contact_sheet, verify, verify_tables
from tfds_builders import detect as detection
from tfds_builders import prepare as preparation
from tfds_builders.errors import DataError
from tfds_builders.new_cases import NewCases, in_files, in_folder


def run(invocation: Invocation) -> int:
    """Prepares the dataset and prints what was built, or what `verify` counted.

    Returns:
      The exit code: 1 where `verify` found problems.

    Raises:
      UserError: the dataset cannot be prepared, or --mode=verify does not support it.
    """
    config = invocation.config
    builder = prepare(config)
    grades = _grades(config, builder)
    if invocation.mode == "build":
        if "bag_id" in builder.info.features and not case_index.exists(builder):
            _write_index(builder)  # prepared by an earlier version, or killed before the end
        with printing.result():
            print(f"{builder.info.full_name} is stored in {builder.data_path}:")
            for name, split in builder.info.splits.items():
                print(f"  {name}: {split.num_examples:,} bags")
        print(grades, end="")
        next_step.show(invocation)
        return 0
    if "num_bags" not in (builder.info.metadata or {}):
        raise UserError(
            f"--mode=verify supports simclr_med's datasets, not {builder.info.full_name}."
        )
    report = verify.verify(builder, is_part=config.data.on_missing_image == "skip")
    terminal.show(verify_tables.tables(report))
    print(grades, end="")
    picture = builder.data_path / "contact_sheet.png"
    with figures.drawn(str(picture)):
        contact_sheet.contact_sheet(builder, str(picture))
        with printing.result():
            print(f"Some bags of each split: {picture}")
    for note in report.notes:
        print(f"Note: {note}")
    for problem in report.problems:
        print(f"Problem: {problem}")
    number = len(report.problems)
    with printing.result():
        print(f"{number} problem{'s' if number > 1 else ''}." if number else "Nothing is wrong.")
    if not number:
        next_step.show(invocation)
    return 1 if number else 0


def _grades(config: Config, builder) -> str:
    """Returns the line that says in which order --ordinal takes the classes; "" without it.

    Raises:
      UserError: the order is not known, or a case has several labels.
    """
    if not config.eval.ordinal:
        return ""
    features = builder.info.features
    multilabel = "labels" in features
    label = features["label"] if "label" in features else None
    names = tuple(features["labels"] if multilabel else getattr(label, "names", ()))
    grades_of(config, names, multilabel)
    return in_words(order_of(names, config.eval.class_order), names) + "\n"


def prepare(config: Config):
    """Returns the TFDS builder of --dataset, prepared on disk.

    Raises:
      UserError: no --dataset, or something is wrong with it.
    """
    data = config.data
    if not data.dataset:
        also = ", and --manual_dir, the folder of its tables" if data.image_root else ""
        raise UserError(f"--dataset is missing (derm_bags, derm_bags/demo, or a TFDS name){also}.")
    if printing.is_quiet():
        tfds.disable_progress_bar()
    try:
        return retried(
            lambda: preparation.prepare(
                str(data.dataset),
                **_reading(config),
                beam_runner=data.beam_runner,
                beam_options=data.beam_options,
                when_built=_write_index,
            ),
            f"Preparing or opening --dataset={data.dataset}",
        )
    except DataError as error:
        raise UserError(str(error)) from error


def _write_index(builder) -> None:
    """Writes the index of the cases, which holds all but the images; the data are complete without it."""
    try:
        case_index.write(builder)
    except OSError as error:
        print(
            f"Note: the index of the cases could not be written to {builder.data_path} "
            f"({error.strerror or error}): each command will read the records in its place.",
            flush=True,
        )


def new_cases(config: Config) -> NewCases:
    """Returns the cases of --manual_dir, or of the files of --images; nothing is prepared.

    Raises:
      UserError: neither is given, or both; or something is wrong with it.
    """
    data, pattern = config.data, config.predict.images
    if bool(data.manual_dir) == bool(pattern):
        raise UserError(
            f"--mode=predict scores {'either' if pattern else 'a folder of images'}: give "
            f"--manual_dir=DIR or --images='PATTERN'{', not both' if pattern else ''}."
        )
    if pattern:
        return in_a_pattern(pattern, data.bag_regex)
    return in_a_folder(
        str(data.manual_dir),
        data.dataset,
        bag_regex=data.bag_regex,
        image_root=data.image_root or "",
        follow_links=data.follow_links,
        projection=data.projection,
        by_patient=data.bag_by == "patient",
    )


def in_a_folder(folder: str, name: str | None = None, **how: Any) -> NewCases:
    """Returns the cases of a folder of new images.

    Args:
      folder: with the images and tables.
      name: of the dataset, as in `new_cases.in_folder`; None: detected by the tables in the folder.
      how: further arguments of `new_cases.in_folder`.

    Raises:
      UserError: something is wrong with it.
    """
    try:
        return in_folder(name or detect(folder)[0], folder, **how)
    except DataError as error:
        raise UserError(str(error)) from error


def in_a_pattern(pattern: str, bag_regex: str = "") -> NewCases:
    """Returns the cases of the files that a pattern matches, see `new_cases.in_files`.

    Args:
      pattern: of paths, with * and ?.
      bag_regex: which part of a path names the case; "": each file is a case.

    Raises:
      UserError: no file matches.
    """
    try:
        return in_files(pattern, bag_regex)
    except DataError as error:
        raise UserError(str(error)) from error


def name_of(config: Config) -> str:
    """Returns the name that runs know the prepared dataset by, whether it is prepared or not.

    Raises:
      UserError: something is wrong with it.
    """
    try:
        builder = preparation.make_builder(str(config.data.dataset), **_reading(config))
    except DataError as error:
        raise UserError(str(error)) from error
    return data_json.name_of(builder)


def _reading(config: Config) -> dict[str, Any]:
    """Returns the arguments of `prepare` and `make_builder`: where the data are and how they are read."""
    data = config.data
    return {
        "manual_dir": data.manual_dir,
        "data_dir": data.data_dir,
        "options": preparation.BuildOptions(
            on_bad_image=data.on_bad_image,
            long_side=data.build_long_side,
            top_conditions=data.top_conditions,
            bag_regex=data.bag_regex,
            image_root=data.image_root or "",
            follow_links=data.follow_links,
            dicom_frame=data.dicom_frame,
            on_missing_image=data.on_missing_image,
            on_label_conflict=data.on_label_conflict,
            missing_labels=data.missing_labels,
            split_column=data.split_column,
            label_columns=data.label_columns,
            keep_metadata=data.keep_metadata,
            used_columns=_columns_of_subgroups(config),
        ),
    }


def detect(manual_dir: str) -> tuple[str, str]:
    """Returns the name of the dataset in a folder, and by what it was recognised.

    Raises:
      UserError: no such folder, or the tables of several datasets are in it.
    """
    try:
        return detection.detect(manual_dir)
    except DataError as error:
        raise UserError(str(error)) from error


def _columns_of_subgroups(config: Config) -> tuple[str, ...]:
    """Returns the columns that --subgroups names, which the copy of a folder has to store."""
    named = config.eval.subgroups
    if named in ("all", "none") or config.data.dataset not in preparation.FOLDERS:
        return ()
    return tuple(sorted({name.strip() for name in named.split(",")}))
