"""What `verify` says of images: unreadable ones, empty ones, and pairs that look the same."""

from collections.abc import Mapping, Sequence

from tfds_builders.image_log import by_reason
from tfds_builders.looks import BLANK
from tfds_builders.near_duplicates import near_pairs

EXAMPLES = 3  # of what is wrong, named in one message


def problems(look_alikes, unreadable, image_notes, images_csv: str) -> list[str]:
    """Returns an error message for each thing that is wrong; see the fields of `Verification`."""
    found = [
        _near_problem(one, other, pairs) for (one, other), pairs in look_alikes.items() if pairs
    ]
    if unreadable:
        found.append(_unreadable_problem(unreadable, images_csv))
    for note, (number, names) in image_notes.items():
        if note in BLANK:
            found.append(
                f"Pictures with nothing on them ({note}): {number:,} ({some(names, number)}). "
                "Leave them out of the table, or replace the files."
            )
    return found


def notes(passed_over, image_notes, images_csv: str) -> list[str]:
    """Returns a note for each thing that is worth knowing, though nothing is wrong."""
    found = [
        f"Files passed over, as they are no pictures: {number:,} x {reason}."
        for reason, number in passed_over.items()
    ]
    found += [
        f"Images with a note: {number:,} x {note} ({some(names, number)})."
        for note, (number, names) in image_notes.items()
        if note not in BLANK
    ]
    if images_csv:
        found.append(f"All images with a problem or a note: {images_csv}")
    return found


def near(ours, others, paths: Mapping[str, str], known) -> tuple[tuple[str, str, float], ...]:
    """Returns (image, image, correlation) of two splits, without pairs that are `known`."""
    named = [
        (path_of(ours[0][i], paths), path_of(others[0][j], paths), alike)
        for i, j, alike in near_pairs(ours[1], others[1])
    ]
    return tuple(pair for pair in named if pair[:2] not in known)


def _near_problem(one: str, other: str, pairs: Sequence[tuple[str, str, float]]) -> str:
    names = some([f"{a} ~ {b}" for a, b, _ in pairs])
    return (
        f"Images in {one!r} and {other!r} that look the same, though their bytes differ (encoded again, "
        f"resized?): {len(pairs):,} ({names}). Look at them; if they are copies, remove one of each."
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
    """Returns the path of an image, for the name that a copy without names of files calls it."""
    file, comma, frame = name.partition(", frame ")
    return paths.get(file, file) + comma + frame


def some(names: Sequence[str], total: int = 0) -> str:
    """Returns the first few of `names`, and how many more of `total` (default: all) there are."""
    more = (total or len(names)) - len(names[:EXAMPLES])
    return "; ".join(names[:EXAMPLES]) + (f"; and {more:,} more" if more > 0 else "")
