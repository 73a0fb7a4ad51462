"""--mode=predict: predictions of trained classifiers for new images, which are not prepared."""

from __future__ import annotations

import time

from simclr_med import __version__, build, signals
from simclr_med.commands import dataset
from simclr_med.commands.invocation import Invocation
from simclr_med.commands.run_config import config_of_model, models_of
from simclr_med.config import Config
from simclr_med.evaluation import likeness
from simclr_med.evaluation.ensemble import Ensemble, open_ensemble
from simclr_med.evaluation.predict import Scored, predict
from simclr_med.evaluation.prediction_files import PredictionFiles
from simclr_med.evaluation.prediction_table import PredictionTable
from simclr_med.export import writable
from simclr_med.run_folder import gfile, leftovers, terminal
from simclr_med.run_folder.progress import Progress
from tfds_builders.new_cases import NewCases

_NAME = "new"  # of the files, where --eval_name gives none
_MOST_CASES, _MOST_SECONDS = 500, 30.0  # in a part, and between parts


def run(invocation: Invocation) -> int:
    """Writes the predictions; returns the exit code."""
    given = invocation.given
    configs = {path: config_of_model(given, path) for path in models_of(given)}
    config = invocation.config
    if not config.eval.eval_name:
        config = config.replace(eval_name=_NAME)
    named = given[
        "model_dir"
    ]  # one folder, which may hold the runs of --repeats or --folds; or several
    folder = config.predict.output_dir or (named if gfile.isdir(named) else next(iter(configs)))
    writable.check(folder, folder, of_run=False, advice="Give --output_dir=ELSEWHERE.")
    cases = dataset.new_cases(config)
    strategy = build.set_up(config)  # before anything else touches TensorFlow's devices
    ensemble = open_ensemble(configs, strategy)
    table = PredictionTable(ensemble, config.eval.positive_class)
    _print_what(ensemble, cases, config)
    files = PredictionFiles(
        folder,
        config.eval.suffix,
        _made_of(ensemble, cases, config),
        table,
        per_image=config.predict.per_image,
    )
    if files.are_done():
        print(f"All of it is done already: {files.path}")
        return 0
    with files.locked():
        leftovers.remove(folder)
        done = files.begin()
        if done:
            print(f"Goes on behind the {done:,} cases that are done.")
        try:
            _write_all(ensemble, cases, config, files, done)
        except signals.Interrupted as interrupted:
            return signals.report_stop(interrupted, folder)
        written, counts = files.finish(_facts(ensemble, cases, config))
    rows = [[what, f"{number:,}"] for what, number in counts.items() if number]
    terminal.show([("Predicted", ["", "number"], rows)])
    print("Written:")
    for path in written:
        print(f"  {path}")
    return 0


def _write_all(
    ensemble: Ensemble, cases: NewCases, config: Config, files: PredictionFiles, done: int
) -> None:
    """Scores the cases from number `done` on, and writes them part by part.

    Raises:
      Interrupted: a signal asked to stop; what was scored is written.
    """
    data = config.data
    loaded = cases.load(done, data.build_long_side, data.dicom_frame)
    progress = Progress(len(cases.cases), "cases", done)
    waiting: list[Scored] = []
    last = time.monotonic()
    with signals.stop_signals() as received:
        for scored in predict(ensemble, loaded, per_image=config.predict.per_image):
            waiting += scored
            progress(len(scored))
            now = time.monotonic()
            if received or len(waiting) >= _MOST_CASES or now - last > _MOST_SECONDS:
                files.write(waiting)
                waiting, last = [], now
            if received:
                raise signals.Interrupted(received[0])
        files.write(waiting)


def _made_of(ensemble: Ensemble, cases: NewCases, config: Config) -> dict:
    """Returns everything that the predictions depend on."""
    return {
        "cases": cases.digest,
        "weights": [member.identity for member in ensemble.members],
        "class_names": list(ensemble.class_names),
        "image_size": config.augment.image_size,
        "antialias": config.augment.is_antialiased,
        "mixed_precision": [m.config.device.mixed_precision for m in ensemble.members],
        "build_long_side": config.data.build_long_side,
        "dicom_frame": config.data.dicom_frame,
        "per_image": config.predict.per_image,
        "positive_class": config.eval.positive_class,
        "temperatures": [member.temperature for member in ensemble.members],
    }


def _facts(ensemble: Ensemble, cases: NewCases, config: Config) -> dict:
    """Returns the content of predictions_NAME.json: which weights, and how to read the predictions."""
    return {
        "version": __version__,
        "models": [
            {
                "folder": member.path,
                "weights": member.weights,
                "limit_of_distance": member.likeness and member.likeness.limit,
                "limit_from": member.likeness and member.likeness.basis,
            }
            for member in ensemble.members
        ],
        "class_names": list(ensemble.class_names),
        "several_labels": ensemble.multilabel,
        "thresholds": ensemble.thresholds,
        "operating_points": {
            p.title: p.threshold for p in ensemble.operating_points(config.eval.positive_class)
        },
        "num_cases": len(cases.cases),
        "notes": list(cases.notes),
    }


def _print_what(ensemble: Ensemble, cases: NewCases, config: Config) -> None:
    """Prints what is scored, by what, and what was assumed."""
    for note in cases.notes:
        print(f"Note: {note}")
    projection = config.data.projection
    if projection != "all" and not cases.views_known:
        print(
            f"Note: the run was trained on {projection} X-rays alone (--projection={projection}); "
            f"{cases.folder} does not say which its images are: all of them are scored."
        )
    for member in ensemble.members:
        print(f"The model of {member.weights}.")
    images = sum(len(case.paths) for case in cases.cases)
    print(f"{len(cases.cases):,} cases, {images:,} image files in {cases.folder}")
    what = "labels, of which a case can have several" if ensemble.multilabel else "classes"
    print(f"{len(ensemble.class_names)} {what}: {', '.join(ensemble.class_names)}")
    if not ensemble.knowing:
        print(
            "Note: images that are unlike the training images get no note: --mode=eval writes what is "
            f"needed for that, {likeness.FILE}, into the folder of a run, and an export has none."
        )
        return
    _, known = ensemble.knowing
    print(
        f"Images at a distance above {known.limit:.1f} from the training images get a note; so did "
        f"{1 - likeness.SHARE:.0%} of {known.basis}."
    )
