"""Chooses which metadata a prepared copy stores beside ids, labels and images: only what is used."""

import dataclasses
import hashlib
import re
from collections.abc import Iterable, Sequence

from tfds_builders.errors import DataError
from tfds_builders.usual_columns import is_usual

USUAL, ALL, NONE = "usual", "all", "none"
FILE_NAMES = "image_path"
_NAME_OF_SOME = re.compile(r"(folder_[0-9a-f]{10})_[0-9a-f]{6}")


@dataclasses.dataclass(frozen=True)
class Kept:
    """What is stored.

    Attributes:
      columns: metadata columns, in the order of the table.
      file_names: whether the id of an image is its path; else it is its row in the table.
      everything: whether all columns and file names are stored, as in copies of early versions.
    """

    columns: tuple[str, ...]
    file_names: bool
    everything: bool

    def config_name(self, fingerprint: str) -> str:
        """Returns the name of the config of a copy; it depends on the folder and the stored columns."""
        name = f"folder_{fingerprint[:10]}"
        if self.everything:
            return name
        stored = "\0".join([*self.columns, FILE_NAMES if self.file_names else ""])
        return f"{name}_{hashlib.sha256(stored.encode()).hexdigest()[:6]}"

    def older_config_names(self, older_fingerprint: str) -> tuple[str, ...]:
        """Returns the names under an older fingerprint: of this copy, and of one with everything."""
        name = self.config_name(older_fingerprint)
        return tuple(filter(None, (name, name_with_everything(name))))

    def facts(self) -> dict:
        """Returns the entry of `info.metadata`."""
        return {"columns": list(self.columns), "file_names": self.file_names}


def keep(text: str, columns: Sequence[str], used: Iterable[str] = ()) -> Kept:
    """Returns what a copy of a folder stores.

    Args:
      text: "usual", "all", "none", or names with commas; "usual" may be among them, and "image_path",
        which is the names of the image files.
      columns: metadata columns of the folder's table.
      used: columns that are stored too, if they exist and `text` has "usual".

    Raises:
      DataError: a column that does not exist, or "all" or "none" beside others.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names or (len(names) > 1 and {ALL, NONE} & set(names)):
        raise DataError(
            f"--keep_metadata={text}: give {USUAL}, {ALL}, {NONE}, or names of columns with commas."
        )
    if names in ([ALL], [NONE]):
        return Kept(tuple(columns) if names == [ALL] else (), names == [ALL], names == [ALL])
    requested = set(names) - {USUAL, FILE_NAMES}
    if unknown := sorted(requested - set(columns)):
        raise DataError(
            f"--keep_metadata={text}: no column {unknown[0]!r}; there are: "
            f"{', '.join((*columns, FILE_NAMES))}."
        )
    if USUAL in names:
        requested |= {name for name in columns if is_usual(name)} | set(used)
    stored = tuple(name for name in columns if name in requested)
    file_names = FILE_NAMES in names
    return Kept(stored, file_names, file_names and stored == tuple(columns))


def name_with_everything(config_name: str) -> str | None:
    """Returns the config name of the copy with everything, given that of one with less; else None."""
    match = _NAME_OF_SOME.fullmatch(config_name)
    return match[1] if match else None
