"""The two clinics of the demo: who comes to them, and how pictures are taken there.

`HERE` takes the pictures of derm_bags/demo, `ELSEWHERE` those of derm_bags/demo_shift: the same
conditions in the same shares, but other patients, skins, body sites, lights, distances and cameras.
Nothing here knows a condition: whatever a clinic does to a picture, it does to all alike.
"""

import dataclasses

# Body site: (pores, fine lines, folds, hairs, bend of the surface).
Site = tuple[float, float, int, int, float]
# Light: (gains of R, G, B, strength of the sheen).
Light = tuple[tuple[float, float, float], float]


@dataclasses.dataclass(frozen=True, eq=False)
class Clinic:
    """Where cases come from. A pair is a range: a value is drawn from it for every *image*."""

    number: int  # goes into every random generator: two clinics share no case, whatever the seed
    prefix: str  # of the ids of cases and patients
    num_cases: int  # of one block of the catalogue, and what the builder draws
    split_deck: tuple[str, ...]  # dealt to the patients in turn
    sites: dict[str, Site]
    lights: dict[str, Light]
    melanin: tuple[float, float]  # 0 the palest skin that is drawn, 1 the deepest
    zoom: tuple[float, float]  # at 1 a round lesion's radius is 0.27 of the picture's width
    tilt: float  # perspective: 0.2 moves the far edge by about a fifth
    exposure: tuple[float, float]
    saturation: tuple[float, float]  # of the camera's own processing; 1 leaves colours alone
    cast: float  # standard deviation of the log of each channel's gain
    blurs: dict[float, float]  # radius in px: its share of the images
    grain: tuple[float, float]  # standard deviation of the noise, grey levels
    shadows: float  # share of images with someone's shadow,
    backgrounds: float  # with something beyond the body's edge,
    objects: float  # and with a ruler, a sticker or a fingertip


HERE = Clinic(
    number=1,
    prefix="",
    num_cases=1200,
    split_deck=("train", "test", "train", "train", "test", "validation")
    + ("train", "train", "test", "train"),
    sites={
        "cheek": (1.0, 0.3, 0, 3, 0.5),
        "forearm": (0.5, 0.8, 0, 12, 0.9),
        "palm": (0.2, 1.0, 5, 0, 0.4),
        "scalp": (0.7, 0.3, 0, 34, 0.7),
        "back": (0.8, 0.5, 0, 4, 0.2),
        "knee": (0.4, 1.1, 4, 6, 0.8),
    },
    lights={
        "daylight": ((0.96, 1.0, 1.06), 0.5),
        "lamp": ((1.22, 0.98, 0.66), 0.7),
        "shade": ((0.80, 0.97, 1.22), 0.2),
        "tube": ((0.92, 1.08, 0.90), 0.4),
        "flash": ((1.0, 1.0, 1.0), 1.0),
    },
    melanin=(0.0, 0.95),
    zoom=(1.25, 1.7),
    tilt=0.1,
    exposure=(0.8, 1.25),
    saturation=(1.0, 1.0),
    cast=0.06,
    blurs={0.0: 0.6, 0.5: 0.3, 1.0: 0.1},
    grain=(0.5, 3.0),
    shadows=0.20,
    backgrounds=0.30,
    objects=0.20,
)

ELSEWHERE = Clinic(
    number=2,
    prefix="shift_",
    num_cases=360,
    split_deck=("test", "test", "test", "train", "test", "test"),
    sites={
        "shin": (0.4, 0.9, 1, 18, 1.0),
        "neck": (0.8, 0.6, 3, 8, 0.8),
        "sole": (0.2, 1.2, 6, 0, 0.5),
        "chest": (0.7, 0.5, 0, 22, 0.3),
        "hand": (0.3, 1.2, 3, 5, 0.7),
    },
    lights={
        "led": ((0.86, 1.0, 1.12), 0.8),
        "candle": ((1.35, 0.96, 0.50), 0.5),
        "window": ((0.90, 1.0, 1.10), 0.6),
        "ring flash": ((1.04, 1.0, 0.98), 1.3),
    },
    melanin=(0.35, 1.0),
    zoom=(0.8, 1.3),
    tilt=0.3,
    exposure=(0.45, 1.2),
    saturation=(0.55, 0.95),
    cast=0.16,
    blurs={0.0: 0.2, 0.7: 0.3, 1.3: 0.3, 2.0: 0.2},
    grain=(3.0, 9.0),
    shadows=0.45,
    backgrounds=0.55,
    objects=0.40,
)
