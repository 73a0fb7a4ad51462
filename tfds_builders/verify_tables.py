"""The counts of `verify` as tables of text, without formatting."""

from tfds_builders.image_log import by_reason
from tfds_builders.verify import STATES, SplitCounts, Verification

LARGEST_BAG = 6  # listed by itself in the table of bag sizes; it is the paper's largest
Table = tuple[str, list[str], list[list[str]]]  # title, columns, rows


def tables(result: Verification) -> list[Table]:
    """Returns the tables worth printing: title, columns, and rows of text."""
    output = [_split_table(result), _bag_size_table(result)]
    if any(counts.classes for counts in result.splits.values()):
        output.append(_class_table(result))
    for split, counts in result.all_splits.items():
        if counts.labels:
            output.append(_label_table(split, counts))
    if len(result.splits) > 1:
        output.append(_common_table(result))
    output.append(
        (
            "Left out",
            ["", "images"],
            [["unreadable", f"{len(result.unreadable):,}"], ["missing", f"{result.num_missing:,}"]],
        )
    )
    if result.unreadable:
        output.append(_reason_table(result))
    if result.passed_over or result.image_notes:
        output.append(_note_table(result))
    if result.expected:
        rows = [
            [name, f"{published:,}", f"{counted:,}"]
            for name, (published, counted) in result.expected.items()
        ]
        output.append(("Published numbers", ["", "published", "found"], rows))
    return output


def _split_table(result: Verification) -> Table:
    views = sorted({view for counts in result.splits.values() for view in counts.views})
    columns = ["split", "bags", "images", "patients", *views, "repeated images"]
    rows = []
    for split, counts in result.all_splits.items():
        numbers = [counts.bags, counts.images, counts.patients]
        numbers += [counts.views.get(view, 0) for view in views]
        repeated = f"{counts.repeated_images:,}" if split in result.splits else ""
        rows.append([split, *(f"{number:,}" for number in numbers), repeated])
    return "Splits", columns, rows


def _bag_size_table(result: Verification) -> Table:
    rows = []
    for size in range(1, LARGEST_BAG + 2):
        name = str(size) if size <= LARGEST_BAG else f"{size} and more"
        numbers = [
            sum(bags for k, bags in counts.bag_sizes.items() if min(k, LARGEST_BAG + 1) == size)
            for counts in result.splits.values()
        ]
        if any(numbers):
            rows.append([name, *(f"{number:,}" for number in numbers)])
    return "Bags by number of images", ["images", *result.splits], rows


def _class_table(result: Verification) -> Table:
    names = sorted({name for counts in result.splits.values() for name in counts.classes})
    rows = []
    for name in names:
        numbers = [(counts.classes.get(name, 0), counts.bags) for counts in result.splits.values()]
        rows.append([name, *(f"{n:,} ({n / bags:.1%})" for n, bags in numbers)])
    return "Bags by label", ["label", *result.splits], rows


def _label_table(split: str, counts: SplitCounts) -> Table:
    rows = []
    for name, label in counts.labels.items():
        numbers = [getattr(label, state) for state in STATES]
        shares = [label.prevalence("zeros"), label.prevalence("ones")]
        row = [name, *(f"{n:,}" for n in numbers), *(f"{share:.3f}" for share in shares)]
        rows.append(row)
    return f"Labels of {split}, by image", ["label", *STATES, "U-Zeros", "U-Ones"], rows


def _common_table(result: Verification) -> Table:
    rows = [
        [
            f"{a}, {b}",
            f"{len(patients):,}",
            f"{len(result.common_images[a, b]):,}",
            f"{len(result.look_alikes.get((a, b), ())):,}",
        ]
        for (a, b), patients in result.common_patients.items()
    ]
    columns = ["splits", f"patients (by {result.patient_id_from})", "images", "look the same"]
    return "In common", columns, rows


def _reason_table(result: Verification) -> Table:
    rows = [
        [reason, f"{number:,}", first]
        for reason, (number, first) in by_reason(result.unreadable).items()
    ]
    return "Unreadable, by reason", ["reason", "images", "first"], rows


def _note_table(result: Verification) -> Table:
    rows = [[f"passed over: {reason}", f"{n:,}", ""] for reason, n in result.passed_over.items()]
    rows += [[note, f"{n:,}", names[0]] for note, (n, names) in result.image_notes.items()]
    return "Notes on images", ["note", "images", "first"], rows
