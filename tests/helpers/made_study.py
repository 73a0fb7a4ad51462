"""A study.json that was not run: numbers of a formula, so that a test can say what a report must say."""

from __future__ import annotations

BASE, SIMCLR, CONTROL, MICLE = (
    *("no pretraining", "SimCLR"),
    *("SimCLR → SimCLR by case", "SimCLR → MICLe"),
)
ARMS = (BASE, SIMCLR, CONTROL, MICLE)
USES = ("probe", "finetune", "probe_finetune")
# [of 10 % of the labels, of all], by use.
VALUES = {
    BASE: {"probe": (0.800, 0.850), "finetune": (0.820, 0.900), "probe_finetune": (0.815, 0.895)},
    SIMCLR: {"probe": (0.860, 0.890), "finetune": (0.840, 0.905), "probe_finetune": (0.855, 0.902)},
    CONTROL: {"probe": (0.862, 0.891), "finetune": (0.841, 0.904), "probe_finetune": (0.85, 0.90)},
    MICLE: {"probe": (0.867, 0.894), "finetune": (0.845, 0.906), "probe_finetune": (0.86, 0.904)},
}
FRACTIONS = (0.1, 1.0)
LABELS = {0.1: 598.0, 1.0: 5980.0}


def study(
    *,
    seeds: int = 3,
    half: float = 0.02,
    values: dict | None = None,
    fractions: tuple[float, ...] = FRACTIONS,
    uses: tuple[str, ...] = USES,
    chosen: bool = True,
    shift: bool = False,
    p_holm: float = 0.004,
) -> dict:
    """Returns what study.json holds.

    Args:
      seeds: pretrainings.
      half: half the width of every interval of a difference; of one value, its half.
      values: {arm: {use: a value for each fraction}}, macro-AUC.
      fractions, uses: of the study.
      chosen: whether there was a selection split to choose best uses on.
      shift: whether there is a second place, where everything is 0.1 lower.
      p_holm: of every planned comparison.
    """
    values = values or VALUES
    places = ("inside", "shift") if shift else ("inside",)

    def value(arm, use, fraction, place="inside"):
        return values[arm][use][fractions.index(fraction)] - 0.1 * (place == "shift")

    def spread(mean):
        runs = [mean + 0.01 * (i - (seeds - 1) / 2) for i in range(seeds)]
        sd = 0.01 if seeds > 1 else None
        interval = [mean - half / 2, mean + half / 2]
        over = "runs and patients" if seeds > 1 else "patients"
        spread = {"mean": mean, "sd": sd, "values": runs}
        return {**spread, "interval": interval, "why": "", "over": over}

    best = {
        (arm, fraction): max(uses, key=lambda use: value(arm, use, fraction))
        for arm in values
        for fraction in fractions
    }
    results = [
        {
            **{"arm": arm, "use": use, "place": place, "fraction": fraction},
            **{"labels": LABELS.get(fraction, 5980 * fraction), "patients": 1494},
            "macro_auc": spread(value(arm, use, fraction, place)),
            "top_1": spread(value(arm, use, fraction, place) - 0.2),
        }
        for place in places
        for arm in values
        for use in uses
        for fraction in fractions
    ]

    comparisons: list[dict] = []

    def compare(question, place, fraction, a, use_a, b, use_b, is_best=False):
        planned = question in ("pays", "pays_same_use", "micle")
        for metric, lower in (("macro_auc", 0.0), ("top_1", 0.2)):
            one, other = value(a, use_a, fraction, place), value(b, use_b, fraction, place)
            moved = other - one
            comparisons.append(
                {
                    **{"place": place, "fraction": fraction, "metric": metric, "a": a, "b": b},
                    **{"use_a": use_a, "use_b": use_b, "question": question, "best": is_best},
                    **{"value_a": one - lower, "value_b": other - lower, "difference": moved},
                    "difference_95": [moved - half, moved + half],
                    **{"p": 0.001 if abs(moved) > half else 0.3, "why": ""},
                    "p_holm": (p_holm if abs(moved) > half else 1.0) if planned else None,
                    "over": "runs and patients" if seeds > 1 else "patients",
                    "pairs": 3 * seeds if seeds > 1 and fraction < 1 else None,
                    "pretrainings": seeds,
                }
            )

    arms = list(values)
    for place in places:
        for fraction in fractions:
            if chosen:
                for arm in arms[1:]:
                    pair = (arms[0], best[arms[0], fraction], arm, best[arm, fraction])
                    compare("pays", place, fraction, *pair, is_best=True)
                for question, a, b in (
                    ("micle", CONTROL, MICLE),
                    ("second_stage", SIMCLR, CONTROL),
                ):
                    if {a, b} <= set(arms):
                        pair = (a, best[a, fraction], b, best[b, fraction])
                        compare(question, place, fraction, *pair, is_best=True)
            for use in uses:
                if SIMCLR in arms:
                    compare("pays_same_use", place, fraction, arms[0], use, SIMCLR, use)
                if {CONTROL, MICLE} <= set(arms):
                    compare("micle_same_use", place, fraction, CONTROL, use, MICLE, use)
            for arm in arms:
                for one, other in zip(uses, uses[1:]):
                    compare("use", place, fraction, arm, one, arm, other)
    why = "" if chosen else "no --selection_split is given"
    selection = [
        {**{key: row[key] for key in ("arm", "use", "fraction", "labels")}, "place": "selection"}
        | {
            "patients": None,
            "macro_auc": {**row["macro_auc"], "interval": None, "why": "it chooses"},
        }
        for row in results
        if row["place"] == "inside"
    ]
    return {
        "dataset": "derm_bags/photos:1.0.0",
        "eval_split": "validation",
        "shift_dataset": "derm_bags/elsewhere:1.0.0" if shift else "",
        "shift_split": "test" if shift else "",
        "is_demo": False,
        "architecture": "ResNet-18 (1x)",
        "metric": "macro_auc",
        "fixed": "steps are fixed: every run makes 300, so a smaller share is seen more often",
        "selection_split": "train[85%:]" if chosen else None,
        "has_grid": True,
        "searched_fractions": [0.1],
        "keep_weights": "pretraining",
        "permutations": 1000,
        "stages": {"simclr": SIMCLR, "control": CONTROL, "micle": MICLE},
        "layout": None,
        "runs": {
            **{"pretraining": 3 * seeds, "sweep": 24, "fine-tuning": 96, "probe": 48},
            "splits": {
                name: {
                    "split": name,
                    "cases": 5980,
                    "labelled": 5980,
                    "patients": 5980,
                    "images": 7001,
                }
                for name in ("pretraining", "training", "evaluation")
            },
        },
        "uses": list(uses),
        "label_subsets": 3,
        "seeds": list(range(seeds)),
        "fractions": list(fractions),
        "arms": [
            {
                **{"name": arm, "folder": f"arm{i}", "is_baseline": i == 0},
                "pretraining_data": "derm_bags" if i else "none",
            }
            for i, arm in enumerate(arms)
        ],
        "hyperparameters": [
            {
                **{"arm": arm, "use": use, "fraction": None, "learning_rate": 0.1},
                **{"weight_decay": 0.0, "train_steps": 300, "chosen_at": 0.1},
            }
            for arm in arms
            for use in uses
            if use != "probe"
        ],
        "results": results + (selection if chosen else []),
        "best_use": [
            {"arm": arm, "fraction": f, "use": use if chosen else None, "why": why}
            for (arm, f), use in best.items()
        ],
        "comparisons": comparisons,
        "pretraining": {
            stage: [
                {
                    **{"seed": seed, "global_step": 2000, "run": f"pretrain_{stage}/seed_{seed}"},
                    "contrastive": {
                        **{"loss": 3.1, "chance_loss": 4.844, "accuracy": 0.5},
                        **{"chance_accuracy": 0.0156, "negatives": 126.0},
                    },
                    "classification": {
                        "linear probe": {"trained": {"macro_auc": 0.89, "cases": 1494}}
                    },
                    "encoders": {},
                }
                for seed in range(seeds)
            ]
            for stage in ("simclr", "control", "micle")
        },
    }
