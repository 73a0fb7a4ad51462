"""Twins of NIH ChestX-ray14 and CheXpert: drawn X-rays in the true layout, with its quirks.

No pixel and no row is a patient's. Findings change the drawing, so that something can be learned.
"""

import csv
import pathlib
from collections.abc import Iterable

import numpy as np
from PIL import Image

NIH_LABELS = (
    "Atelectasis",
    "Cardiomegaly",
    "Effusion",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pneumonia",
    "Pneumothorax",
    "Consolidation",
    "Edema",
    "Emphysema",
    "Fibrosis",
    "Pleural_Thickening",
    "Hernia",
)
# Shares of the images; a few findings are made commoner than NIH's so that a small twin has them.
NIH_SHARES = (0.10, 0.05, 0.12, 0.17, 0.05, 0.06, 0.02, 0.05, 0.05, 0.04, 0.02, 0.02, 0.03, 0.01)
NIH_HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"  # unquoted: 11 fields
)
CHEXPERT_LABELS = (
    "No Finding",
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Opacity",
    "Lung Lesion",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
    "Support Devices",
)
CHEXPERT_HEADER = ("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *CHEXPERT_LABELS)


def draw_nih(
    folder: str | pathlib.Path, num_patients: int, seed: int = 0, size: int = 64, lists: bool = True
) -> None:
    """Writes a twin of NIH ChestX-ray14 into `folder`.

    Quirks: a header that splits into 11 fields; patient 1 is 00000001 in the file name; rows not in
    the order of names; a suffix that differs from Follow-up #; RGBA files; odd ages ('060Y', '411Y',
    '013M', '001D'); Pleural_Thickening; findings that change from visit to visit; two folders.

    Args:
      folder: made if need be.
      num_patients: numbered from 1.
      seed: decides every pixel and row.
      size: of the square images.
      lists: whether to write train_val_list.txt and test_list.txt, by patient.
    """
    folder, rng = pathlib.Path(folder), np.random.default_rng(seed)
    rows: list[list] = []
    names: dict[str, list[str]] = {"train_val_list.txt": [], "test_list.txt": []}
    for patient in range(1, num_patients + 1):
        of_list = "test_list.txt" if patient % 5 == 2 else "train_val_list.txt"
        sex, age = "MF"[patient % 2], int(rng.integers(1, 95))
        follow_up = 0
        for suffix in range(min(int(rng.geometric(0.35)), 8)):
            findings = {n for n, p in zip(NIH_LABELS, NIH_SHARES) if rng.random() < p}
            if patient == 4:  # so that every twin has the one name with an underscore
                findings.add("Pleural_Thickening")
            name = f"{patient:08d}_{suffix:03d}.png"
            half = "images_001" if patient <= (num_patients + 1) // 2 else "images_002"
            image = Image.fromarray(chest(findings, rng, size))
            if len(rows) % 40 == 5:
                image = image.convert("RGBA")
            _save(image, folder / half / "images" / name)
            odd = {3: "060Y", 13: "411Y", 23: "013M", 33: "001D"}.get(len(rows) % 200)
            rows.append(
                [
                    name,
                    "|".join(sorted(findings)) or "No Finding",
                    follow_up,
                    patient,
                    odd or age + suffix,
                    sex,
                    ("PA", "AP")[int(rng.random() < 0.4)],
                    2500,
                    2048,
                    0.143,
                    0.143,
                ]
            )
            names[of_list].append(name)
            follow_up += int(rng.integers(1, 3))
    rng.shuffle(rows)
    text = "\n".join([NIH_HEADER, *(",".join(map(str, row)) for row in rows)])
    (folder / "Data_Entry_2017_v2020.csv").write_text(text + "\n")
    if lists:
        for name, listed in names.items():
            (folder / name).write_text("\n".join(listed))  # as NIH's: no line end at the end


def draw_chexpert(
    folder: str | pathlib.Path,
    num_patients: int,
    seed: int = 0,
    size: int = 64,
    root: str = "CheXpert-v1.0-small",
    excel: bool = False,
) -> None:
    """Writes a twin of CheXpert to `folder`/`root`.

    Quirks: laterals without AP/PA; view1_lateral and view3_frontal; once each in 300 rows 'LL' and
    'RL', Sex 'Unknown', Age 0 and a row without any label; rows in no order; paths that begin with
    `root`; labels that change from study to study; valid.csv, its patients numbered after the
    others' and labelled without blanks.

    Args:
      folder: made if need be.
      num_patients: of train.csv, numbered from 1; valid.csv has a tenth as many more.
      seed: decides every pixel and row.
      size: of the square images.
      root: name of the folder inside, and of the paths' beginning.
      excel: labels as '1' instead of '1.0', as in copies that were saved by Excel.
    """
    folder, rng = pathlib.Path(folder), np.random.default_rng(seed)
    more = max(2, num_patients // 10)
    ranges = {"train": range(1, num_patients + 1), "valid": range(64541, 64541 + more)}
    for split, patients in ranges.items():
        rows: list = []
        for patient in patients:
            rows += _chexpert_patient(folder / root, split, patient, len(rows), rng, size)
        rng.shuffle(rows)
        with open(folder / root / f"{split}.csv", "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(CHEXPERT_HEADER)
            for path, *columns, labels in rows:
                texts = [label.removesuffix(".0") if excel else label for label in labels]
                writer.writerow([f"{root}/{path}", *columns, *texts])


def _chexpert_patient(root, split, patient, first_row, rng, size) -> list:
    """Draws the images of a patient; returns [path, sex, age, view, AP/PA, labels] of each."""
    sex, age = ("Male", "Female")[int(rng.random() < 0.4)], int(rng.integers(18, 91))
    studies = 1 if split == "valid" else min(int(rng.geometric(0.45)), 6)
    rows: list = []
    for study in range(1, studies + 1):
        findings = {name for name in CHEXPERT_LABELS[1:] if rng.random() < 0.2}
        labels = [_chexpert_label(name, findings, split, rng) for name in CHEXPERT_LABELS]
        views = [("frontal",), ("frontal", "lateral"), ("lateral", "frontal")][
            rng.choice(3, p=[0.75, 0.2, 0.05])
        ]
        if rng.random() < 0.04:
            views = ("frontal", "lateral", "frontal")
        for number, view in enumerate(views, 1):
            path = f"{split}/patient{patient:05d}/study{study}/view{number}_{view}.jpg"
            _save(Image.fromarray(chest(findings, rng, size, view)), root / path)
            odd = (first_row + len(rows)) % 300 if split == "train" else -1
            side = ("AP", "PA")[int(rng.random() < 0.3)] if view == "frontal" else ""
            rows.append(
                [
                    path,
                    "Unknown" if odd == 7 else sex,
                    0 if odd == 8 else age,
                    view.capitalize(),
                    {4: "LL", 6: "RL"}.get(odd, side),
                    labels,
                ]
            )
        if study == 1 and patient % 50 == 9:
            labels[:] = [""] * len(labels)
    return rows


def _chexpert_label(name: str, findings: set, split: str, rng) -> str:
    """Returns '1.0' for a finding (one in five '-1.0'), else mostly blank; valid has no blanks."""
    if name == "No Finding":
        positive = not findings - {"Support Devices"}
        return "1.0" if positive else ("0.0" if split == "valid" else "")
    if split == "valid":
        return "1.0" if name in findings else "0.0"
    if name in findings:
        return "-1.0" if rng.random() < 0.2 else "1.0"
    return "0.0" if rng.random() < 0.15 else ""


def chest(findings: Iterable[str], rng, size: int = 64, view: str = "frontal") -> np.ndarray:
    """Returns uint8 [size, size]: a phantom chest with the marks of `findings` (either dataset's).

    Air is dark, bone and fluid are bright. About half a millisecond at 64 pixels.
    """
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j].astype(np.float32)
    dx, dy, scale = rng.normal(0, 0.04, 3)
    y, x = (y - dy) * (1 + scale), (x - dx) * (1 + scale)
    findings = {name.replace("Pleural Effusion", "Effusion") for name in findings}

    def blob(cx, cy, rx, ry, soft=0.15):
        return np.clip((1 - np.hypot((x - cx) / rx, (y - cy) / ry)) / soft, 0, 1)

    image = 0.62 * blob(0, 0.15, 1.0, 1.25) + 0.12
    sides = (-0.42, 0.42) if view == "frontal" else (0.1,)
    lungs = sum(blob(cx, 0.0, 0.34 if view == "frontal" else 0.6, 0.72) for cx in sides)
    image -= 0.42 * lungs
    image += 0.05 * lungs * (np.sin(14 * y + 5 * np.abs(x)) > 0.6)  # ribs
    wide = 0.42 if {"Cardiomegaly", "Enlarged Cardiomediastinum"} & findings else 0.24
    image += 0.33 * blob(0.1, 0.25, wide, 0.34)
    side = sides[int(rng.integers(len(sides)))]
    if "Effusion" in findings:
        image += 0.35 * lungs * np.clip((y - 0.3) / 0.15, 0, 1)
    if {"Edema", "Infiltration", "Lung Opacity"} & findings:
        image += 0.18 * lungs
    if {"Consolidation", "Pneumonia"} & findings:
        image += 0.30 * blob(side, rng.uniform(-0.3, 0.3), 0.22, 0.22, soft=0.6)
    if {"Mass", "Nodule", "Lung Lesion"} & findings:
        image += 0.35 * blob(side, rng.uniform(-0.4, 0.2), 0.10, 0.10)
    if "Atelectasis" in findings:
        image += 0.25 * lungs * (np.abs(y - 0.35 - 0.2 * x) < 0.06)
    if "Pneumothorax" in findings:
        image -= 0.20 * lungs * (np.sign(side) * x > 0.52)
    if "Support Devices" in findings:
        image[np.abs(x - 0.15 * y) < 1.5 / size] += 0.4
    image += rng.normal(0, 0.03, image.shape)
    return (np.clip(image, 0, 1) * 255).astype(np.uint8)


def _save(image: Image.Image, path: pathlib.Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
