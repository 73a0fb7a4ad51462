"""report.html: one page that says what an evaluation found, readable offline and in print."""

from __future__ import annotations

import dataclasses
import datetime
import functools
from collections.abc import Sequence

import numpy as np

from simclr_med import run_folder
from simclr_med.data.cases import Cases
from simclr_med.evaluation.report import (
    findings,
    gallery,
    overview,
    page,
    patients,
    provenance,
    strips,
    summary,
)
from simclr_med.evaluation.report.near_duplicates import NearDuplicates
from simclr_med.metrics.text import headline
from simclr_med.run_folder.curves import Panel
from simclr_med.transient import described

_NOT_TO_HAND_ON = (
    "Not to hand on: this page was made with --keep_identifiers and holds ids of cases, names of "
    "files and folders. Evaluate again without that flag for a page without them."
)


@dataclasses.dataclass(frozen=True)
class View:
    """What the page shows beside the numbers of the result.

    Attributes:
      cases: the evaluated cases, n of them.
      scores: of the supervised head, else of the linear probe on the trained encoder, float
        [n, C]; None without any labels.
      class_names: C of them.
      features: of the trained encoder, float [n, d]; None where there are several encoders.
      pictures: {case index: uint8 [H, W, 3]} of `strips.choose_cases(cases, scores, features).pictures`;
        one that is missing is left grey.
      maps: {case index: (class, its activation map, float [h, w])} of errors and hits, see `activation`;
        {} of a model that has none.
      no_maps: why there are none; "" where there are, or no reason is shown.
      config: `Config.to_dict()`, and whatever else config.json holds.
      label_efficiency: rows as in `findings.label_efficiency`; None without a curve.
      identifiers: whether to show ids of cases, names of files and folders, which are for the owner of
        the run only; else a case is called by its row in predictions.csv.
      near_duplicates: among the cases; None: not searched.
      near_training: of the cases with training cases; None: not searched.
      no_training: why training cases were not searched.
      training_ids: ids of these training cases.
      training_pictures: {index of the training case: uint8 [H, W, 3]}.
      curves: of the run's training; [] without any.
      drawings: {"views" | "embedding": bytes of the PNG}, those that exist. They name no case,
        file or folder (curves.png, which names the run's folder, is drawn again from `curves`).
    """

    cases: Cases
    scores: np.ndarray | None
    class_names: tuple[str, ...]
    features: np.ndarray | None
    pictures: dict[int, np.ndarray]
    config: dict
    maps: dict[int, tuple[str, np.ndarray]] = dataclasses.field(default_factory=dict)
    no_maps: str = ""
    label_efficiency: list[dict] | None = None
    identifiers: bool = False
    near_duplicates: NearDuplicates | None = None
    near_training: NearDuplicates | None = None
    no_training: str = ""
    training_ids: Sequence[str] = ()
    training_pictures: dict[int, np.ndarray] = dataclasses.field(default_factory=dict)
    curves: list[Panel] = dataclasses.field(default_factory=list)
    drawings: dict[str, bytes] = dataclasses.field(default_factory=dict)

    def name_of(self, case: int) -> str:
        """Returns what the page calls a case: its id, or its number, from 1, as in predictions.csv."""
        return str(self.cases.ids[case]) if self.identifiers else f"case {case + 1}"

    def name_of_training(self, case: int) -> str:
        """Returns what the page calls a training case: its id, or its place in its split, from 1."""
        return str(self.training_ids[case]) if self.identifiers else f"training case {case + 1}"


def save(path: str, result: dict, view: View) -> dict[str, str]:
    """Writes the page; returns {section that could not be made: why}.

    Args:
      path: of the HTML file.
      result: the content of result.json; an undefined number is NaN or None.
      view: what the page shows beside it.
    """
    failures: dict[str, str] = {}
    run_folder.write_atomically(path, render(result, view, failures))
    return failures


def render(result: dict, view: View, failures: dict[str, str] | None = None) -> str:
    """Returns the page; arguments as in `save`.

    Args:
      failures: gets {heading: why} of each section that cannot be made, which then says so; None:
        the error is raised.
    """

    def make_section(heading: str, make, *args) -> tuple[str, str]:
        try:
            return heading, make(*args)
        except Exception as error:
            if failures is None:
                raise
            failures[heading or "summary"] = described(error)
            return heading, page.paragraph(
                "This part could not be made; the numbers are in result.json."
            )

    num_patients = len(np.unique(view.cases.patients))
    box = functools.partial(summary.box, identifiers=view.identifiers)
    sections = [
        make_section("", box, result, len(view.cases.ids), num_patients),
        make_section("", patients.box, result),
        make_section("Results", findings.results, result),
    ]
    if view.identifiers:
        sections.insert(0, ("", page.box(page.paragraph(_NOT_TO_HAND_ON), "warning", "Warning")))
    sections += _of_classes(result, view, make_section)
    if view.label_efficiency:
        sections.append(
            make_section("Fewer labels", findings.label_efficiency, view.label_efficiency)
        )
    if result.get("shift"):
        sections.append(make_section("On other data", findings.shift, result))
    if result.get("subgroups"):
        sections.append(make_section("Subgroups", findings.subgroups, result))
    shown = strips.choose_cases(view.cases, view.scores, view.features)
    if len(shown.errors):
        sections.append(make_section("Worst errors", gallery.errors, view, shown))
    if len(shown.hits):
        sections.append(make_section("Surest hits", gallery.hits, view, shown))
    if view.features is not None:
        sections.append(make_section("Nearest neighbours", gallery.neighbours, view, shown))
    sections += _of_pictures(result, view, make_section)
    sections += [
        make_section("Configuration", provenance.configuration, view.config, view.identifiers),
        make_section(
            "Data, seeds, versions, files", provenance.data_and_versions, result, view.identifiers
        ),
    ]
    now = datetime.datetime.now(datetime.timezone.utc)
    lead = (
        f"Split “{result['eval_split']}” · step {result['global_step']:,} · trained on "
        f"“{result['train_split']}” · written {now:%Y-%m-%d %H:%M} UTC"
    )
    return page.document(f"Evaluation of {result['dataset']}", lead, sections)


def _of_pictures(result: dict, view: View, make_section) -> list[tuple[str, str]]:
    """Returns near-duplicates, the map of the cases and training, of which there is something."""
    sections = []
    if view.near_duplicates:
        sections.append(make_section("Near-duplicates", gallery.near_duplicates, view))
    if "embedding" in view.drawings:
        num_cases = len(view.cases.ids)
        picture = view.drawings["embedding"]
        sections.append(
            make_section("Map of the cases", overview.map_of_cases, result, num_cases, picture)
        )
    if view.curves or "views" in view.drawings:
        views = view.drawings.get("views")
        sections.append(
            make_section("How training went", overview.training, result, view.curves, views)
        )
    return sections


def _of_classes(result: dict, view: View, make_section) -> list[tuple[str, str]]:
    """Returns the sections about classes; none where nothing was measured."""
    rows = headline(result)[1]
    if not rows:
        return []
    row = rows["trained"]
    sections = [make_section("Each class", findings.per_class, result)]
    labelled = view.cases.labelled
    if view.scores is not None and labelled.any():
        truth, scores = view.cases.labels[labelled], view.scores[labelled]
        sections += [
            make_section("Curves", findings.curves, truth, scores, view.class_names),
            make_section(
                "Calibration", findings.calibration, truth, scores, row, result.get("calibration")
            ),
        ]
    sections += [
        make_section("Which classes are mixed up", findings.confusion, row, view.class_names),
        make_section("Operating points", findings.operating_points, result),
    ]
    return [(heading, body) for heading, body in sections if body]
