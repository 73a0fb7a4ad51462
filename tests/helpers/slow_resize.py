"""What the network should see of a window, computed slowly: loops over pixels, no TensorFlow."""

import math

import numpy as np

SIZES_OF_TABLE = 1024  # TensorFlow's bicubic has a table of weights: steps a pixel


def area_weights(length, size):
    """Returns the share of each output pixel that each input pixel covers, [size, length]."""
    weights = np.zeros((size, length))
    for i in range(size):
        begin, end = i * length / size, (i + 1) * length / size
        for pixel in range(length):
            weights[i, pixel] = max(0.0, min(pixel + 1, end) - max(pixel, begin)) * size / length
    return weights


def cubic_weights(length, size):
    """Returns Keys's cubic around each output pixel's centre, [size, length], no low-pass filter."""
    weights = np.zeros((size, length))
    for i in range(size):
        centre = (i + 0.5) * length / size - 0.5
        below = math.floor(centre)
        step = round((centre - below) * SIZES_OF_TABLE) / SIZES_OF_TABLE
        for pixel in range(below - 1, below + 3):
            x = abs(pixel - below - step)
            if 0 <= pixel < length:
                near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
                weights[i, pixel] = near if x <= 1 else far if x < 2 else 0.0
        weights[i] /= weights[i].sum()
    return weights


def slow_resize(pixels, size, antialias=True):
    """Returns pixels [H, W, C] of any range resized, [size, size, C], clipped to 0..255."""
    for axis in (0, 1):
        length = pixels.shape[axis]
        reduced = antialias and length > size
        weights = (area_weights if reduced else cubic_weights)(length, size)
        pixels = np.moveaxis(np.tensordot(weights, pixels.astype(float), (1, axis)), 0, axis)
    return pixels.clip(0, 255)


def centre(height, width, proportion=0.875):
    """Returns evaluation's window of a picture, (top, left, height, width)."""
    side = round(proportion * min(height, width))
    return (height - side + 1) // 2, (width - side + 1) // 2, side, side


def show(pixels, window, size, antialias=True):
    """Returns what a window (top, left, height, width) of a picture looks like, 0..255."""
    top, left, height, width = window
    return slow_resize(pixels[top : top + height, left : left + width], size, antialias)
