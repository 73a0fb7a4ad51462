"""The sections of report.html that show cases: worst errors, surest hits, nearest neighbours."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from simclr_med.evaluation.report import page
from simclr_med.evaluation.report.strips import Strips

_SIDE = 192  # px of a picture's longer side in the page
_SHOWN_LABELS = 3
_FEWEST_PLACES = 4  # in a row or column of a class activation map: a smaller one shows nothing


def errors(view, strips: Strips) -> str:
    """Returns the cases of the highest loss, each with its truth and the prediction.

    Args:
      view: `html.View`.
      strips: the cases to show.
    """
    text = page.paragraph(
        "The cases whose truth the model thought least likely, the worst first: look here for "
        "wrong labels, unusual images, and what the model has not learnt. Shown is the first image of "
        "each case; all of its images counted." + _numbers(view)
    )
    if view.no_maps:
        text += page.paragraph(f"No class activation maps: {view.no_maps}.")
    return text + _about_maps(view, strips.errors) + page.strip(_with_maps(view, strips.errors))


def hits(view, strips: Strips) -> str:
    """Returns the correctly classified cases of the highest confidence.

    Args:
      view: `html.View`.
      strips: the cases to show.
    """
    text = page.paragraph(
        "The cases that the model is right about and surest of, class after class. Shown is the first "
        "image of each case; all of its images counted." + _numbers(view)
    )
    return text + _about_maps(view, strips.hits) + page.strip(_with_maps(view, strips.hits))


def _with_maps(view, cases: np.ndarray) -> list[dict]:
    """Returns the items of cases: a picture with truth, prediction and, where there is one, the map."""
    items = []
    for i in map(int, cases):
        lines = [view.name_of(i), f"truth: {_label(view, i)}", *_prediction_lines(view, i)]
        pixels, class_map = view.pictures.get(i), view.maps.get(i)
        alt = f"First image of {view.name_of(i)}"
        item: dict = {"picture": _picture(pixels), "alt": alt, "lines": lines}
        if pixels is not None and _can_be_drawn(class_map):
            name, evidence = class_map
            side_by_side = np.concatenate([pixels, _overlay(pixels, evidence)], axis=1)
            alt += f"; on the right, where in it the evidence for {name} is"
            lines = [*lines, f"right: evidence for {name}"]
            item = {
                "picture": _picture(side_by_side, 2 * _SIDE),
                "alt": alt,
                "lines": lines,
                "wide": True,
            }
        items.append(item)
    return items


def _can_be_drawn(class_map: tuple[str, np.ndarray] | None) -> bool:
    return class_map is not None and min(class_map[1].shape) >= _FEWEST_PLACES


def _about_maps(view, cases: np.ndarray) -> str:
    """Returns a paragraph on what the maps show and do not show; "" where there are none."""
    maps = [view.maps[int(i)] for i in cases if int(i) in view.maps]
    if not maps:
        return ""
    height, width = maps[0][1].shape
    if not any(map(_can_be_drawn, maps)):
        return page.paragraph(
            f"No class activation maps: at this image size the network's last layer has {height} × "
            f"{width} places, too few to say where in an image something is."
        )
    return page.paragraph(
        "On the right of each picture, in yellow, where the network's last layer found evidence for the "
        f"class that is named (class activation map, {height} × {width} places). It does not show why, "
        "nor what would change the answer; of a case with several images it shows the first, while all "
        "of them count; and evidence in the right place is no proof of a right reason."
    )


def _overlay(pixels: np.ndarray, evidence: np.ndarray) -> np.ndarray:
    """Returns a picture, uint8 [H, W, 3], with the positive evidence, float [h, w], in yellow."""
    share = np.maximum(evidence, 0) / max(float(evidence.max()), 1e-12)
    height, width = pixels.shape[:2]
    small = Image.fromarray((share * 255).astype(np.uint8))
    heat = np.asarray(small.resize((width, height), Image.Resampling.BICUBIC), float) / 255
    grey = np.repeat(pixels.mean(axis=-1, keepdims=True), 3, axis=-1)
    weight = 0.6 * heat[..., np.newaxis]
    return ((1 - weight) * grey + weight * np.array([255.0, 220.0, 0.0])).round().astype(np.uint8)


def neighbours(view, strips: Strips) -> str:
    """Returns a row for each query: the case, and the nearest ones of other patients.

    Args:
      view: `html.View`.
      strips: the cases to show.
    """
    rows = []
    for query, neighbour_cases, cosines in zip(strips.queries, strips.neighbours, strips.cosines):
        items = [_neighbour(view, query, "the case", query=True)]
        items += [
            _neighbour(view, i, f"similarity {cosine:.3f}")
            for i, cosine in zip(neighbour_cases, cosines)
            if i >= 0
        ]
        rows.append(page.strip(items))
    return page.paragraph(
        "On the left of each row a case; beside it the cases of other patients that the encoder "
        "finds most similar (cosine of the features). Labels played no part in the choice."
        + _numbers(view)
    ) + "".join(rows)


def near_duplicates(view) -> str:
    """Returns the pairs of cases of different patients that the encoder takes for one, with counts."""
    text = page.paragraph(
        "Pairs that the encoder takes for one. A copy of an image, or a patient with two ids, would look "
        "like this; but an encoder that has learnt little finds everything alike: look before you remove "
        "anything. --mode=verify compares the pixels of all splits." + _numbers(view)
    )
    with_training = _with_training(view)
    among = page.subheading("Among the evaluated cases") + _among(view)
    return text + page.subheading("With training cases") + with_training + among


def _with_training(view) -> str:
    """Returns the pairs of an evaluated and a training case, or why they were not compared."""
    duplicates = view.near_training
    if duplicates is None:
        return page.paragraph(
            f"Not compared: {view.no_training or 'there are no training cases here'}."
        )
    compared, size = duplicates.of_split
    evaluated = _first(duplicates.compared, len(view.cases.ids))
    among = (
        f"{evaluated} evaluated cases compared with {_first(compared, size)} cases of "
        f"split “{duplicates.split}”"
    )
    limit = f"{duplicates.limit:g}"
    alike = f"different patients whose features, less their mean, have a cosine above {limit}"
    if not duplicates.count:
        return page.paragraph(f"No pair of {alike}: {among}.")
    many = f" The {len(duplicates.pairs)} most alike are shown." * (
        duplicates.count > len(duplicates.pairs)
    )
    items = [
        _pair_item(view, i, cosine, view.name_of_training(j), view.training_pictures.get(int(j)))
        for (i, j), cosine in zip(duplicates.pairs.tolist(), duplicates.cosines)
    ]
    return page.paragraph(
        f"Pairs of {alike}: {duplicates.count:,}, {among}. Evaluated cases in such a pair: "
        f"{duplicates.num_cases:,}.{many} Where these are copies, the numbers on this page are too good. "
        "On the left the evaluated case, on the right the training case."
    ) + page.strip(items)


def _first(compared: int, size: int) -> str:
    """Returns "the first 10,000 of 12,345", or "all 345"."""
    return f"the first {compared:,} of {size:,}" if compared < size else f"all {size:,}"


def _among(view) -> str:
    """Returns the pairs of two evaluated cases."""
    duplicates = view.near_duplicates
    first = (
        f"the first {duplicates.compared:,} of "
        if duplicates.compared < len(view.cases.ids)
        else ""
    )
    among = f"among {first}{len(view.cases.ids):,} evaluated cases"
    alike = f"features, less their mean, have a cosine above {duplicates.limit:g}"
    if not duplicates.count:
        return page.paragraph(f"No two cases of different patients whose {alike}, {among}.")
    many = (
        f" The {len(duplicates.pairs)} most alike are shown."
        if duplicates.count > len(duplicates.pairs)
        else ""
    )
    return page.paragraph(
        f"Pairs of cases of different patients whose {alike}: {duplicates.count:,}, {among}, of which "
        f"{duplicates.num_cases:,} are in such a pair.{many}"
    ) + page.strip(
        [
            _pair_item(view, i, cosine, view.name_of(j), view.pictures.get(j), _label(view, j))
            for (i, j), cosine in zip(duplicates.pairs.tolist(), duplicates.cosines)
        ]
    )


def _pair_item(
    view, i: int, cosine: float, other: str, other_picture: np.ndarray | None, other_label: str = ""
) -> dict:
    """Returns the item of a pair, an evaluated case and another: both pictures side by side."""
    names = f"{view.name_of(i)} and {other}"
    label = f"{_label(view, i)} | {other_label}" if other_label else _label(view, i)
    lines = [names, f"similarity {cosine:.4f}", label]
    pictures = [view.pictures.get(i), other_picture]
    item = {"picture": "", "alt": f"First images of {names}", "lines": lines, "wide": True}
    if all(picture is not None for picture in pictures):
        item["picture"] = _picture(np.concatenate(pictures, axis=1), 2 * _SIDE)
    return item


def _numbers(view) -> str:
    """Returns a sentence on what the numbers of cases mean, where no ids are shown."""
    if view.identifiers:
        return ""
    return (
        " Case 1 is the first row below the header of predictions.csv, which stays with whoever made "
        "this page."
    )


def _neighbour(view, i: int, line: str, query: bool = False) -> dict:
    return {
        "picture": _picture(view.pictures.get(int(i))),
        "alt": f"First image of {view.name_of(i)}",
        "lines": [_label(view, i), line, view.name_of(i)],
        "query": query,
    }


def _label(view, i: int) -> str:
    """Returns the name of a case's class, or of its positive labels."""
    label = view.cases.labels[i]
    if not view.cases.labelled[i]:
        return "no label"
    if np.ndim(label) == 0:
        return str(view.class_names[label])
    names = [str(view.class_names[c]) for c in np.flatnonzero(label == 1)]
    more = len(names) - _SHOWN_LABELS
    return ", ".join(names[:_SHOWN_LABELS]) + (f" and {more} more" if more > 0 else "") or "none"


def _prediction_lines(view, i: int) -> list[str]:
    """Returns the lines on a case's prediction; of several labels, on the one that is furthest off."""
    label, scores = view.cases.labels[i], view.scores[i]
    if np.ndim(label) == 0:
        best = int(np.nanargmax(scores))
        return [
            f"predicted: {view.class_names[best]} {scores[best]:.3f}",
            f"probability of the truth: {scores[label]:.3f}",
        ]
    worst = int(np.nanargmax(np.abs(label - scores)))
    has = "present" if label[worst] == 1 else "absent"
    return [f"furthest off: {view.class_names[worst]}, {has}, predicted {scores[worst]:.3f}"]


def _picture(pixels: np.ndarray | None, side: int = _SIDE) -> str:
    """Returns a picture as a data: URI of at most `side` px; "" without one."""
    if pixels is None:
        return ""
    image = Image.fromarray(np.asarray(pixels, np.uint8))
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, format="JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
