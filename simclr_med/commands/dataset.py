"""--mode=build and --mode=verify; and how every other command gets its prepared dataset."""

from __future__ import annotations

from simclr_med.commands.invocation import Invocation
from simclr_med.config import Config
from simclr_med.errors import UserError
from simclr_med.run_folder import terminal
from tfds_builders import contact_sheet, verify, verify_tables
from tfds_builders import prepare as preparation
from tfds_builders.errors import DataError


def run(invocation: Invocation) -> int:
    """Prepares the dataset and prints what was built, or what `verify` counted.

    Returns:
      The exit code: 1 where `verify` found problems.
    """
    builder = prepare(invocation.config)
    if invocation.mode == "build":
        print(f"{builder.info.full_name} is stored in {builder.data_path}:")
        for name, split in builder.info.splits.items():
            print(f"  {name}: {split.num_examples:,} bags")
        return 0
    if "num_bags" not in (builder.info.metadata or {}):
        raise UserError(f"--mode=verify knows our own datasets, not {builder.info.full_name}.")
    found = verify.verify(builder)
    terminal.show(verify_tables.tables(found))
    picture = builder.data_path / "contact_sheet.png"
    contact_sheet.contact_sheet(builder, str(picture))
    print(f"Some bags of each split: {picture}")
    for note in found.notes:
        print(f"Note: {note}")
    for problem in found.problems:
        print(f"Problem: {problem}")
    print("Nothing is wrong." if not found.problems else f"{len(found.problems)} problems.")
    return 1 if found.problems else 0


def prepare(config: Config):
    """Returns the TFDS builder of --dataset, prepared on disk.

    Raises:
      UserError: no --dataset, or something is wrong with it.
    """
    data = config.data
    if not data.dataset:
        raise UserError("--dataset is missing (derm_bags, derm_bags/demo, or a TFDS name).")
    try:
        return preparation.prepare(
            data.dataset,
            manual_dir=data.manual_dir,
            data_dir=data.data_dir,
            options=preparation.BuildOptions(
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
                keep_metadata=data.keep_metadata,
                used_columns=_columns_of_subgroups(config),
            ),
            beam_runner=data.beam_runner,
            beam_options=data.beam_options,
        )
    except DataError as error:
        raise UserError(str(error)) from error


def _columns_of_subgroups(config: Config) -> tuple[str, ...]:
    """Returns the columns that --subgroups names, which the copy of a folder has to store."""
    named = config.eval.subgroups
    if named in ("all", "none") or config.data.dataset not in preparation.FOLDERS:
        return ()
    return tuple(sorted({name.strip() for name in named.split(",")}))
