"""The sections of report.html that show how training went, what it saw, and the map of the cases."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from simclr_med.evaluation.report import charts, page
from simclr_med.evaluation.report.embedding import MAX_CASES
from simclr_med.run_folder import provenance
from simclr_med.run_folder.curves import Panel

_WIDEST = 1280  # px of a picture in the page
_QUALITY = 82
_NO_INFORMATION = {
    "chance": "what chance gives among as many pairs",
    "class shares alone": "what is reached by answering with the classes' shares, without a look at an "
    "image",
    "commonest class": "what is reached by always answering with the commonest class",
}


def training(result: dict, panels: list[Panel], views: bytes | None) -> str:
    """Returns how long training took, its curves, and the picture of what it saw.

    Args:
      result: the content of result.json.
      panels: of the run's metrics; [] without any.
      views: views.png; None without it.
    """
    duration = provenance.in_words((result.get("provenance") or {}).get("training") or {})
    summary = f"Evaluated after {result['global_step']:,} steps."
    if duration:
        summary = f"Training took {duration}. {summary}"
    body = page.paragraph(summary)
    if panels:
        body += page.pair(
            *(
                page.figure(charts.over_steps(panel), _alt(panel), _caption(panel))
                for panel in panels
            )
        )
    if views:
        text = (
            "What the network saw at its first step: training images after random cropping and the "
            "other augmentations. The numbers in the picture count what is in it; they are not those of "
            "predictions.csv."
        )
        alt = "Augmented training images of the first step: tiles in groups, each group numbered"
        body += page.wide_figure("Training images", _jpeg(views), alt, text)
    return body


def map_of_cases(result: dict, num_cases: int, embedding: bytes) -> str:
    """Returns the map of the evaluated cases.

    Args:
      result: the content of result.json.
      num_cases: that were evaluated.
      embedding: embedding.png.
    """
    first = f"the first {MAX_CASES:,} of " if num_cases > MAX_CASES else ""
    text = (
        f"Each point is a case of the split “{result['eval_split']}” ({first}{num_cases:,} cases), in "
        "the colour and form of its class, so placed that cases that the encoder finds alike are near. "
        "Only who is near whom means something: axes, distances between groups and their sizes do not. "
        "Some cases are shown as pictures, framed in the colour of their class."
    )
    alt = (
        "The evaluated cases in two dimensions: a point each, in a colour and form of its class. How "
        "well these features tell classes apart is in the tables above"
    )
    return page.wide_figure("Map of the cases", _jpeg(embedding), alt, text)


def _alt(panel: Panel) -> str:
    """Returns what a curve shows, with its ends and what chance gives."""
    known = np.flatnonzero(np.isfinite(panel.values))
    if not len(known):
        return f"{panel.title} over the steps of training"
    (first, last), steps = panel.values[known[[0, -1]]], panel.steps[known[[0, -1]]]
    values_text = f"from {first:.3g} at step {steps[0]:,.0f} to {last:.3g} at step {steps[1]:,.0f}"
    if panel.has_chance:
        chance = panel.chance[np.isfinite(panel.chance)][-1]
        values_text += f"; {panel.chance_title} gives {chance:.3g}"
    return f"{panel.title} over the steps of training: {values_text}"


def _caption(panel: Panel) -> str:
    if not panel.is_measured:
        return f"{panel.title[0].upper()}{panel.title[1:]}, by step."
    text = f"{panel.title[0].upper()}{panel.title[1:]}: pale as logged, strong its running mean."
    if panel.has_chance:
        text += f" Dashed: {_NO_INFORMATION[panel.chance_title]}."
    return text


def _jpeg(png: bytes) -> str:
    """Returns a picture as a data: URI of a JPEG, which holds nothing beside its pixels."""
    image = Image.open(io.BytesIO(png)).convert("RGB")
    image.thumbnail((_WIDEST, 4 * _WIDEST), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, format="JPEG", quality=_QUALITY, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
