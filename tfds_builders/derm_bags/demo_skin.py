"""The photograph around a lesion: pose, skin, light, hair, clutter, camera.

Everything here is nuisance, drawn for every image of a case from the ranges of a `Clinic`.
What a lesion looks like is defined in `demo.py`; this file receives the lesion's maps, never the
condition, and puts them on a skin.

Scalars that are combined with a canvas come from `math` or are converted to `int` or `float` first:
NumPy 2 promotes its own scalars differently from NumPy 1, and the pictures would depend on the version.

Arrays called *canvas* are float32 [CANVAS, CANVAS], larger than the final picture; colours are
[3, CANVAS, CANVAS] in linear light, where 1 is a white paper. `clinic` gives the ranges of what is
drawn, `rng` is the generator of the image.
"""

import math

import numpy as np
from PIL import Image, ImageDraw, ImageFilter
from scipy import ndimage

from .demo_clinic import Clinic

SIZE = 96  # pixels of the final picture
CANVAS = 144  # everything is drawn at 1.5 times the size, then scaled down: that smooths edges

# Absorption of R, G, B, fitted by eye to a pale (sRGB 240, 210, 195) and a deep (80, 50, 35) skin:
# colour = exp(-(PALE + melanin * MELANIN + blood * BLOOD + lesion)).
PALE = np.float32([0.14, 0.45, 0.60])
MELANIN = np.float32([2.4, 3.05, 3.5])
BLOOD = np.float32([0.15, 1.1, 0.9])
GREY = 0.2  # what the exposure meter takes for the mean of a scene
BROWN, RED = np.float32([1.0, 1.6, 1.9]), np.float32([0.45, 1.5, 1.3])  # the lesion's own
COVERS = {"scale": np.float32([0.80, 0.76, 0.72]), "crust": np.float32([0.46, 0.29, 0.12])}

TONES = tuple(f"tone_{i}" for i in range(1, 7))  # equal steps of melanin, not a clinical scale

V, U = np.mgrid[-1 : 1 : CANVAS * 1j, -1 : 1 : CANVAS * 1j].astype(np.float32)  # rows, columns


def smoothstep(low, high, x):
    """Returns 0 where `x` is below `low`, 1 above `high`, and a smooth step between (3 t^2 - 2 t^3)."""
    t = np.clip((x - low) * (1 / (high - low)), 0, 1)
    return t * t * (3 - 2 * t)


def planes(colour):
    """Returns a colour [3] as [3, 1, 1], the layout of all pictures here until `develop`.

    It is twice as fast as [..., 3], whose innermost loops have three steps.
    """
    return colour[:, None, None]


def smooth_noise(rng, rows, cols=None, size=CANVAS):
    """Returns smooth noise, float32 [size, size], of about unit variance.

    Args:
      rng: NumPy generator.
      rows, cols: number of bumps each way; without `cols`, as many as rows.
      size: of the result, pixels.
    """
    grid = rng.standard_normal((rows, cols or rows), np.float32)
    return np.asarray(Image.fromarray(grid).resize((size, size), Image.Resampling.BICUBIC))


def turned_axes(angle):
    """Returns coordinates (along, across) of the canvas turned by `angle` radians, each about -1..1."""
    c, s = math.cos(angle), math.sin(angle)
    return V * c - U * s, U * c + V * s


def skin_lines(rng):
    """Returns fine skin lines that cross at 50 to 90 degrees, in a random direction: a canvas in 0..2."""
    along, across = smooth_noise(rng, 60, 15), smooth_noise(rng, 15, 60)
    lines = np.exp(-4 * np.abs(along)) + np.exp(-4 * np.abs(across))
    angle = rng.uniform(0, 2 * math.pi)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    turn = 0.6 * turn @ [[1, rng.uniform(-0.5, 0.5)], [0, 1]]  # 0.6: no corner stays empty
    shift = (np.eye(2) - turn) @ [CANVAS / 2, CANVAS / 2]
    coefficients = (*turn[0], shift[0], *turn[1], shift[1])
    transform = ((CANVAS, CANVAS), Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR)
    return np.asarray(Image.fromarray(lines).transform(*transform))


def skin_relief(rng, pores, lines, folds):
    """Returns the height of the bare skin, a canvas; a gradient of 1 gives a strong shadow.

    Args:
      pores, lines: strength, see `demo_clinic.Site`.
      folds: number of them.
    """
    bumps = smooth_noise(rng, 56)
    relief = 0.1 * smooth_noise(rng, 12)
    relief = relief + pores * (0.1 * bumps - 0.4 * smoothstep(1.2, 2.2, bumps))
    relief = relief - 0.26 * lines * skin_lines(rng)
    for _ in range(folds):
        along, across = turned_axes(rng.uniform(0, 2 * math.pi))
        gap = across - rng.uniform(-1, 1) - rng.uniform(-0.5, 0.5) * along**2
        gap = gap + 0.02 * smooth_noise(rng, 6)
        relief = relief - rng.uniform(0.4, 0.9) * np.exp(gap**2 * (-1 / 0.028**2))
    return relief


def log_uniform(low, high, rng):
    """Returns a random number between `low` and `high`, its logarithm uniform."""
    return math.exp(rng.uniform(math.log(low), math.log(high)))


def pose(clinic, side, rng):
    """Returns a random view: the 3x3 matrix from canvas pixels to the pixels of maps [side, side].

    Full rotation, mirror image (left and right limb), scale, shift, shear and perspective. One
    lesion unit is 0.27 of the picture's width at scale 1.
    """
    angle, scale = rng.uniform(0, 2 * math.pi), log_uniform(*clinic.zoom, rng)
    c, s = math.cos(angle), math.sin(angle)
    flip = rng.choice([-1, 1]) * rng.uniform(0.8, 1)
    view_matrix = np.array([[c, -s], [s, c]]) @ [[1, rng.uniform(-0.22, 0.22)], [0, flip]]
    zoom = (side / 3.2) / (0.27 * CANVAS * scale)  # map pixels in one canvas pixel
    reach = 0.22 * max(1.9 - scale, 0) * CANVAS  # a small lesion may be far from the centre
    distance, direction = reach * math.sqrt(rng.uniform()), rng.uniform(0, 2 * math.pi)
    centre = CANVAS / 2 + distance * np.array([math.cos(direction), math.sin(direction)])
    to_centre, view, to_map = np.eye(3), np.eye(3), np.eye(3)
    to_centre[:2, 2] = -centre
    view[:2, :2] = np.linalg.inv(view_matrix) * zoom
    view[2, :2] = rng.uniform(-clinic.tilt, clinic.tilt, 2) / CANVAS
    to_map[:2, 2] = side / 2
    return to_map @ view @ to_centre


def place(lesion, clinic, rng):
    """Returns the maps {name: [m, m]} in a random pose, {name: canvas}, without the empty ones."""
    matrix = pose(clinic, lesion["cover"].shape[0], rng)
    coefficients = tuple((matrix / matrix[2, 2]).ravel()[:8])
    transform = (
        (CANVAS, CANVAS),
        Image.Transform.PERSPECTIVE,
        coefficients,
        Image.Resampling.BILINEAR,
    )
    return {
        k: np.asarray(Image.fromarray(m).transform(*transform))
        for k, m in lesion.items()
        if m.any()
    }


def surface_colour(lesion, melanin, redness, rng):
    """Returns the colour of skin and lesion under white light, float32 [3, CANVAS, CANVAS].

    Args:
      lesion: {cover, pigment[, scale][, crust]}, canvases, see `demo.lesion_maps`.
      melanin: of the skin, 0 pale to 1 deep.
      redness: 0 paints the lesion brown, 1 red.
    """
    mottled = 0.10 * smooth_noise(rng, 5) + 0.04 * smooth_noise(rng, 24)
    freckles = rng.uniform(0, 0.25) * smoothstep(1.6, 2.2, smooth_noise(rng, 30))
    depth = lesion["cover"] * np.maximum(lesion["pigment"], 0) + freckles
    depth = depth * rng.uniform(0.6, 1.1)
    bare = PALE + melanin * MELANIN + rng.uniform(0, 0.3) * BLOOD
    per_mottle = (0.05 + 0.1 * melanin) * MELANIN + 0.4 * BLOOD
    hue = redness * RED + (1 - redness) * BROWN
    colour = np.empty((3, CANVAS, CANVAS), np.float32)
    for i, (b, m, h) in enumerate(zip(bare.tolist(), per_mottle.tolist(), hue.tolist())):
        colour[i] = np.exp(-(b + m * mottled + h * depth))
    brightness = 0.35 + 0.65 * math.exp(-1.2 * melanin)  # dry flakes look grey on deep skin
    for name, cover in COVERS.items():
        # Drawn for every lesion: what comes next in `rng` must not depend on the condition.
        paint = cover * np.float32(brightness * rng.uniform(0.85, 1.1, 3))
        strength = rng.uniform(0.45, 1)  # less when the skin is wet or has been oiled
        if name in lesion:
            colour += strength * lesion[name] * (planes(paint) - colour)
    return colour


def lit(colour, relief, bend, shine, rng):
    """Returns the coloured surface under one lamp: shading, hollows, falloff and sheen.

    Args:
      colour: [3, CANVAS, CANVAS].
      relief: height, a canvas.
      bend: curvature of the body surface, 0 to 1.
      shine: strength of the sheen.
    """
    azimuth, height = rng.uniform(0, 2 * math.pi), rng.uniform(0.6, 1.3)
    lamp_u, lamp_v = math.cos(azimuth) * math.cos(height), math.sin(azimuth) * math.cos(height)
    lamp_up, phi = math.sin(height), rng.uniform(0, 2 * math.pi)
    limb = 0.7 * bend * (turned_axes(phi)[1] - rng.uniform(-0.4, 0.4))  # slope of a cylinder
    normal_u = limb * math.cos(phi) - ndimage.correlate1d(relief, [-0.6, 0, 0.6], axis=1)
    normal_v = limb * math.sin(phi) - ndimage.correlate1d(relief, [-0.6, 0, 0.6], axis=0)
    toward = normal_u * lamp_u + normal_v * lamp_v + lamp_up
    length = np.sqrt(normal_u**2 + normal_v**2 + 1)
    falloff = 1 + rng.uniform(0, 0.45) * (U * math.cos(azimuth) + V * math.sin(azimuth))
    shade = 0.12 + (0.88 / lamp_up) * np.maximum(toward / length, 0) * falloff
    shade = shade * np.exp(0.45 * np.minimum(relief, 0))  # little light reaches pores and folds
    # Blinn's sheen: the normal against the half-way vector between lamp and camera.
    facing = np.maximum(toward + 1, 0) / (length * math.sqrt(2 + 2 * lamp_up))
    sheen = shine * rng.uniform(0.05, 0.30) * facing ** int(rng.integers(25, 60))
    return shade * colour + sheen


def cast_shadow(colour, rng):
    """Returns the picture with the soft shadow of someone who stands in the light."""
    along, across = turned_axes(rng.uniform(0, 2 * math.pi))
    softness, bow = rng.uniform(0.05, 0.4), rng.uniform(-0.6, 0.6)
    edge = smoothstep(-softness, softness, across + bow * along**2 - rng.uniform(-0.7, 0.7))
    return colour * (1 - rng.uniform(0.3, 0.65) * edge)


def add_hairs(colour, count, rng):
    """Returns the picture with `count` thin curved hairs of one colour and a common direction."""
    mask = Image.new("L", (CANVAS, CANVAS))
    pen, main = ImageDraw.Draw(mask), rng.uniform(0, 2 * math.pi)
    t = np.linspace(0, 1, 8)[:, None]
    for _ in range(count):
        start, angle = rng.uniform(-0.1, 1.1, 2) * CANVAS, main + rng.normal(0, 0.35)
        step = rng.uniform(0.2, 0.6) * CANVAS * np.array([math.cos(angle), math.sin(angle)])
        bow = rng.normal(0, 0.22) * step[::-1] * (1, -1)
        points = start + t * step + 4 * t * (1 - t) * bow
        pen.line(points.ravel().tolist(), int(rng.integers(110, 240)), 1)
    share = np.asarray(mask.filter(ImageFilter.GaussianBlur(0.5)), np.float32) / 255
    paint = np.float32([0.9, 0.7, 0.45]) * np.float32(0.02 + 0.3 * rng.uniform() ** 2)
    return colour + share * (planes(paint) - colour)


def add_background(colour, rng):
    """Returns the picture with cloth or a wall beyond the edge of the body, with a soft shadow."""
    along, across = turned_axes(rng.uniform(0, 2 * math.pi))
    beyond = across - rng.uniform(0.62, 1.0) + rng.uniform(-0.2, 0.3) * along**2
    tint = rng.uniform(0.02, 0.75, 3).astype(np.float32) ** 1.5
    pattern = 1 + 0.08 * smooth_noise(rng, 4, 9)
    if rng.uniform() < 0.6:  # cloth has a weave
        pitch = rng.uniform(60, 100)
        pattern = pattern + 0.16 * np.sin(pitch * along) * np.sin(pitch * across)
    edge = smoothstep(-0.015, 0.015, beyond)
    shadow = 1 - 0.45 * np.exp(np.abs(beyond) * (-1 / 0.12))
    cloth = (shadow * pattern) * planes(tint)
    return colour + edge * (cloth - colour)


def add_object(colour, rng):
    """Returns the picture with an object near its border: a ruler, a sticker or a gloved fingertip."""
    along, across = turned_axes(rng.uniform(0, 2 * math.pi))
    kind, far, shift = rng.integers(3), rng.uniform(0.72, 0.9), rng.uniform(-0.5, 0.5)
    if kind == 0:  # ruler
        distance = far - across
        tick = (np.abs((along * 9) % 1 - 0.5) < 0.1) & (across < far + 0.12)
        paint = np.where(tick, np.float32(0.05), np.float32(0.75))
    elif kind == 1:  # sticker
        distance = np.maximum(np.abs(across - far), np.abs(along - shift)) - 0.16
        paint = planes(rng.uniform(0.05, 0.9, 3).astype(np.float32))
    else:  # fingertip
        width = rng.uniform(0.16, 0.24)
        distance = np.hypot(np.minimum(across - far, 0), along - shift) - width
        bulge = np.sqrt(np.clip(-distance / width, 0.08, 1))
        paint = bulge * planes(np.float32([0.18, 0.35, 0.65])) * rng.uniform(0.6, 1.3)
    return colour + (1 - smoothstep(-0.015, 0.015, distance)) * (paint - colour)


def develop(colour, gains, melanin, clinic, rng):
    """Returns the photograph: vignette, exposure, colours, blur, gamma, noise; uint8 [SIZE, SIZE, 3].

    The exposure meter looks at the skin (not at the lesion: the exposure would then reveal it) and
    compensates half of how light or dark it is, on a logarithmic scale.

    Args:
      colour: [3, CANVAS, CANVAS], linear light.
      gains: of the light, R, G, B.
      melanin: of the skin, 0 pale to 1 deep.
    """
    skin = float(np.exp(-(PALE + melanin * MELANIN)).mean())
    exposure = math.sqrt(GREY / skin) * log_uniform(*clinic.exposure, rng)
    gains = np.float32(exposure * np.exp(rng.normal(0, clinic.cast, 3)) * gains)
    vignette = 1 - rng.uniform(0.05, 0.35) * (U * U + V * V) / 2
    colour = colour * vignette * planes(gains)
    grey = colour.mean(0)
    colour = grey + rng.uniform(*clinic.saturation) * (colour - grey)
    colour = colour / (1 + 0.18 * colour)  # like film: highlights roll off
    picture = Image.fromarray(np.stack(np.uint8(255 * np.sqrt(np.clip(colour, 0, 1))), -1))
    picture = picture.resize((SIZE, SIZE), Image.Resampling.HAMMING)
    blur = float(rng.choice(list(clinic.blurs), p=list(clinic.blurs.values())))  # pixels
    picture = np.asarray(picture.filter(ImageFilter.GaussianBlur(blur)))
    grain = rng.uniform(*clinic.grain) * rng.standard_normal(picture.shape, np.float32)
    return np.uint8(np.clip(picture + grain + 0.5, 0, 255))


def photograph(lesion, redness, clinic: Clinic, rng):
    """Draws one photograph of a lesion; skin, light, framing and scale vary from one to the next.

    Args:
      lesion: {cover, pigment, relief, scale, crust}, float32 [m, m], in the lesion's own frame.
      redness: hue of the lesion of this case, 0 brown to 1 red.
      clinic: the ranges of all nuisances.
      rng: generator of this image; how often it is drawn from does not depend on the lesion.
    Returns:
      uint8 [SIZE, SIZE, 3], and its metadata {body_site, skin_tone, light}, strings.
    """
    site, light = str(rng.choice(list(clinic.sites))), str(rng.choice(list(clinic.lights)))
    (pores, lines, folds, hairs, bend), (gains, shine) = clinic.sites[site], clinic.lights[light]
    melanin = rng.uniform(*clinic.melanin)
    placed = place(lesion, clinic, rng)
    bare = skin_relief(rng, pores, lines, folds)
    relief = bare * (1 - 0.5 * placed["cover"]) + placed["relief"]
    redness = min(max(redness + rng.normal(0, 0.25), 0), 1)
    colour = lit(surface_colour(placed, melanin, redness, rng), relief, bend, shine, rng)
    if rng.uniform() < clinic.shadows:
        colour = cast_shadow(colour, rng)
    if hairs:
        colour = add_hairs(colour, int(hairs * rng.uniform(0.3, 1.3)), rng)
    if rng.uniform() < clinic.backgrounds:
        colour = add_background(colour, rng)
    if rng.uniform() < clinic.objects:
        colour = add_object(colour, rng)
    tone = TONES[min(int(melanin * len(TONES)), len(TONES) - 1)]
    picture = develop(colour, gains, melanin, clinic, rng)
    return picture, {"body_site": site, "skin_tone": tone, "light": light}
