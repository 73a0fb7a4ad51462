"""The sections of report.html that say where the numbers come from."""

from __future__ import annotations

from simclr_med.config import FIELDS, PRIVATE
from simclr_med.evaluation.report import page
from simclr_med.metrics import text
from simclr_med.run_folder import provenance

# Further keys of config.json that reveal nothing about people, files or machines.
_WRITTEN_BY_THE_RUN = ("class_names", "prepared_dataset")


def configuration(config: dict, identifiers: bool = False) -> str:
    """Returns the fields that differ from their defaults, and the others, both to open.

    Args:
      config: the content of config.json.
      identifiers: whether to show folders, files and machines too; else their flags are named.
    """
    changed: list[list[str]] = []
    defaults: list[list[str]] = []
    left_out: list[str] = []
    for name, value in config.items():
        if not identifiers and (
            name in PRIVATE or (name not in FIELDS and name not in _WRITTEN_BY_THE_RUN)
        ):
            if name not in FIELDS or value != FIELDS[name].default:
                left_out.append(name)
            continue
        if name not in FIELDS:
            changed.append([name, text.plain(value), text.DASH, "written by the run"])
            continue
        field = FIELDS[name]
        row, help_text = [name, text.plain(value)], field.metadata["help"]
        if value == field.default:
            defaults.append([*row, help_text])
        else:
            changed.append([*row, text.plain(field.default), help_text])
    help_text = (
        f"Set, and left out here as they name folders, files or machines: {', '.join(left_out)}."
    )
    return (
        page.details(
            f"The {len(changed)} fields that were set",
            page.table("Fields set", ["field", "value", "default", "meaning"], changed, words=True),
        )
        + (page.paragraph(help_text) if left_out else "")
        + page.details(
            f"The {len(defaults)} fields at their defaults",
            page.table(
                "Fields at their defaults", ["field", "value", "meaning"], defaults, words=True
            ),
        )
    )


def data_and_versions(result: dict, identifiers: bool = False) -> str:
    """Returns what the data was, how labels were read, seeds, versions, and files.

    Args:
      result: the content of result.json.
      identifiers: whether to show paths; else rows of the table, and files by kind alone.
    """
    rows = [
        ["dataset", result["dataset"]],
        ["training split", result["train_split"]],
        ["evaluated split", result["eval_split"]],
        ["step of the checkpoint", str(result["global_step"])],
    ]
    for key, title in (
        ("label_fraction", "share of training labels used"),
        ("seed", "seed"),
        ("label_seed", "seed of whose labels are used"),
        ("fingerprint", "fingerprint of the data"),
        ("labels", "how labels were read"),
        ("selection", "how the checkpoint was chosen"),
        ("contrastive", "contrastive training at its end"),
    ):
        if result.get(key) not in (None, {}, ""):
            rows.append([title, text.plain(result[key])])
    if evaluated := result.get("provenance"):
        versions = ", ".join(f"{name} {version}" for name, version in evaluated["software"].items())
        rows += [
            ["evaluated with", versions],
            ["evaluated on", provenance.hardware_in_words(evaluated["hardware"])],
        ]
        if trained := provenance.in_words(evaluated["training"]):
            rows.append(["training took", trained])
        if commits := evaluated["training"].get("commits"):
            rows.append(["trained at commit", ", ".join(commits)])
        if identifiers:
            rows.append(["host", evaluated["host"]])
    body = page.table("Data, seeds and versions", ["what", "value"], rows, words=True)
    body += _skipped(result.get("skipped_images") or [], identifiers)
    files = result.get("files") or {}
    if not identifiers:
        return body + page.paragraph(
            f"Written beside this page: {', '.join(files) or text.DASH}. They hold ids and paths."
        )
    listed = [list(row) for row in files.items()]
    return body + page.table("Files", ["file", "path"], listed, words=True)


def _skipped(skipped: list, identifiers: bool) -> str:
    """Returns the list of images that were left out, [row, path, reason] each; "" without any."""
    if not skipped:
        return ""
    title = f"{len(skipped)} unreadable images were left out"
    if identifiers:
        listed = [[str(row), str(path), str(reason)] for row, path, reason in skipped]
        columns = ["row", "path", "reason"]
        return page.details(title, page.table("Images left out", columns, listed, words=True))
    # What a library says in brackets may quote the file.
    listed = [[str(row), str(reason).split(" (")[0]] for row, _, reason in skipped]
    columns = ["row of the table", "reason"]
    return page.details(title, page.table("Images left out", columns, listed, words=True))
