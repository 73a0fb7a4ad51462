"""A study's comparisons on the same patients: paired differences, intervals, p-values."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator

from simclr_med.config import Config
from simclr_med.experiments.study_plan import BASELINE, CONTROL, MICLE, SIMCLR, Plan
from simclr_med.experiments.study_results import Cells
from simclr_med.metrics.compare import compare, correct
from simclr_med.metrics.grades import grades_of

REQUESTED = "asked"  # by an arms file
CONFIRMATORY = ("pays", "pays_same_use", "micle", REQUESTED)  # Holm's correction is over these
_KEPT = ("difference", "difference_95", "p", "why", "over", "pairs")


@dataclasses.dataclass(frozen=True)
class Question:
    """One comparison.

    Attributes:
      name: what it answers; see `study.run`.
      a, use_a, b, use_b: names of arms, and their uses.
      best: whether the uses are those that were chosen for the arms.
    """

    name: str
    a: str
    use_a: str
    b: str
    use_b: str
    best: bool = False


def questions(arms: list[str], uses: list[str], best: dict[str, str | None]) -> Iterator[Question]:
    """Yields the comparisons at one label fraction and place.

    Args:
      arms: their names.
      uses: of all arms.
      best: {arm: the use chosen for it at this fraction, None: none was chosen}.
    """

    def of_best(name, a, b):
        use_a, use_b = best[a], best[b]
        if use_a and use_b:
            yield Question(name, a, use_a, b, use_b, best=True)

    yield from of_best("pays", BASELINE, SIMCLR)
    for arm in arms:
        if arm not in (BASELINE, SIMCLR):
            yield from of_best("pays", BASELINE, arm)
    for use in uses:
        yield Question("pays_same_use", BASELINE, use, SIMCLR, use)
    yield from of_best("micle", CONTROL, MICLE)
    for use in uses:
        yield Question("micle_same_use", CONTROL, use, MICLE, use)
    yield from of_best("second_stage", SIMCLR, CONTROL)
    for arm in arms:
        for use, next_use in zip(uses, uses[1:]):
            yield Question("use", arm, use, arm, next_use)


def _questions_of(plan: Plan, best: dict[str, str | None]) -> Iterator[Question]:
    """Yields what a study asks of the arms that have a best use at a fraction, and are in `best`."""
    if plan.comparisons is None:
        yield from questions(list(best), plan.uses, best)
        return
    for row in plan.comparisons:
        use_a, use_b = best.get(row["a"]), best.get(row["b"])
        if use_a and use_b:
            yield Question(REQUESTED, row["a"], use_a, row["b"], use_b, best=True)


def compare_all(
    cells: Cells, places: list[str], best: dict[tuple[str, float], str | None], recipe: Config
) -> list[dict]:
    """Returns the rows of study.json's "comparisons", see `study.run`.

    Args:
      cells: the runs of the study.
      places: "inside", and "shift" where there is one.
      best: {(arm, fraction): the use chosen for it}.
      recipe: of fine-tuning, whose seed and `--bootstrap_resamples` permutations have.
    """

    @functools.cache
    def comparison(place, fraction, a, use_a, b, use_b):
        sides = [cells.runs(place, *side) for side in ((a, use_a, fraction), (b, use_b, fraction))]
        origins = tuple([run.pretraining for run in side] for side in sides)
        # Both arms used the same seed and the same labelled cases.
        blocks = tuple([(run.job.seed, run.job.subset) for run in side] for side in sides)
        first = sides[0][0].predictions
        rows = compare(
            *([run.predictions for run in side] for side in sides),
            seed=recipe.run.seed,
            permutations=recipe.eval.bootstrap_resamples,
            pretrainings=origins,
            blocks=blocks,
            grades=grades_of(recipe, first.class_names, first.multilabel),
        )
        return rows, min(len(set(names)) for names in origins)

    rows = []
    plan = cells.plan
    for place in places:
        for fraction in plan.fractions:
            arms = [arm.name for arm in plan.arms if fraction in plan.fractions_of(arm)]
            chosen = {arm: best[arm, fraction] for arm in arms}
            for question in _questions_of(plan, chosen):
                sides = (question.a, question.use_a, question.b, question.use_b)
                by_metric, pretrainings = comparison(place, fraction, *sides)
                about: dict = dict(zip(("a", "use_a", "b", "use_b"), sides))
                about |= {
                    "question": question.name,
                    "best": question.best,
                    "pretrainings": pretrainings,
                }
                rows += [
                    {
                        **{"place": place, "fraction": fraction, **about, "metric": metric},
                        **{"value_a": row["a"], "value_b": row["b"]},
                        **{key: row[key] for key in _KEPT},
                        "p_holm": None,
                    }
                    for metric, row in by_metric.items()
                ]
    for metric in {row["metric"] for row in rows}:
        planned = [r for r in rows if r["metric"] == metric and r["question"] in CONFIRMATORY]
        # Where best uses coincide, two questions are one test.
        tests = {_sides(row): row for row in planned}
        correct(tests.values())
        for row in planned:
            row["p_holm"] = tests[_sides(row)]["p_holm"]
    return rows


def num_planned(study: dict) -> int:
    """Returns over how many tests of its main metric a study's p-values are corrected."""
    rows = [r for r in study["comparisons"] if r["metric"] == study["metric"]]
    return len({_sides(row) for row in rows if row["p_holm"] is not None})


def _sides(row: dict) -> tuple:
    """Returns what a row compares, whatever the question is called."""
    return tuple(row[key] for key in ("place", "fraction", "a", "use_a", "b", "use_b"))
