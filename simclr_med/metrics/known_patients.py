"""In words: how much of a dataset a result is about, and which of its patients the model knows."""

from __future__ import annotations


def part(result: dict) -> str:
    """Returns in words how many of the dataset's cases were evaluated; "" for a result that does not say.

    Example: "81 of 81 cases: all splits (train 60, validation 9, test 12)."
    """
    evaluated = result.get("evaluated")
    if not evaluated:
        return ""
    sizes = ", ".join(f"{name} {size:,}" for name, size in evaluated["cases_of_splits"].items())
    split = evaluated["split"]
    where = f"all splits ({sizes})" if split == "all" else f"split '{split}' (there are {sizes}"
    if split != "all":
        by_hash = "; by a hash of the patients' ids" if evaluated["splits_from"] == "hash" else ""
        where += f"{by_hash})"
    words = f"{evaluated['cases']:,} of {evaluated['of']:,} cases: {where}"
    if evaluated["cases"] < evaluated["cases_of_split"]:
        words += (
            f", its first {evaluated['cases']:,} of {evaluated['cases_of_split']:,} by --eval_steps"
        )
    if evaluated["probes_fitted_on"]:
        fitted, cases = evaluated["probes_fitted_on"]
        words += f". Probes are fitted on '{fitted}', {cases:,} cases of the same data"
    return f"{words}."


def warnings(result: dict) -> list[str]:
    """Returns a warning for each reason why the numbers are too good; [] if none is known."""
    overlap = result.get("patients") or {"in_common": []}
    lines = []
    for row in overlap["in_common"]:
        if not row["patients"] or row["with"] == "pretraining":
            continue
        reason = {
            "training": f"the run was trained on them, with their labels (split '{row['split']}')",
            "probe": f"the probes are fitted on their labels (split '{row['split']}')",
            "selection": f"they chose the run or its checkpoint (split '{row['split']}')",
        }[row["with"]]
        lines.append(
            f"{row['patients']:,} of the {overlap['evaluated']:,} evaluated patients are known to the "
            f"model: {reason}. These numbers say nothing about other patients."
        )
    return lines


def notes(result: dict) -> list[str]:
    """Returns notes on the evaluated patients, one line each; [] for a result that does not name them."""
    overlap = result.get("patients")
    if not overlap:
        return []
    lines = []
    of = {"training": "trained on", "probe": "used to fit the probes", "selection": "chosen on"}
    clean = [
        f"{of[row['with']]} ('{row['split']}')"
        for row in overlap["in_common"]
        if row["patients"] == 0 and row["with"] in of
    ]
    if clean:
        lines.append(
            f"None of the {overlap['evaluated']:,} evaluated patients was {' or '.join(clean)}; "
            f"patients are told apart by {overlap['told_apart_by']}."
        )
    unknown: dict[tuple[str, str], list[str]] = {}
    for row in overlap["in_common"]:
        where = f"'{row['split']}' of {row['dataset']}"
        if row["patients"] is None:
            stage = f"the {row['with']} on '{row['split']}'"
            unknown.setdefault((row["dataset"], row["why"]), []).append(stage)
        elif row["with"] == "pretraining" and row["patients"]:
            lines.append(
                f"{row['patients']:,} of the {overlap['evaluated']:,} evaluated patients were in the "
                f"pretraining on {where}, without their labels: legitimate, and to be said."
            )
        elif row["with"] == "pretraining":
            lines.append(f"No evaluated patient was in the pretraining on {where}.")
    for (dataset, why), stages in unknown.items():
        lines.append(
            f"Not known: patients in common with {', '.join(dict.fromkeys(stages))} of {dataset} "
            f"({why})."
        )
    if overlap["not_known"]:
        lines.append(f"Not known: {overlap['not_known']}.")
    return lines
