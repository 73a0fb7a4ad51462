"""Evaluation at the size of CheXpert: CPU seconds and peak memory of its parts, by size.

Features of two encoders are drawn at random, 167,000 x 2,048 to fit on and 33,745 to score, five labels.
Labels, patients and metadata are those of NIH's Data_Entry_2017*.csv, repeated to that size (--nih FILE),
or drawn without it; 5 % of each label, drawn independently, is made unknown. Neighbouring features are
correlated (--correlated, 0.9): on independent ones any solver is fast.

Every part runs in a process of its own; seconds are those of all its threads, memory is the peak
resident memory, mapped features included. BLAS has one thread, so that none waits by spinning.

    python benchmarks/evaluation_size.py --nih Data_Entry_2017_v2020.csv --shares 0.0625 0.25 1
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import io
import json
import os
import resource
import subprocess
import sys
import tempfile
import time

import numpy as np
from harness import ROOT, machine

TRAIN, TEST, WIDTH = 167_000, 33_745, 2048
NAMES = ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion")
UNKNOWN = 1 / 20
ENCODERS = ("trained", "untrained")
_ROWS = 4096


def main() -> None:
    """Prints the table, or with --worker does one part."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nih", help="Data_Entry_2017*.csv; without it labels are drawn")
    parser.add_argument("--shares", type=float, nargs="+", default=[1 / 16, 1 / 4])
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=list(PARTS))
    parser.add_argument("--encoders", type=int, default=2, choices=(1, 2), help="of probe and kNN")
    parser.add_argument("--correlated", type=float, default=0.9)
    parser.add_argument("--scratch", help="folder for the features (3.3 GB at full size)")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(*options.worker, options)
        return
    rows = []
    print(f"{'part':10} {'share':>6} {'CPU s':>8} {'wall s':>8} {'peak MiB':>9}  what", flush=True)
    for share in options.shares:
        with tempfile.TemporaryDirectory(dir=options.scratch) as folder:
            run_alone("draw", folder, options, share)
            for part in options.parts:
                row = {"part": part, "share": share, **run_alone(part, folder, options, share)}
                rows.append(row)
                print(
                    f"{part:10} {share:6.3f} {row['cpu_s']:8.1f} {row['wall_s']:8.1f} "
                    f"{row['peak_mib']:9,.0f}  {row['summary']}",
                    flush=True,
                )
    print(json.dumps({"benchmark": "evaluation_size", **machine(), "rows": rows}))


def run_alone(part: str, folder: str, options: argparse.Namespace, share: float) -> dict:
    """Returns {"cpu_s", "wall_s", "peak_mib", "summary"} of a part, run in a process of its own.

    Drawing the data is a part, too, since a process starts with the peak memory of its parent.

    Args:
      part: a key of PARTS, or "draw".
      folder: where the data is stored.
      options: of the command.
      share: of the full size.
    """
    alone = {f"{name}_NUM_THREADS": "1" for name in ("OPENBLAS", "OMP", "MKL")}
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **alone}
    command = [sys.executable, os.path.abspath(__file__), "--worker", part, folder]
    command += [f"--shares={share}", f"--encoders={options.encoders}"]
    command += [f"--correlated={options.correlated}"]
    command += [f"--nih={options.nih}"] if options.nih else []
    process = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if process.returncode:
        raise SystemExit(f"{part}: {process.stderr}")
    return json.loads(process.stdout.splitlines()[-1])


def work(part: str, folder: str, options: argparse.Namespace) -> None:
    """Does a part and prints its times, memory and summary as JSON; see `run_alone`."""
    sys.path.insert(0, ROOT)
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1" if sys.version_info >= (3, 12) else "0")
    if part == "draw":
        draw(folder, options.shares[0], options)
        print("{}")
        return
    data = Data(folder, ENCODERS[: options.encoders])
    function = PARTS[part]
    function(None)  # imports
    wall, cpu = time.perf_counter(), time.process_time()
    with contextlib.redirect_stdout(io.StringIO()):
        summary = function(data)
    times = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    print(json.dumps({**times, "peak_mib": peak, "summary": summary}))


def draw(folder: str, share: float, options: argparse.Namespace) -> None:
    """Writes labels, patients, metadata and the encoders' features of a share of the full size."""
    from scipy.signal import lfilter

    rng = np.random.default_rng(0)
    sizes = {"train": round(TRAIN * share), "test": round(TEST * share)}
    patients, labels, sex, age = cases(options.nih, sum(sizes.values()), rng)
    labels[rng.random(labels.shape) < UNKNOWN] = np.nan
    start = 0
    directions = rng.standard_normal((len(NAMES), WIDTH), np.float32) * 0.05
    r = options.correlated
    for split, size in sizes.items():
        rows = slice(start, start + size)
        start += size
        np.savez(
            os.path.join(folder, f"{split}.npz"),
            patients=np.char.add(f"{split} ", patients[rows]),
            labels=labels[rows],
            sex=sex[rows],
            age=age[rows],
        )
        for strength, encoder in zip((1.0, 0.3), ENCODERS[: options.encoders]):
            x = np.lib.format.open_memmap(
                os.path.join(folder, f"{encoder}-{split}.npy"), "w+", np.float32, (size, WIDTH)
            )
            for first in range(0, size, _ROWS):
                block = slice(first, min(first + _ROWS, size))
                noise = rng.standard_normal((block.stop - first, WIDTH), np.float32)
                noise = lfilter([np.float32((1 - r**2) ** 0.5)], [1, np.float32(-r)], noise, axis=1)
                x[block] = noise + strength * np.nan_to_num(labels[rows][block]) @ directions
            x.flush()


def cases(nih: str | None, n: int, rng: np.random.Generator):
    """Returns patients [n], labels float [n, 5], sex and age, text [n] each.

    Args:
      nih: path of Data_Entry_2017*.csv, repeated to n rows; None to draw everything.
      n: number of cases.
      rng: random generator, used without `nih`.
    """
    if not nih:
        patients = np.sort(rng.integers(0, max(n * 2 // 7, 2), n)).astype(str)
        labels = (rng.random((n, len(NAMES))) < [0.1, 0.03, 0.04, 0.02, 0.12]).astype(float)
        return patients, labels, rng.choice(["F", "M"], n), rng.integers(1, 95, n).astype(str)
    import pandas as pd

    table = pd.read_csv(nih, dtype=str)
    table = table.iloc[np.arange(n) % len(table)]
    copies = (np.arange(n) // (len(pd.read_csv(nih, usecols=[0])))).astype(str)
    patients = np.char.add(np.char.add(copies, "-"), table["Patient ID"].to_numpy(str))
    findings = table["Finding Labels"].str.split("|")
    stored = ["Effusion" if name == "Pleural Effusion" else name for name in NAMES]
    labels = np.array([[name in row for name in stored] for row in findings], float)
    columns = (table[name].to_numpy(str) for name in ("Patient Gender", "Patient Age"))
    return patients, labels, *columns


@dataclasses.dataclass
class Data:
    """The data that `draw` wrote.

    Attributes:
      folder: where it is stored.
      encoders: those whose features are used.
    """

    folder: str
    encoders: tuple[str, ...]

    def split(self, name: str):
        """Returns the arrays of a split."""
        return np.load(os.path.join(self.folder, f"{name}.npz"))

    def features(self, encoder: str, split: str) -> np.ndarray:
        """Returns an encoder's features, memory-mapped, float32 [n, d]."""
        return np.load(os.path.join(self.folder, f"{encoder}-{split}.npy"), mmap_mode="r")

    def cases(self):
        """Returns the evaluated cases."""
        from simclr_med.data.cases import Cases

        test = self.split("test")
        n = len(test["patients"])
        return Cases(
            ids=np.char.add("case ", np.arange(n).astype(str)),
            patients=test["patients"],
            labels=test["labels"],
            num_images=np.ones(n, int),
            metadata={"sex": test["sex"], "age": test["age"]},
        )

    def scores(self, model: int) -> np.ndarray:
        """Returns scores of a drawn model that agree with the labels to some degree, float [n, 5]."""
        truth = np.nan_to_num(self.split("test")["labels"])
        noise = np.random.default_rng(model).standard_normal(truth.shape)
        return 1 / (1 + np.exp(3 - (1.0 + 0.05 * model) * truth - noise))


def fit(data: Data | None, name: str) -> str:
    """Fits and scores an evaluator on the encoders' features, as `probes.all_scores` does.

    Args:
      data: None to only import what is needed, as in all parts.
      name: a key of EVALUATORS.
    """
    from simclr_med.evaluation.probes import EVALUATORS

    if data is None:
        return ""
    train, summaries = data.split("train"), []
    for encoder in data.encoders:
        facts: dict = {}
        x, test_x = data.features(encoder, "train"), data.features(encoder, "test")
        arguments = (x, train["labels"], train["patients"], test_x, len(NAMES), 0, facts)
        scores = EVALUATORS[name](*arguments)
        facts.pop("penalties", None)
        summaries.append(f"{encoder}: {facts}, mean {np.mean(scores):.4f}")
    return f"{len(x):,} x {x.shape[1]:,}, {len(test_x):,} scored; " + "; ".join(summaries)


def score_rows(data: Data | None) -> str:
    """Computes the rows of result.json for two encoders and two evaluators, and the subgroups."""
    from simclr_med.metrics import subgroups
    from simclr_med.metrics.scoring import classification

    if data is None:
        return ""
    cases = data.cases()
    for which in range(4):
        row = classification(cases, data.scores(which), NAMES)
    groups = subgroups.subgroups(cases, data.scores(0), NAMES, "all")
    return f"{row['cases']:,} cases, {row['patients']:,} patients, {len(groups)} subgroups"


def compare_runs(data: Data | None) -> str:
    """Compares two runs by 10,000 swaps, as --mode=compare does."""
    from simclr_med.metrics.compare import compare
    from simclr_med.metrics.predictions import Predictions

    if data is None:
        return ""
    cases = data.cases()
    a, b = (
        Predictions(cases.ids, cases.patients, cases.labels, data.scores(which), NAMES, str(which))
        for which in (0, 1)
    )
    comparison = compare([a], [b], seed=0, permutations=10_000)
    return ", ".join(f"{name} p {row['p']:.4f}" for name, row in comparison.items())


def resample_auc(data: Data | None) -> str:
    """Computes the percentile interval of the macro-AUC over 10,000 resamples of patients."""
    from simclr_med import metrics

    if data is None:
        return ""
    cases = data.cases()
    ranked = metrics.rankings(cases.labels, data.scores(0))
    low, high = metrics.bootstrap(
        lambda w: metrics.mean_of_defined(metrics.per_class_areas(ranked, w)[0]),
        cases.patients,
        resamples=10_000,
    )
    return f"macro-AUC [{low:.4f}, {high:.4f}]"


def write_outputs(data: Data | None) -> str:
    """Writes predictions.csv, report.html without pictures, and embedding.png."""
    from simclr_med.evaluation.report import embedding, html, near_duplicates, results
    from simclr_med.metrics.scoring import classification

    if data is None:
        return ""
    cases, scores = data.cases(), data.scores(0)
    x = {encoder: data.features(encoder, "test") for encoder in data.encoders}
    table = results.predictions_csv(cases, scores, NAMES)
    embedding.save(os.path.join(data.folder, "map.png"), x, cases.labels, NAMES)
    row = classification(cases, scores, NAMES)
    result = {"classification": {"linear probe": {"trained": row}}, "dataset": "d"}
    result |= {"eval_split": "test", "train_split": "train", "global_step": 0, "subgroups": []}
    view = html.View(
        cases=cases,
        scores=scores,
        class_names=NAMES,
        features=x["trained"],
        pictures={},
        config={},
        near_duplicates=near_duplicates.find(x["trained"], cases.patients),
    )
    failures = html.save(os.path.join(data.folder, "report.html"), result, view)
    return f"predictions.csv of {len(table):,} characters; not made: {failures or 'nothing'}"


def store_features(data: Data | None) -> str:
    """Keeps an encoder's training features as they come, 256 images at a time, and reads them again.

    As `--features_dir` does, stopped after a half; the encoder itself is left out.
    """
    from simclr_med.evaluation.feature_store import Growing

    if data is None:
        return ""
    x, path = data.features("trained", "train"), os.path.join(data.folder, "kept.npy")
    seconds, resumed = {}, 0
    for name, stop in (("first half", len(x) // 2), ("second half", len(x))):
        began = time.perf_counter()
        with open(path, "a+b", buffering=0) as file:
            growing = Growing(len(x), file)
            resumed = growing.num_done
            for start in range(resumed, stop, 256):
                growing.add(start, np.array(x[start : min(start + 256, stop)]))
        seconds[name] = time.perf_counter() - began
    began = time.perf_counter()
    same = bool((np.load(path, mmap_mode="r")[:: len(x) // 7] == x[:: len(x) // 7]).all())
    seconds["open"] = time.perf_counter() - began
    os.remove(path)
    numbers = ", ".join(f"{name} {value:.2f} s" for name, value in seconds.items())
    return f"{len(x):,} x {x.shape[1]:,}, resumed at {resumed:,}: {numbers}; equal: {same}"


PARTS = {
    "store": store_features,
    "probe": lambda data: fit(data, "linear probe"),
    "kNN": lambda data: fit(data, "kNN"),
    "numbers": score_rows,
    "compare": compare_runs,
    "resamples": resample_auc,
    "report": write_outputs,
}

if __name__ == "__main__":
    main()
