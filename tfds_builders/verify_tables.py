"""What `verify` counted, as tables of text; whoever prints them chooses how they look."""

from tfds_builders.image_log import by_reason
from tfds_builders.verify import STATES, SplitCounts, Verification

LARGEST_BAG = 6  # listed by itself in the table of bag sizes; it is the paper's largest
Table = tuple[str, list[str], list[list[str]]]  # title, columns, rows


def tables(found: Verification) -> list[Table]:
    """Returns the tables worth printing: title, columns, and rows of text."""
    made = [_split_table(found), _bag_size_table(found)]
    if any(counts.classes for counts in found.splits.values()):
        made.append(_class_table(found))
    for split, counts in found.all_splits.items():
        if counts.labels:
            made.append(_label_table(split, counts))
    if len(found.splits) > 1:
        made.append(_common_table(found))
    made.append(
        (
            "Left out",
            ["", "images"],
            [["unreadable", f"{len(found.unreadable):,}"], ["missing", f"{found.num_missing:,}"]],
        )
    )
    if found.unreadable:
        made.append(_reason_table(found))
    if found.passed_over or found.image_notes:
        made.append(_note_table(found))
    if found.expected:
        rows = [[name, f"{want:,}", f"{got:,}"] for name, (want, got) in found.expected.items()]
        made.append(("Published numbers", ["", "published", "found"], rows))
    return made


def _split_table(found: Verification) -> Table:
    views = sorted({view for counts in found.splits.values() for view in counts.views})
    columns = ["split", "bags", "images", "patients", *views, "repeated images"]
    rows = []
    for split, counts in found.all_splits.items():
        numbers = [counts.bags, counts.images, counts.patients]
        numbers += [counts.views.get(view, 0) for view in views]
        repeated = f"{counts.repeated_images:,}" if split in found.splits else ""
        rows.append([split, *(f"{number:,}" for number in numbers), repeated])
    return "Splits", columns, rows


def _bag_size_table(found: Verification) -> Table:
    rows = []
    for size in range(1, LARGEST_BAG + 2):
        name = str(size) if size <= LARGEST_BAG else f"{size} and more"
        numbers = [
            sum(bags for k, bags in counts.bag_sizes.items() if min(k, LARGEST_BAG + 1) == size)
            for counts in found.splits.values()
        ]
        if any(numbers):
            rows.append([name, *(f"{number:,}" for number in numbers)])
    return "Bags by number of images", ["images", *found.splits], rows


def _class_table(found: Verification) -> Table:
    names = sorted({name for counts in found.splits.values() for name in counts.classes})
    rows = []
    for name in names:
        numbers = [(counts.classes.get(name, 0), counts.bags) for counts in found.splits.values()]
        rows.append([name, *(f"{n:,} ({n / bags:.1%})" for n, bags in numbers)])
    return "Bags by label", ["label", *found.splits], rows


def _label_table(split: str, counts: SplitCounts) -> Table:
    rows = []
    for name, label in counts.labels.items():
        numbers = [getattr(label, state) for state in STATES]
        shares = [label.prevalence("zeros"), label.prevalence("ones")]
        row = [name, *(f"{n:,}" for n in numbers), *(f"{share:.3f}" for share in shares)]
        rows.append(row)
    return f"Labels of {split}, by image", ["label", *STATES, "U-Zeros", "U-Ones"], rows


def _common_table(found: Verification) -> Table:
    rows = [
        [
            f"{a}, {b}",
            f"{len(patients):,}",
            f"{len(found.common_images[a, b]):,}",
            f"{len(found.look_alikes.get((a, b), ())):,}",
        ]
        for (a, b), patients in found.common_patients.items()
    ]
    columns = ["splits", f"patients (by {found.patient_id_from})", "images", "look the same"]
    return "In common", columns, rows


def _reason_table(found: Verification) -> Table:
    rows = [
        [reason, f"{number:,}", first]
        for reason, (number, first) in by_reason(found.unreadable).items()
    ]
    return "Unreadable, by reason", ["reason", "images", "first"], rows


def _note_table(found: Verification) -> Table:
    rows = [[f"passed over: {reason}", f"{n:,}", ""] for reason, n in found.passed_over.items()]
    rows += [[note, f"{n:,}", names[0]] for note, (n, names) in found.image_notes.items()]
    return "Notes on images", ["note", "images", "first"], rows
