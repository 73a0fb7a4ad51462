"""Preparing a dataset of CheXpert's size: seconds and peak memory, by size.

At full size a folder in CheXpert's layout with 223,414 X-rays in 187,641 studies of 64,540 patients
is drawn: JPEGs of 390 x 320 px, of which no two files are equal. It is prepared by the command,
`run.py --mode=build --dataset=chexpert`, in a process of its own. The files were just written, so
that they are read from the system's cache where that is large enough.

    python benchmarks/build_size.py --shares 0.0625 0.25 1 --scratch FOLDER
"""

from __future__ import annotations

import argparse
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
from PIL import Image

IMAGES, STUDIES, PATIENTS = 223_414, 187_641, 64_540
LABELS = (
    *("No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion"),
    *("Edema", "Consolidation", "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion"),
    *("Pleural Other", "Fracture", "Support Devices"),
)
_DRAWN = 64  # images; files differ in what follows the image


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shares", type=float, nargs="+", default=[1 / 16, 1 / 4])
    parser.add_argument("--noise", type=float, default=4.0, help="of the pixels: larger files")
    parser.add_argument("--scratch", help="folder for images and dataset (7 GB at full size)")
    parser.add_argument("--flags", nargs="*", default=[], help="more flags of the build")
    options = parser.parse_args()
    rows = []
    header = f"{'share':>6} {'images':>8} {'GB':>6} {'CPU s':>8} {'wall s':>8} {'peak MiB':>9}"
    print(f"{header} {'ms an image':>12}", flush=True)
    for share in options.shares:
        with tempfile.TemporaryDirectory(dir=options.scratch) as folder:
            images, size = draw(folder, share, options.noise)
            row = {"share": share, "images": images, "gb": size / 1e9}
            row |= build(folder, options.flags)
            rows.append(row)
            print(
                f"{share:6.3f} {images:8,} {row['gb']:6.2f} {row['cpu_s']:8.1f} {row['wall_s']:8.1f} "
                f"{row['peak_mib']:9,.0f} {1e3 * row['cpu_s'] / images:12.2f}",
                flush=True,
            )
    print(json.dumps({"benchmark": "build_size", **machine(), "rows": rows}))


def draw(folder: str, share: float, noise: float) -> tuple[int, int]:
    """Writes a folder in CheXpert's layout; returns its number of images, and of bytes in them.

    Args:
      folder: where "CheXpert-v1.0-small" is made.
      share: of the full size.
      noise: standard deviation of the pixels around a smooth image.
    """
    rng = np.random.default_rng(0)
    num_patients, num_studies, num_images = (round(n * share) for n in (PATIENTS, STUDIES, IMAGES))
    # At least one study a patient, and one image a study; the rest at random.
    patient = np.sort(
        np.r_[np.arange(num_patients), rng.integers(0, num_patients, num_studies - num_patients)]
    )
    first = np.r_[True, patient[1:] != patient[:-1]]
    starts = np.flatnonzero(first)
    number = np.arange(num_studies) - starts[np.cumsum(first) - 1] + 1  # of a patient's study
    views = np.ones(num_studies, int)
    views[rng.permutation(num_studies)[: num_images - num_studies]] += 1
    pictures = [_picture(rng, noise) for _ in range(_DRAWN)]
    root = os.path.join(folder, "CheXpert-v1.0-small")
    os.makedirs(root)
    count = size = 0
    with open(os.path.join(root, "train.csv"), "w", encoding="utf-8") as table:
        table.write("Path,Sex,Age,Frontal/Lateral,AP/PA," + ",".join(LABELS) + "\n")
        for study in range(num_studies):
            labels = ",".join(rng.choice(["1.0", "0.0", "-1.0", ""], len(LABELS)))
            where = f"train/patient{patient[study] + 1:05d}/study{number[study]}"
            os.makedirs(os.path.join(root, where))
            for view in range(views[study]):
                kind = ("frontal", "lateral")[view]
                path = f"{where}/view{view + 1}_{kind}.jpg"
                data = pictures[count % _DRAWN] + count.to_bytes(4, "little")
                with open(os.path.join(root, path), "wb") as file:
                    file.write(data)
                count, size = count + 1, size + len(data)
                about = f"Female,{20 + study % 70},{kind.title()},{'AP' * (view == 0)}"
                table.write(f"CheXpert-v1.0-small/{path},{about},{labels}\n")
    return count, size


def _picture(rng: np.random.Generator, noise: float) -> bytes:
    """Returns a JPEG of 390 x 320 px, grey: a smooth field with noise."""
    coarse = Image.fromarray(rng.integers(0, 255, (5, 6), dtype=np.uint8))
    pixels = np.asarray(coarse.resize((390, 320), Image.Resampling.BICUBIC), float)
    pixels = np.clip(pixels + noise * rng.normal(size=pixels.shape), 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=90)
    return file.getvalue()


def build(folder: str, flags: list[str]) -> dict:
    """Returns {"cpu_s", "wall_s", "peak_mib"} of the command that prepares a folder.

    Args:
      folder: holds "CheXpert-v1.0-small"; the dataset is written beside it.
      flags: further flags of the command.
    """
    command = [sys.executable, os.path.join(ROOT, "run.py"), "--mode=build", "--dataset=chexpert"]
    command += [f"--manual_dir={folder}", f"--data_dir={os.path.join(folder, 'tfds')}", *flags]
    before, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT
    )
    output, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}\n{output}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = sum(getattr(after, n) - getattr(before, n) for n in ("ru_utime", "ru_stime"))
    # The largest child so far: sizes are to grow.
    return {
        "cpu_s": cpu,
        "wall_s": time.perf_counter() - wall,
        "peak_mib": after.ru_maxrss / 2**10,
    }


if __name__ == "__main__":
    main()
