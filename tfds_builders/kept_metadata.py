"""What a prepared copy stores of a folder's table beside ids, labels and images: as little as is used."""

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
      file_names: whether an image is called by its path; else by its row in the table.
      everything: whether that is all there is, as every copy stored before there was a choice.
    """

    columns: tuple[str, ...]
    file_names: bool
    everything: bool

    def config_name(self, fingerprint: str) -> str:
        """Returns the name of a copy's config: another for other columns, of the same folder."""
        name = f"folder_{fingerprint[:10]}"
        if self.everything:
            return name
        stored = "\0".join([*self.columns, FILE_NAMES if self.file_names else ""])
        return f"{name}_{hashlib.sha256(stored.encode()).hexdigest()[:6]}"

    def config_names_before(self, older_fingerprint: str) -> tuple[str, ...]:
        """Returns the names of copies by an older fingerprint: of this one, of one with everything."""
        name = self.config_name(older_fingerprint)
        return tuple(filter(None, (name, name_with_everything(name))))

    def facts(self) -> dict:
        """Returns what `info.metadata` says of it."""
        return {"columns": list(self.columns), "file_names": self.file_names}


def keep(text: str, columns: Sequence[str], used: Iterable[str] = ()) -> Kept:
    """Returns what a copy of a folder stores.

    Args:
      text: "usual", "all", "none", or names with commas; "usual" may be among them, and "image_path",
        which is the names of the image files.
      columns: metadata columns of the folder's table.
      used: columns that are stored too where `text` has "usual"; those that are not there are not.

    Raises:
      DataError: a column that is not there, or "all" or "none" beside others.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names or (len(names) > 1 and {ALL, NONE} & set(names)):
        raise DataError(
            f"--keep_metadata={text}: give {USUAL}, {ALL}, {NONE}, or names of columns with commas."
        )
    if names in ([ALL], [NONE]):
        return Kept(tuple(columns) if names == [ALL] else (), names == [ALL], names == [ALL])
    wanted = set(names) - {USUAL, FILE_NAMES}
    if unknown := sorted(wanted - set(columns)):
        raise DataError(
            f"--keep_metadata={text}: no column {unknown[0]!r}; there are: "
            f"{', '.join((*columns, FILE_NAMES))}."
        )
    if USUAL in names:
        wanted |= {name for name in columns if is_usual(name)} | set(used)
    kept = tuple(name for name in columns if name in wanted)
    file_names = FILE_NAMES in names
    return Kept(kept, file_names, file_names and kept == tuple(columns))


def name_with_everything(config_name: str) -> str | None:
    """Returns what the copy with everything is called, by the name of one with less; None for others."""
    found = _NAME_OF_SOME.fullmatch(config_name)
    return found[1] if found else None
