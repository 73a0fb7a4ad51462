"""Problems and notes of `verify` about images: unreadable, empty, or looking the same."""

from collections.abc import Mapping, Sequence

from tfds_builders.image_log import by_reason
from tfds_builders.looks import BLANK
from tfds_builders.near_duplicates import near_pairs

EXAMPLES = 3  # of what is wrong, named in one message


def problems(look_alikes, unreadable, image_notes, images_csv: str) -> list[str]:
    """Returns a message for each problem with images.

    Args:
      look_alikes, unreadable, image_notes, images_csv: see the fields of `Verification`.
    """
    messages = [
        _near_problem(first, second, pairs)
        for (first, second), pairs in look_alikes.items()
        if pairs
    ]
    if unreadable:
        messages.append(_unreadable_problem(unreadable, images_csv))
    for note, (number, names) in image_notes.items():
        if note in BLANK:
            messages.append(
                f"Pictures with nothing on them ({note}): {number:,} ({some(names, number)}). "
                "Leave them out of the table, or replace the files."
            )
    return messages


def notes(passed_over, image_notes, images_csv: str) -> list[str]:
    """Returns notes on images that are worth knowing but no problems.

    Args:
      passed_over, image_notes, images_csv: see the fields of `Verification`.
    """
    messages = [
        f"Files passed over, as they are no pictures: {number:,} x {reason}."
        for reason, number in passed_over.items()
    ]
    messages += [
        f"Images with a note: {number:,} x {note} ({some(names, number)})."
        for note, (number, names) in image_notes.items()
        if note not in BLANK
    ]
    if images_csv:
        messages.append(f"All images with a problem or a note: {images_csv}")
    return messages


def near(first, second, paths: Mapping[str, str], known) -> tuple[tuple[str, str, float], ...]:
    """Returns (image, image, correlation) of two splits, without pairs that are `known`.

    Args:
      first, second: (ids, thumbnails) of each split, see `Thumbnails.finish`.
      paths: id -> path, see `path_of`.
      known: pairs of images that are equal byte for byte.
    """
    pairs = [
        (path_of(first[0][i], paths), path_of(second[0][j], paths), alike)
        for i, j, alike in near_pairs(first[1], second[1])
    ]
    return tuple(pair for pair in pairs if pair[:2] not in known)


def _near_problem(first: str, second: str, pairs: Sequence[tuple[str, str, float]]) -> str:
    names = some([f"{a} ~ {b}" for a, b, _ in pairs])
    return (
        f"Images in {first!r} and {second!r} that look the same, though their bytes differ (encoded "
        f"again, resized?): {len(pairs):,} ({names}). Look at them; if they are copies, remove one of "
        "each."
    )


def _unreadable_problem(unreadable: Sequence[tuple[int, str, str]], images_csv: str) -> str:
    groups = [
        f"{where}: {reason}" if number == 1 else f"{number:,} x {reason}, first {where}"
        for reason, (number, where) in by_reason(unreadable).items()
    ]
    listed = f" All are listed in {images_csv}." if images_csv else ""
    number = f"{len(unreadable):,}"
    return f"Unreadable images, left out: {number} ({some(groups)}). Replace the files.{listed}"


def path_of(name: str, paths: Mapping[str, str]) -> str:
    """Returns the path of an image by its id.

    Args:
      name: id of an image, perhaps with a frame.
      paths: id -> path; {} if ids are paths.
    """
    file, comma, frame = name.partition(", frame ")
    return paths.get(file, file) + comma + frame


def some(names: Sequence[str], total: int = 0) -> str:
    """Returns the first few names, and how many more there are.

    Args:
      names: any number of them.
      total: number of all names, if `names` are the first; 0: len(names).
    """
    more = (total or len(names)) - len(names[:EXAMPLES])
    return "; ".join(names[:EXAMPLES]) + (f"; and {more:,} more" if more > 0 else "")
