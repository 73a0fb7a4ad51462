"""What the TFDS builders of chest X-rays have in common: a `BagTable` becomes files on disk.

They are TFDS's `ShardBasedBuilder`s. A `GeneratorBasedBuilder` with `disable_shuffling` (the order
matters here: see `BagTable`) collects 1 GB in memory, then puts all integer keys into one bucket
that it sorts in memory; this one writes each shard as it is generated, here or on Beam's workers.

Read with `decoders={"images": tfds.decode.SkipDecoding()}`: images of one bag may differ in size.
"""

import contextlib
import dataclasses
import itertools
import operator
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import tensorflow_datasets as tfds
from etils import epath
from tensorflow_datasets.core import split_builder as split_builder_lib
from tensorflow_datasets.core import splits as splits_lib

from tfds_builders import bag_counts
from tfds_builders.bag_table import BagTable, fingerprints, shards
from tfds_builders.contents import Contents
from tfds_builders.errors import DataError, NotAPicture, check_choice
from tfds_builders.image_log import ImageLog
from tfds_builders.kept_metadata import USUAL, keep
from tfds_builders.pixels import ImageError, frame_salt
from tfds_builders.read_ahead import load_ahead

ON_BAD_IMAGE = ("error", "skip")
SPLITS_CSV = "splits.csv"
IMAGE_LOGS = "image_logs"  # folder of the notes that each shard writes about its images


@dataclasses.dataclass(eq=False, kw_only=True)
class FolderConfig(tfds.core.BuilderConfig):
    """What to build: the images of `table`, as they are or reduced to `long_side` pixels."""

    table: BagTable | None = dataclasses.field(default=None, repr=False)  # TFDS logs the repr
    on_bad_image: str = "error"
    long_side: int = 0
    dicom_frame: str = "first"
    file_names: bool = True
    fingerprint: str = ""  # sha256, hex
    older_names: tuple[str, ...] = ()  # of copies that versions before `contents.py` prepared

    def has_same_contents(self, info: tfds.core.DatasetInfo) -> bool:
        """Returns whether a copy that an earlier version prepared has these bags."""
        if self.table is None:
            return False
        bags = bag_counts.counts(self.table.rows.drop_duplicates("bag_id"))
        skipped = bool(info.metadata.get("skipped_images"))
        return bag_counts.same_counts(info, bags, skipped)

    def paths(self) -> dict[str, str]:
        """Returns {id of an image: its path in the folder}."""
        if self.table is None or self.file_names:
            return {}
        rows = self.table.rows
        return {
            image_name(table, row): path
            for table, row, path in zip(rows["table"], rows["row"], rows["path"])
        }

    @property
    def notes(self) -> tuple[str, ...]:
        """Assumptions about the folder, and what is left out, to be printed."""
        return self.table.notes if self.table else ()


def make_config(
    read_table: Callable[..., BagTable],
    version: str,
    manual_dir: str,
    on_bad_image: str,
    long_side: int,
    keep_metadata: str = USUAL,
    used_columns: Iterable[str] = (),
    on_missing_image: str = "auto",
    image_root: str = "",
    follow_links: bool = False,
    dicom_frame: str = "first",
    contents: Contents | None = None,
) -> FolderConfig:
    """Returns the config of a folder; its name contains the fingerprint of everything that affects it.

    Args:
      read_table: (manual_dir, image_root=, follow_links=, on_missing_image=) -> table.
      version: of the builder.
      manual_dir: the user's folder.
      on_bad_image: "error" refuses the folder at its first unreadable image; "skip" leaves such
        images out, and bags that have no other, and lists them in `info.metadata`.
      long_side: pixels that the longer side of an image is reduced to; 0 keeps it as it is.
      keep_metadata, used_columns: which columns of the table are stored, and whether names of image
        files are: see `kept_metadata.keep`.
      on_missing_image: "error" refuses a folder that lacks an image of its table; "skip" and "auto"
        leave such images out and count them, as the folder is often unpacked in part.
      image_root: the folder that paths of images are relative to; "": that of the tables.
      follow_links: whether links may lead out of it.
      dicom_frame: "first", "middle" or "all": which images of a DICOM of several frames are stored.
      contents: cached hashes of the image files; None: all of them are read.

    Raises:
      DataError: for anything the user has to mend; unreadable images only show at build.
    """
    check_choice("on_bad_image", on_bad_image, ON_BAD_IMAGE)
    check_choice("on_missing_image", on_missing_image, ("auto", "error", "skip"))
    # on_missing_image="error" changes nothing once it has passed, so it is not part of the salt.
    table = read_table(
        manual_dir,
        image_root=image_root,
        follow_links=follow_links,
        on_missing_image=on_missing_image,
    )
    salt = f"{version} {on_bad_image} {long_side}{frame_salt(dicom_frame)}"
    fingerprint, older = fingerprints(table, salt, contents or Contents())
    stored = keep(keep_metadata, table.metadata_keys, used_columns)
    facts = {**table.facts, "kept_metadata": stored.facts()}
    return FolderConfig(
        name=stored.config_name(fingerprint),
        fingerprint=fingerprint,
        older_names=stored.older_config_names(older),
        description=f"The folder {table.folder}.",
        table=dataclasses.replace(table, metadata_keys=stored.columns, facts=facts),
        file_names=stored.file_names,
        on_bad_image=on_bad_image,
        long_side=long_side,
        dicom_frame=dicom_frame,
    )


class BagBuilder(tfds.core.ShardBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """Writes the bags of a table; a subclass defines the table, the labels and the metadata."""

    LABELS: ClassVar[tuple[str, ...]]
    METADATA_KEYS: ClassVar[tuple[str, ...]]
    folder_config: ClassVar[Callable[..., FolderConfig]]
    _config: FolderConfig | None = None

    def _info(self) -> tfds.core.DatasetInfo:
        text, texts = tfds.features.Text(), tfds.features.Sequence(tfds.features.Text())
        features = {
            "bag_id": text,
            "patient_id": text,
            "images": tfds.features.Sequence(tfds.features.Image(shape=(None, None, 3))),
            "image_ids": texts,
            "views": texts,
            "labels": {name: tfds.features.Scalar(np.float32) for name in self.LABELS},
        }
        table = self.builder_config.table if self.builder_config else None
        keys = table.metadata_keys if table else keep(USUAL, self.METADATA_KEYS).columns
        if keys:
            features["metadata"] = {key: texts for key in keys}
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(features),
            disable_shuffling=True,
            metadata=tfds.core.MetadataDict(),
        )

    def _shard_iterators_per_split(self, dl_manager):
        """Returns split -> its shards, for each split that has an image; downloads nothing."""
        config = self._folder_config(dl_manager)
        readers = {}
        for split, rows in config.table.rows.groupby("split", sort=False):
            pieces_of_split = shards(rows)
            split_readers = [
                ShardReader(
                    rows=piece,
                    folder=config.table.folder,
                    image_folder=config.table.image_folder,
                    labels=config.table.labels,
                    metadata_keys=config.table.metadata_keys,
                    skip_bad=config.on_bad_image == "skip",
                    long_side=config.long_side,
                    dicom_frame=config.dicom_frame,
                    file_names=config.file_names,
                    log=self.data_path / IMAGE_LOGS / f"{split}-{i:05d}.json",
                    title=f"{split}, file {i + 1} of {len(pieces_of_split)}",
                )
                for i, piece in enumerate(pieces_of_split)
            ]
            if _has_bag(split_readers):
                readers[split] = split_readers
        if "train" not in readers:
            raise DataError(
                f"{config.table.folder}: no image of split 'train' is readable: replace the files."
            )
        return readers

    def _download_and_prepare(self, dl_manager, download_config=None):
        """Writes all splits, then `splits.csv` and `info.metadata`."""
        config = self._folder_config(dl_manager)
        table = config.table
        download_config = download_config or tfds.download.DownloadConfig()
        readers = self._shard_iterators_per_split(dl_manager)
        infos = [self._write(split, readers[split], download_config) for split in readers]
        self.info.set_splits(splits_lib.SplitDict(infos))
        for leftover in self.data_path.glob("*.shard_infos.json"):  # of Beam
            leftover.unlink()
        log = _read_logs(self.data_path / IMAGE_LOGS)
        log.write_csv(self.data_path)
        rows = _rows_of_images(table.rows, log)
        bags = rows.drop_duplicates("bag_id")
        with (self.data_path / SPLITS_CSV).open("w") as file:
            columns = {"patient_id": "patient_id", "bag_id": "study", "split": "split"}
            bags[list(columns)].rename(columns=columns).to_csv(file, index=False)
        named = bag_counts.named_splits(table, rows)
        self.info.metadata.update(
            num_images=bag_counts.counts(rows),
            num_bags=bag_counts.counts(bags),
            num_by_views=bag_counts.num_by_views(rows, named),
            num_patients=int(rows["patient_id"].nunique()),
            **log.metadata(),
            missing_images=table.num_missing,
            missing_examples=list(table.missing),
            fingerprint=config.fingerprint,
            source=table.folder,
            patient_id_from="patient_id",
            named_splits={name: f"{split}[:{n}]" for name, (split, n) in named.items()},
            split_fingerprints=bag_counts.split_fingerprints(bags, named),
            **table.facts,
        )

    def _write(self, split, readers, download_config) -> splits_lib.SplitInfo:
        """Writes the shards of one split, by Beam's workers where `download_config` names a runner.

        With a `SplitBuilder` of its own: in the one that TFDS shares among splits (4.9.10), each
        split runs the pipelines of all splits before it again.
        """
        split_builder = split_builder_lib.SplitBuilder(
            split_dict=self.info.splits,
            features=self.info.features,
            dataset_size=self.info.dataset_size,
            beam_options=download_config.beam_options,
            beam_runner=download_config.beam_runner,
            max_examples_per_split=None,
            example_writer=self._example_writer(),
        )
        template = self._get_filename_template(split_name=split)
        return split_builder.submit_shard_based_generation(split, template, readers).result()

    def _folder_config(self, dl_manager) -> FolderConfig:
        """Returns the config, made from TFDS's own `manual_dir` where the builder was given none."""
        if self._config is None:
            self._config = self.builder_config or self.folder_config(str(dl_manager.manual_dir))
        return self._config


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShardReader:
    """Generates the examples of one shard when called; holds all that a worker of Beam needs."""

    rows: pd.DataFrame
    folder: str  # of the tables
    image_folder: str
    labels: tuple[str, ...]
    metadata_keys: tuple[str, ...]
    skip_bad: bool
    long_side: int
    dicom_frame: str
    file_names: bool
    log: epath.Path  # file that receives the notes on images
    title: str

    def __call__(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yields (number, example) for each bag that has a readable image.

        Raises:
          DataError: at an unreadable image, unless `skip_bad`.
        """
        total = self.rows["bag_id"].nunique()
        log = ImageLog()
        with tfds.core.utils.tqdm(total=total, desc=self.title, leave=False) as progress:
            for number, example in enumerate(self._examples(log)):
                progress.update()
                yield number, example
        if log.entries or log.frames:
            self.log.parent.mkdir(parents=True, exist_ok=True)
            self.log.write_text(log.to_json())

    def _examples(self, log: ImageLog) -> Iterator[dict[str, Any]]:
        """Yields an example for each bag; notes on images are added to `log`."""
        paths = (os.path.join(self.image_folder, path) for path in self.rows["path"])
        records = self.rows.to_dict("records")
        with contextlib.closing(load_ahead(paths, self.long_side, self.dicom_frame)) as loaded:
            for _, rows in itertools.groupby(records, key=operator.itemgetter("bag_id")):
                images: list[bytes] = []
                ids: list[str] = []
                stored_rows: list[dict[str, Any]] = []
                for row, result in zip(rows, loaded):  # in this order: zip() takes a row first
                    if isinstance(result, ImageError):
                        self._leave_out(row, result, log)
                    else:
                        ids_of_file = log.add_stored(
                            row["table"], row["row"], self._name(row), result
                        )
                        images += result.images
                        ids += ids_of_file
                        stored_rows += [row] * len(ids_of_file)
                if stored_rows:
                    yield self._example(stored_rows, ids, images)

    def _name(self, row: dict[str, Any]) -> str:
        return row["path"] if self.file_names else image_name(row["table"], row["row"])

    def _leave_out(self, row: dict[str, Any], error: ImageError, log: ImageLog) -> None:
        """Records that an image is left out, or raises DataError."""
        if self.skip_bad or isinstance(error, NotAPicture):
            log.leave_out(row["table"], row["row"], row["path"], error)
            return
        raise DataError(
            f"{os.path.join(self.folder, row['table'])}, row {row['row']}: image {row['path']!r} "
            f"cannot be used: {error}: replace the file, remove the row, or pass "
            "--on_bad_image=skip to leave such images out."
        )

    def _example(
        self, rows: list[dict[str, Any]], ids: list[str], images: list[bytes]
    ) -> dict[str, Any]:
        return {
            "bag_id": rows[0]["bag_id"],
            "patient_id": rows[0]["patient_id"],
            "images": images,
            "image_ids": ids,
            "views": [row["view"] for row in rows],
            "labels": {name: rows[0][name] for name in self.labels},
            **(
                {"metadata": {key: [row[key] for row in rows] for key in self.metadata_keys}}
                if self.metadata_keys
                else {}
            ),
        }


def image_name(table: str, row: int) -> str:
    """Returns the id of an image in a copy that stores no file names.

    Args:
      table: name of the table file.
      row: as a spreadsheet counts.
    """
    return f"{table}, row {row}"


def _has_bag(readers: list[ShardReader]) -> bool:
    """Returns whether a split has a readable image; TFDS cannot read a split without examples.

    If it has none, every shard has been tried, and has logged why.
    """
    # The first image is usually readable; a whole reader would load more images ahead.
    first = dataclasses.replace(readers[0], rows=readers[0].rows.head(1))
    return any(True for reader in (first, *readers) for _ in reader())


def _read_logs(folder) -> ImageLog:
    """Returns the joined notes of all shards on their images; removes the log files."""
    files = list(folder.iterdir()) if folder.exists() else []
    log = ImageLog.join(file.read_text() for file in files)
    for file in files:
        file.unlink()
    if files:
        folder.rmdir()
    return log


def _rows_of_images(rows: pd.DataFrame, log: ImageLog) -> pd.DataFrame:
    """Returns one row for each stored image: none for images left out, one for each frame."""
    left_out = list(log.left_out())
    if not left_out and not log.frames:
        return rows
    keys = pd.MultiIndex.from_frame(rows[["table", "row"]])
    copies = np.where(keys.isin(left_out), 0, 1)
    if log.frames:
        frames = {(table, row): number for table, row, number in log.frames}
        copies *= np.array([frames.get(key, 1) for key in keys])
    return rows.iloc[np.repeat(np.arange(len(rows)), copies)]
