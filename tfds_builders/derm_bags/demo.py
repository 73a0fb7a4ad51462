"""The embedded demo dataset: drawn "dermatology cases" with no clinical meaning.

A *condition* fixes shape, border, texture and pigment structure; a *case* adds its own outline and
element sizes; an *image* changes everything else (pose, skin, light: see `demo_skin.py`). So two
images of a case share what matters and little else, unlike two crops of one image.

Same seed, same bytes (as far as NumPy's PCG64 and Pillow's resampling agree across platforms).
"""

import dataclasses
import functools
import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy.spatial import cKDTree

from .demo_clinic import HERE, Clinic
from .demo_skin import photograph, smooth_noise, smoothstep


class Look(NamedTuple):
    """What the images of a condition have in common, and the condition's share of the cases."""

    shape: str
    border: str
    texture: str
    pigment: str
    share: float


LOOKS = {
    "round_dotted": Look("round", "sharp", "dotted", "even", 0.24),
    "patch_flaky": Look("round", "fuzzy", "flakes", "even", 0.18),
    "lobed_network": Look("lobed", "sharp", "network", "centre", 0.13),
    "ring_scaly": Look("ring", "sharp", "flakes", "rim", 0.11),
    "spot_cluster": Look("cluster", "fuzzy", "uniform", "even", 0.09),
    "round_target": Look("round", "sharp", "concentric", "even", 0.075),
    "polygon_two_tone": Look("polygon", "sharp", "uniform", "split", 0.06),
    "streak_crusted": Look("streak", "notched", "crust", "even", 0.045),
    "star_dark": Look("star", "notched", "uniform", "centre", 0.04),
    "lobed_crusted": Look("lobed", "fuzzy", "crust", "rim", 0.03),
}
CONDITIONS: tuple[str, ...] = tuple(LOOKS)

IMAGES_SHARE = (0.20, 0.27, 0.25, 0.15, 0.08, 0.05)  # of cases with 1..6 images: mean 2.79
# Of every 20 cases: 15 patients with one, one with two, one with three: 1,020 patients for 1,200.
PATIENT_CASES = (1,) * 15 + (2, 3)

MAP = 144  # pixels of the lesion's own frame, which spans -1.6..1.6; a round lesion has radius 1
Y, X = np.mgrid[-1.6 : 1.6 : MAP * 1j, -1.6 : 1.6 : MAP * 1j].astype(np.float32)


@dataclasses.dataclass(frozen=True)
class DemoCase:
    """A case: its images and their metadata, `metadata[key][i]` for `images[i]`."""

    case_id: str
    patient_id: str
    condition: str
    split: str
    images: tuple[np.ndarray, ...]  # each uint8 [96, 96, 3]
    metadata: dict[str, tuple[str, ...]]


# Shapes: signed fields [MAP, MAP], positive inside, about a distance near the border.


def _round(x, y, rng):
    return 1 - np.hypot(x * rng.uniform(0.85, 1.15), y)


def _lobed(x, y, rng):
    lobes, turn = int(rng.integers(4, 7)), rng.uniform(0, 2 * math.pi)
    petals = np.abs(np.sin(np.arctan2(y, x) * (lobes / 2) + turn))
    return 0.66 + 0.40 * petals - np.hypot(x, y)


def _ring(x, y, rng):
    width = rng.uniform(0.19, 0.26)
    return width - np.abs(np.hypot(x, y) - 1.05 + width)


def _polygon(x, y, rng):
    corners = int(rng.integers(4, 7))
    edges = []
    for i in range(corners):
        a = (i + rng.uniform(-0.2, 0.2)) * 2 * math.pi / corners
        edges.append(rng.uniform(0.75, 0.95) - x * math.cos(a) - y * math.sin(a))
    return np.min(edges, axis=0)


def _star(x, y, rng):
    rays, length = int(rng.integers(6, 10)), rng.uniform(0.60, 0.75)
    pointed = np.abs(np.cos(np.arctan2(y, x) * (rays / 2))) ** 2.5
    return 0.6 * (0.42 + length * pointed - np.hypot(x, y))


def _cluster(x, y, rng):
    spots, golden = int(rng.integers(6, 10)), 2.39996  # radians: seeds of a sunflower, disturbed
    discs = []
    for i in range(spots):
        distance, turn = 1.05 * math.sqrt((i + 0.4) / spots), i * golden + rng.normal(0, 0.25)
        from_centre = np.hypot(x - distance * math.cos(turn), y - distance * math.sin(turn))
        discs.append(rng.uniform(0.20, 0.32) - from_centre)
    return np.max(discs, axis=0)


def _streak(x, y, rng):
    y = y + rng.uniform(0.08, 0.25) * (x * x - 0.6)
    return rng.uniform(0.24, 0.34) - np.hypot(np.maximum(np.abs(x) - 0.88, 0), y)


SHAPES = {
    "round": _round,
    "lobed": _lobed,
    "ring": _ring,
    "polygon": _polygon,
    "star": _star,
    "cluster": _cluster,
    "streak": _streak,
}


# Textures: change the lesion's maps in place; `lesion["cover"]` is already there.


def _cells(lesion, spacing, rng, wave=0.16):
    """Returns wavy cells over the lesion, one around each point of a jittered grid.

    Three arrays [MAP, MAP]: distance to the border between cells (0 on it) and to the
    cell's point, both in spacings, and a number in [0, 1) for each cell. Outside the lesion all 0.
    """
    ticks = np.arange(-1.7, 1.7, spacing)
    points = np.stack(np.meshgrid(ticks, ticks), -1).reshape(-1, 2)
    points = points + rng.uniform(-0.38, 0.38, points.shape) * spacing
    wave_x, wave_y = (wave * spacing * smooth_noise(rng, 26, size=MAP) for _ in "xy")
    inside = lesion["cover"] > 0  # to search only there saves two thirds of the time
    pixels = np.stack([(X + wave_x)[inside], (Y + wave_y)[inside]], -1)
    (near, second), which = (a.T for a in cKDTree(points).query(pixels, k=2))
    maps = np.zeros((3, MAP, MAP), np.float32)
    numbers = rng.random(len(points))[which[0]]
    maps[:, inside] = (second - near) / spacing, near / spacing, numbers
    return maps


def _uniform(lesion, rng):
    lesion["pigment"] += 0.06 * smooth_noise(rng, 20, size=MAP)


def _dotted(lesion, rng):
    _, near, number = _cells(lesion, rng.uniform(0.38, 0.50), rng, wave=0.06)
    size = 0.22 + 0.14 * number
    dots = 1 - smoothstep(-0.07, 0.07, near - size)
    lesion["pigment"] += 1.4 * dots - 0.3
    lesion["relief"] += 0.4 * dots


def _network(lesion, rng):
    border, _, number = _cells(lesion, rng.uniform(0.34, 0.48), rng)
    lesion["pigment"] += 1.2 * (1 - smoothstep(0.08, 0.28, border)) - 0.25 + 0.2 * number


def _flakes(lesion, rng):
    border, _, number = _cells(lesion, rng.uniform(0.24, 0.36), rng)
    plate = smoothstep(0.02, 0.3, border) * (number < rng.uniform(0.5, 0.7))
    worn = np.clip(0.75 + 0.35 * smooth_noise(rng, 34, size=MAP), 0, 1)  # flakes are loose
    lesion["scale"] += plate * worn * (0.55 + 0.6 * number) * smoothstep(0.3, 0.8, lesion["cover"])
    lesion["relief"] += 1.0 * plate * worn * lesion["cover"]


def _concentric(lesion, rng):
    warp = 0.06 * smooth_noise(rng, 5, size=MAP)
    waves = np.cos((np.hypot(X, Y) + warp) * (2 * math.pi * rng.uniform(1.3, 1.8)))
    lesion["pigment"] += 1.0 * waves
    lesion["relief"] += 0.8 * waves * lesion["cover"]


def _crust(lesion, rng):
    border, _, number = _cells(lesion, rng.uniform(0.32, 0.44), rng)
    grain = smooth_noise(rng, 44, size=MAP)
    lumps = smoothstep(0.0, 0.45, border + 0.08 * grain) * smoothstep(0.15, 0.3, number)
    opaque = np.clip(lumps * (0.9 + 0.3 * grain) - 0.1, 0, 1)
    lesion["crust"] += opaque * smoothstep(0.4, 0.9, lesion["cover"])
    lesion["relief"] += (2.2 + 0.7 * grain) * lumps * lesion["cover"]


TEXTURES = {
    "uniform": _uniform,
    "dotted": _dotted,
    "network": _network,
    "flakes": _flakes,
    "concentric": _concentric,
    "crust": _crust,
}


def _pigment(kind, field, rng):
    """Returns the relative depth of colour [MAP, MAP], about 1."""
    if kind == "centre":
        return 0.55 + 0.9 * smoothstep(0.05, 0.5, field)
    if kind == "rim":
        return 0.55 + 0.8 * (1 - smoothstep(0.05, 0.22, np.abs(field - 0.08)))
    if kind == "split":
        a, shift = rng.uniform(0, 2 * math.pi), rng.uniform(-0.2, 0.2)
        return 0.45 + 1.1 * smoothstep(-0.06, 0.06, X * math.cos(a) + Y * math.sin(a) - shift)
    return np.full_like(X, 0.9)


def lesion_maps(condition, rng):
    """Returns the lesion of a case in its own frame: {name: float32 [MAP, MAP]}.

    cover: 0 skin, 1 lesion. pigment: depth of colour under the cover. relief: height.
    scale, crust: share of dry flakes and of crust on top.

    Args:
      condition: key of LOOKS.
      rng: of the case.
    """
    look = LOOKS[condition]
    amount, bumps = (0.10, 13) if look.border == "notched" else (0.07, 5)
    stretch, size = rng.uniform(0.9, 1.1), rng.uniform(0.85, 1.05)
    x = X * (stretch / size) + amount * smooth_noise(rng, bumps, size=MAP)
    y = Y / (stretch * size) + amount * smooth_noise(rng, bumps, size=MAP)
    field = SHAPES[look.shape](x, y, rng).astype(np.float32)
    width = 0.13 if look.border == "fuzzy" else 0.035
    cover = smoothstep(-width, width, field)
    lesion = {
        "cover": cover,
        "pigment": _pigment(look.pigment, field, rng),
        "relief": rng.uniform(0.5, 2.0) * smoothstep(-0.05, 0.25, field),
        "scale": np.zeros_like(X),
        "crust": np.zeros_like(X),
    }
    TEXTURES[look.texture](lesion, rng)
    lesion["pigment"] *= rng.uniform(0.75, 1.25)
    return lesion


@functools.lru_cache(maxsize=4)
def catalogue(seed: int, block: int, clinic: Clinic = HERE) -> list[tuple[int, str, str, int]]:
    """Returns (patient number, condition, split, number of images) of a block's cases, without drawing.

    A block has `clinic.num_cases` cases and is complete in itself. Splits are dealt per condition
    of the patient's first case, so that rare conditions reach all.
    """
    rng = np.random.default_rng((seed, block, 0, clinic.number))
    size, deck = clinic.num_cases, clinic.split_deck
    conditions = np.repeat(CONDITIONS, [round(size * look.share) for look in LOOKS.values()])
    rng.shuffle(conditions)
    counts = np.repeat(np.arange(1, 7), [round(size * share) for share in IMAGES_SHARE])
    rng.shuffle(counts)
    cases_of = rng.permutation(np.tile(PATIENT_CASES, size // sum(PATIENT_CASES)))
    dealt = {c: int(rng.integers(len(deck))) for c in CONDITIONS}
    rows: list[tuple[int, str, str, int]] = []
    for patient, num_cases in enumerate(cases_of):
        first = conditions[len(rows)]
        split = deck[dealt[first] % len(deck)]
        dealt[first] += 1
        for _ in range(num_cases):
            row = len(rows)
            rows.append((patient, str(conditions[row]), split, int(counts[row])))
    return rows


def demo_case(seed: int, index: int, clinic: Clinic = HERE) -> DemoCase:
    """Returns one case of the dataset, drawn without drawing any other.

    Args:
      seed: of the dataset.
      index: number of the case, from 0.
      clinic: where it comes from.
    """
    block, row = divmod(index, clinic.num_cases)
    patient, condition, split, num_images = catalogue(seed, block, clinic)[row]

    def generator(part):  # another than a block's, whose third word is 0
        return np.random.default_rng((seed, index, part, clinic.number))

    # Each image has a generator of its own, so its nuisances depend on nothing in the case: not on
    # the condition, not on the other images. Neither does the hue: it is drawn before the lesion.
    rng = generator(1)
    redness, lesion = rng.uniform(0.1, 0.9), lesion_maps(condition, rng)
    images, notes = zip(
        *(photograph(lesion, redness, clinic, generator(2 + i)) for i in range(num_images))
    )
    return DemoCase(
        case_id=f"{clinic.prefix}case_{index:05d}",
        patient_id=f"{clinic.prefix}patient_{block:02d}{patient:04d}",
        condition=condition,
        split=split,
        images=images,
        metadata={key: tuple(note[key] for note in notes) for key in notes[0]},
    )


def demo_cases(
    seed: int = 0, num_cases: int = HERE.num_cases, clinic: Clinic = HERE
) -> Iterator[DemoCase]:
    """Yields the first `num_cases` cases of the dataset `seed`, in order, drawn lazily."""
    for index in range(num_cases):
        yield demo_case(seed, index, clinic)
