"""The sections of report.html that say how well it went: tables and charts."""

from __future__ import annotations

import numpy as np

from simclr_med import metrics
from simclr_med.evaluation.report import charts, page, points
from simclr_med.metrics import temperature, text
from simclr_med.metrics.grades import in_words
from simclr_med.metrics.text import TITLES, headline, metrics_of

_MAX_CURVES = 8
_MAX_DOTS = 40  # a page of A4
_MAX_CONFUSED = 40  # classes, as many as can be read
_POOLED = (
    " To protect patients, groups of fewer than {0} patients are one group, “fewer than {0}”. Where "
    "these have fewer than {0} even together, the smallest of the other groups is among them (“with "
    "…”): else their numbers would follow from those of all patients and of the other groups."
)


def results(result: dict) -> str:
    """Returns the table of every evaluator and encoder."""
    rows = [
        (evaluator, encoder, row)
        for evaluator, encoders in result["classification"].items()
        for encoder, row in encoders.items()
    ]
    if not rows:
        return page.paragraph("No labelled cases: nothing was measured.")
    names = [name for name in TITLES if any(name in row for *_, row in rows)]
    order_line = ""
    if order := result.get("grades"):
        order_line = page.paragraph(in_words(order, list(rows[0][2]["per_class"])))
    return order_line + page.table(
        "Results",
        ["evaluator, encoder", "cases", "patients", *(TITLES[name] for name in names)],
        [
            [
                f"{evaluator}, {text.encoder_title(result, encoder)}",
                f"{row['cases']}",
                f"{row['patients']}",
            ]
            + [text.estimate(row, name, "\n", short=True) for name in names]
            for evaluator, encoder, row in rows
        ],
        "Each number with its 95 % interval over patients. “Too few”: patients for an interval; of "
        "which class, the summary says.",
    )


def per_class(result: dict) -> str:
    """Returns the table of each class, of the headline's trained encoder."""
    evaluator, rows = headline(result)
    classes, left_out = rows["trained"]["per_class"], rows["trained"].get("left_out", {})
    columns = ["class", "with it", "without it", "AUC", "average precision"]
    caption = f"{evaluator}, trained encoder, with 95 % intervals over patients."
    if any(row["auc"] is None or np.isnan(row["auc"]) for row in classes.values()):
        caption += f" {text.DASH}: not measurable."
    return page.table(
        "Each class",
        columns + ["left out of averages"] * bool(left_out),
        [
            [name, f"{row['positives']}", f"{row['negatives']}"]
            + [text.estimate(row, "auc"), text.estimate(row, "ap")]
            + [left_out.get(name, "")] * bool(left_out)
            for name, row in classes.items()
        ],
        caption,
    )


def operating_points(result: dict) -> str:
    """Returns the tables of thresholds; "" where there are none."""
    columns = ["class", "chosen for", "threshold", "sensitivity", "specificity", "chosen on"]
    shares = ("sensitivity", "specificity")
    rows = [
        [name, "the most of both", text.number(row["threshold"])]
        + [text.estimate(row, share) for share in shares]
        + ["the selection split"]
        for name, row in headline(result)[1]["trained"]["per_class"].items()
        if "threshold" in row
    ]
    rows += [
        [row["class"], row["chosen_for"], text.number(row["threshold"])]
        + [text.estimate(row, share) for share in shares]
        + [f"{row['chosen_on_positives']} with it, {row['chosen_on_negatives']} without"]
        for row in result.get("operating_points", [])
    ]
    if not rows:
        return ""
    intro = page.paragraph(
        "A condition is called present from its threshold on. The thresholds were chosen on the "
        "selection split, never on the cases evaluated here; so what was asked of them there, they "
        "keep here only about, and the less so the fewer cases they were chosen on."
    )
    first = [row for row in rows if row[0] == result.get("positive_class")]
    if not first:
        return intro + page.table("Operating points", columns, rows)
    other_classes = page.table(
        "Operating points of the other classes", columns, [r for r in rows if r not in first]
    )
    name = f"Operating points of {first[0][0]}"
    return (
        intro + page.table(name, columns, first) + page.details("The other classes", other_classes)
    )


def curves(truth: np.ndarray, scores: np.ndarray, class_names) -> str:
    """Returns ROC and precision-recall curves of the classes that have both kinds of cases.

    Args:
      truth: of labelled cases, as in `metrics.positives`.
      scores: float [n, classes].
      class_names: of the classes or labels.
    """
    positive, known = metrics.positives(truth, scores.shape[1])
    drawn = {}
    for c, name in enumerate(class_names):
        is_positive, class_scores = positive[known[:, c], c], scores[known[:, c], c]
        if is_positive.any() and not is_positive.all() and not np.isnan(class_scores).any():
            drawn[name] = (is_positive, class_scores)
    if not drawn:
        return page.paragraph("No class has both cases with it and cases without it.")
    roc = {name: points.roc_points(*pair) for name, pair in drawn.items()}
    pr = {name: points.pr_points(*pair) for name, pair in drawn.items()}
    has_mean = len(drawn) > 1
    commonest = sorted(drawn, key=lambda name: -drawn[name][0].sum())[:_MAX_CURVES]
    rarest = len(drawn) - len(commonest)
    mean_caption = f" The black line is the mean of all {len(drawn)} classes." if has_mean else ""
    if rarest:
        mean_caption += (
            f" Drawn of them are the {_MAX_CURVES} commonest; the {rarest} rarest are in the table "
            "“Each class”, as all are."
        )
    if without := len(class_names) - len(drawn):
        mean_caption += (
            f" {without} of {len(class_names)} classes cannot be measured and have no curve."
        )
    legends: dict[str, dict] = {"roc": {}, "pr": {}}
    for name in commonest:
        auc, ap = metrics.roc_auc(*drawn[name]), metrics.average_precision(*drawn[name])
        legends["roc"][f"{auc:.3f}  {name}"] = roc[name]
        legends["pr"][f"{ap:.3f}  {name}"] = pr[name]
    left = page.figure(
        charts.roc(
            legends["roc"], points.macro_roc(list(roc.values())) if has_mean else None, rarest
        ),
        "ROC curves. Area under the curve: " + "; ".join(legends["roc"]),
        "ROC curves: the share of cases with a condition that are found, against the share of "
        "cases without it that are called. The dotted diagonal is guessing; numbers are AUCs."
        + mean_caption,
    )
    right = page.figure(
        charts.precision_recall(
            legends["pr"], points.macro_pr(list(pr.values())) if has_mean else None, rarest
        ),
        "Precision-recall curves. Average precision: " + "; ".join(legends["pr"]),
        "Precision-recall curves: of the cases called, the share that has the condition, against "
        "the share of those with it that are found. Numbers are average precisions." + mean_caption,
    )
    return page.pair(left, right)


def calibration(truth: np.ndarray, scores: np.ndarray, row: dict, scaling: dict | None) -> str:
    """Returns the reliability diagram, and beside it that of the probabilities at the temperature.

    Args:
      truth, scores: as in `curves`.
      row: has the calibration error.
      scaling: the result's "calibration"; None where no temperature was fitted.
    """
    raw = _reliability(truth, scores, row)
    if not scaling:
        return raw
    fitted = scaling["temperature"]
    scaled_scores = temperature.scaled(scores, fitted, truth.ndim == 2)
    scaled = _reliability(truth, scaled_scores, {"ece": scaling["ece_scaled"]})
    surer = "less sure" if fitted > 1 else "surer"
    return page.pair(raw, scaled) + page.paragraph(
        f"Left: probabilities as the model states them. Right: at temperature {fitted:.2f}, which makes "
        f"them {surer}. It was fitted on the selection split; no case gets another best class by it. "
        f"Mean negative log likelihood {text.number(scaling['nll'])} and "
        f"{text.number(scaling['nll_scaled'])}."
    )


def _reliability(truth: np.ndarray, scores: np.ndarray, row: dict) -> str:
    """Returns the reliability diagram; arguments as in `curves`, `row` has the error."""
    if truth.ndim == 2:
        known_labels = ~np.isnan(truth) & ~np.isnan(scores)
        probability, true = scores[known_labels], truth[known_labels] == 1
        unit, unit_text = "labels", "Each known label of each case is one prediction."
    else:
        known = ~np.isnan(scores).all(1)
        filled = np.where(np.isnan(scores), -1, scores)[known]
        probability, true = filled.max(1), filled.argmax(1) == truth[known]
        unit, unit_text = "cases", "Each case's highest probability is one prediction."
    if not len(probability) or probability.min() < 0 or probability.max() > 1:
        return page.paragraph("The scores are no probabilities: there is nothing to check.")
    bins = points.calibration_bins(probability, true)
    alt = "Reliability diagram. " + "; ".join(
        f"stated {stated:.2f}, came true {observed:.2f} ({count})"
        for stated, observed, count in zip(bins.stated, bins.observed, bins.counts)
        if count
    )
    caption = (
        f"{unit_text} Points below the diagonal: the model is surer than it should be; above: less sure "
        f"than it could be. Bars below: how many {unit} had such a probability."
    )
    if "ece" in row:
        caption = f"Expected calibration error {text.estimate(row, 'ece')}. {caption}"
    return page.figure(charts.calibration(bins, unit), alt, caption, narrow=True)


def confusion(row: dict, class_names) -> str:
    """Returns the confusion matrix and its commonest mistakes; "" where the row has none.

    Args:
      row: of result.json.
      class_names: in the order of the matrix.
    """
    if "confusion" not in row:
        return ""
    counts = np.array(row["confusion"], int)
    wrong = counts - np.diag(np.diag(counts))
    order = np.argsort(-wrong, axis=None, kind="stable")[:3]
    mistakes = "; ".join(
        f"{class_names[i]} taken for {class_names[j]}: {counts[i, j]} of {counts[i].sum()}"
        for i, j in zip(*np.unravel_index(order, wrong.shape))
        if wrong[i, j]
    )
    mistakes_text = f"Commonest mistakes: {mistakes}." if mistakes else "No mistakes."
    shown = np.arange(len(counts))
    if len(counts) > _MAX_CONFUSED:
        most = np.argsort(-(wrong.sum(0) + wrong.sum(1)), kind="stable")
        shown = np.sort(most[:_MAX_CONFUSED])
        mistakes_text += (
            f" Of {len(counts)} classes the {_MAX_CONFUSED} that are in most mistakes are shown; "
            "the whole matrix is in result.json."
        )
    names = [class_names[c] for c in shown]
    drawn = counts[np.ix_(shown, shown)]
    rows = "; ".join(
        f"{name}: {', '.join(f'{row[j]} {names[j]}' for j in np.flatnonzero(row)) or 'no cases'}"
        for name, row in zip(names, drawn)
    )
    return page.wide_figure(
        "Confusion matrix",
        charts.confusion(drawn, names, counts.sum(1)[shown]),
        f"Confusion matrix. {mistakes_text} Truth, and how many cases were taken for what: {rows}.",
        f"Rows: the truth; columns: what the model said. Numbers are cases; colour is the share of "
        f"the row. {mistakes_text}",
    )


def shift(result: dict) -> str:
    """Returns the table of a distribution shift."""
    result_shift = result["shift"]
    inside = result_shift["inside"]
    rows = [
        [TITLES.get(name, name)]
        + [text.number(row["inside"]), text.number(row["outside"])]
        + [text.signed(row["drop"], row["drop_95"], row.get("why", ""))]
        for name, row in result_shift["metrics"].items()
    ]
    return page.paragraph(
        "The same model, with nothing trained or tuned again, on data like its own and on the "
        "data evaluated here. A drop above 0 means worse here; the two sets of patients are "
        "independent."
    ) + page.table(
        "On other data",
        [
            "metric",
            f"inside: {inside['dataset']} {inside['split']}",
            f"outside: {result['dataset']} {result['eval_split']}",
            "drop",
        ],
        rows,
    )


def subgroups(result: dict) -> str:
    """Returns the table of the subgroups, the smallest first, and a chart of the main metric."""
    groups = sorted(result["subgroups"], key=lambda group: group["cases"])
    pooled = any("pooled" in group for group in groups)
    names = [name for name in TITLES if any(name in group for group in groups)]
    table = page.table(
        "Subgroups",
        ["subgroup", "cases", "patients", *(TITLES[name] for name in names)],
        [
            [f"{group['column']} = {text.plain(group['value'])}", f"{group['cases']}"]
            + [text.plain(group.get("patients"))]
            + [text.estimate(group, name, "\n") for name in names]
            for group in groups
        ],
        "Smallest first, with 95 % intervals over patients. Few cases make wide intervals; "
        "differences between groups were not tested."
        + (_POOLED.format(result["min_subgroup"]) if pooled else ""),
    )
    row = headline(result)[1].get("trained", {})
    main = next((name for name in ("macro_auc", *metrics_of(row)) if name in names), None)
    if main is None:
        return table
    dots = []
    for group in groups[-_MAX_DOTS:]:
        low, high = group.get(f"{main}_95") or (None, None)
        name = f"{group['column']} = {text.plain(group['value'])} ({group['cases']})"
        dots.append((name, _float(group.get(main)), _float(low), _float(high)))
    few = ""
    if any(np.isnan(low) for _, _, low, _ in dots):
        few = " A hollow dot is of too few patients for an interval: chance alone can move it far."
    cut = f" The {_MAX_DOTS} largest are drawn." if len(groups) > _MAX_DOTS else ""
    return table + page.wide_figure(
        "Subgroups",
        charts.dots(dots, _float(row.get(main)), TITLES[main]),
        f"{TITLES[main]} of each subgroup with its interval; the numbers stand in the table above.",
        f"{TITLES[main]} by subgroup (number of cases), with 95 % intervals; dashed: all cases."
        + few
        + cut,
    )


def label_efficiency(rows: list[dict]) -> str:
    """Returns the curve over label fractions, and its table.

    Args:
      rows: {"label_fraction", metrics, each with "_95" [low, high], or with "_std" over the
        repeats, and perhaps "method"}; the macro-AUC is drawn, or else the first metric.
    """
    metric = next(name for name in ("macro_auc", *TITLES) if name in rows[0])
    lines: dict[str, list] = {}
    for row in rows:
        value, spread = _float(row[metric]), _float(row.get(f"{metric}_std"))
        ends = row.get(f"{metric}_95") or (value - spread, value + spread)
        point = (row["label_fraction"], value, *map(_float, ends))
        lines.setdefault(str(row.get("method", "")), []).append(point)
    by_patient = any(f"{metric}_95" in row for row in rows)
    bars = "95 % intervals by patient" if by_patient else "one standard deviation over the repeats"
    table = page.table(
        "Fewer labels",
        ["method", "labels used", TITLES.get(metric, metric), "from", "to"],
        [
            [name or "model", f"{100 * share:g} %", *map(text.number, values)]
            for name, values_of in lines.items()
            for share, *values in sorted(values_of)
        ],
    )
    return page.figure(
        charts.label_efficiency(lines, TITLES.get(metric, metric)),
        f"{TITLES.get(metric, metric)} by the share of training labels; numbers in the table below.",
        f"How good the model is with fewer labelled training patients. Bars: {bars}.",
        narrow=True,
    ) + page.details("The numbers", table)


def _float(value: float | None) -> float:
    return np.nan if value is None else float(value)
