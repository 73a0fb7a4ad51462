"""Draws folders in the layouts that derm_bags reads, with the quirks of the published ones."""

import csv

import numpy as np
from PIL import Image

SCIN_METADATA = ("source", "release", "year", "age_group", "sex_at_birth", "combined_race")
HAM_COLUMNS = "lesion_id,image_id,dx,dx_type,age,sex,localization,dataset"
PAD_COLUMNS = (
    "patient_id,lesion_id,smoke,drink,background_father,background_mother,age,pesticide,gender,"
    "skin_cancer_history,cancer_history,has_piped_water,has_sewage_system,fitspatrick,region,"
    "diameter_1,diameter_2,diagnostic,itch,grew,hurt,changed,bleed,elevation,img_id,biopsed"
)


def draw(path, seed=0, size=(12, 12)):
    """Writes noise of `size` (width, height) to `path`, in the format of its extension."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).save(path)


def write_csv(path, rows, encoding="utf-8", ends="\n"):
    """Writes a list of dicts; the header is the keys of the first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding=encoding, newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator=ends)
        writer.writeheader()
        writer.writerows(rows)


def scin_folder(root, cases, tables="dataset", images="dataset/images", ends="\n"):
    """Draws a SCIN folder.

    Args:
      root: the copy of the bucket.
      cases: list of (case_id, names of images without extension, {label: weight} or text).
      tables: where the two tables go, relative to `root`.
      images: where the images go; the tables always say dataset/images/.
      ends: of lines.
    """
    case_rows, label_rows = [], []
    for case_id, names, labels in cases:
        row = {"case_id": case_id, **{name: f"{name} of {case_id}" for name in SCIN_METADATA}}
        for i in range(3):
            there = i < len(names)
            row[f"image_{i + 1}_path"] = f"dataset/images/{names[i]}.png" if there else ""
            row[f"image_{i + 1}_shot_type"] = ("CLOSE_UP", "AT_AN_ANGLE", "AT_DISTANCE")[i]
            if there:
                draw(root / images / f"{names[i]}.png", seed=len(case_rows) * 3 + i)
        case_rows.append(row)
        label_rows.append(
            {
                "case_id": case_id,
                "dermatologist_gradable_for_skin_condition_1": "DEFAULT_YES_IMAGE_QUALITY_SUFFICIENT",
                "dermatologist_skin_condition_on_label_name": str(list(labels)),
                "weighted_skin_condition_label": str(labels),
                "monk_skin_tone_label_us": "4.0",
            }
        )
    write_csv(root / tables / "scin_cases.csv", case_rows, ends=ends)
    write_csv(root / tables / "scin_labels.csv", label_rows[::-1], ends=ends)  # in another order


def ham_folder(root, lesions, file_name="HAM10000_metadata.csv", separator=","):
    """Draws a HAM10000 folder: `lesions` is a list of (lesion number, dx, number of images).

    The table is sorted by dx, as the published one is; images alternate between two parts.
    """
    lines, number = [HAM_COLUMNS], 24306
    for lesion, dx, num_images in sorted(lesions, key=lambda lesion: lesion[1]):
        for _ in range(num_images):
            image = f"ISIC_{number:07d}"
            part = f"HAM10000_images_part_{1 + number % 2}"
            draw(root / part / f"{image}.jpg", seed=number)
            values = f"HAM_{lesion:07d},{image},{dx},histo,,unknown,back,vidir_modern".split(",")
            if separator == "\t":
                values = [f'"{value}"' for value in values]
            lines.append(",".join(values))
            number += 1
    (root / file_name).write_bytes("\n".join(lines).replace(",", separator).encode())


def pad_folder(root, lesions, images="imgs_part_{}", encoding="utf-8", ends="\n"):
    """Draws a PAD-UFES-20 folder.

    Args:
      root: the folder.
      lesions: list of (patient number, lesion number, diagnostic, number of images).
      images: folder of the images; {} is replaced by 1, 2, 3 in turn.
      encoding: of metadata.csv.
      ends: of its lines.
    """
    rows = []
    for patient, lesion, diagnostic, num_images in lesions:
        for i in range(num_images):
            row = dict.fromkeys(PAD_COLUMNS.split(","), "")
            row |= {"patient_id": f"PAT_{patient}", "lesion_id": str(lesion), "age": "55"}
            row |= {"diagnostic": diagnostic, "background_father": "ITÁLIA", "biopsed": "False"}
            row["img_id"] = f"PAT_{patient}_{lesion}_{i}.png"
            part = images.format(1 + len(rows) % 3)
            draw(root / part / row["img_id"], seed=len(rows))
            rows.append(row)
    write_csv(root / "metadata.csv", rows, encoding, ends)
