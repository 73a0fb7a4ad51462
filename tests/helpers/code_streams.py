"""Code streams that nothing here can write: of pictures drawn by `ramp`, by imagecodecs 2026.10.10.

Its functions: jpegls_encode, ljpeg_encode, jpeg_encode(level=100, bitspersample=12), htj2k_encode.
"""

import base64

import numpy as np

RAMP_H, RAMP_W = 24, 20


def ramp(bits):
    """int [24, 20]: from 0 in one corner to 2**bits - 1 in the other."""
    y, x = np.mgrid[0:RAMP_H, 0:RAMP_W]
    return np.rint((2**bits - 1) * (x / (RAMP_W - 1) + y / (RAMP_H - 1)) / 2).astype(int)


def ramp_rgb():
    """uint8 [24, 20, 3]: the ramp, the ramp the other way, and 60."""
    return np.stack([ramp(8), 255 - ramp(8), np.full((RAMP_H, RAMP_W), 60)], -1).astype(np.uint8)


JPEG_LS_12 = base64.b64decode(
    """
    /9j/9wALEAAYABQBAREA//gADQH//wASAEMBFABA/9oACAEBAAAAAKa815pzXmradn2fZvL4/H4vD3+/3u73MspZSwq6rKq1
    Gm0mi0GezmazGWymSyEsscjEUiEMhEEgP78+vj29PLw7uzqlh0c3JxcG9ubWxramloZ2ZnZWRkVdjYmJhYWBgX19eXVxbW1p
    ZcuG6rN2zZq1aNGjNmzZsmTFixYMFVYMF69cuXLVq1YsWK1atWqVNRUqVKVKlSyywwwwwwwuuu011llllll1VVVVVVVVFFGk
    oooooooooomta1rWtbRWtS1KUpSlKUpSlKU0FKUpSUpSlKqqqqqz1VVVVVVVVVVVVZyIiIiIiSSSSTNSSSSSSSSaTMSSqqqq
    qy1VVVSq+U//f8l//35D/P98d/9/ozz/f0V//3og/3/0MP/Z
    """
)
LOSSLESS_JPEG_16 = base64.b64decode(
    """
    /9j/xAAWAAEBAQAAAAAAAAAAAAAAAAAKCxD/wwALEAAYABQBABEA/9oACAEAAAYAANa9teWvbXlr217a8te2vLXtr215a9te
    WvbXtry17a9rIrIWSshZKyVkLJWSslZKyFkrJWSslZCyVkrIrILJWSslZKyFkrJWQslZCyVkrIWSshZKyVkLJrIrJWQslZCy
    VkrIWSshZKyVkLJWQslZKyFkrJrIrIWSslZKyVkLJWSslZKyFkrJWSslZCyVkrIrILJWSshZKyFkrJWQslZCyVkrIWSshZKy
    VkLJrIrJWQslZCyVkrIWSshZKyVkLJWSslZKyFkrJrIrIWSslZKyVkLJWSslZKyFkrJWQslZCyVkrIrILJWSshZKyFkrJWQs
    lZCyVkrIWSshZKyVkLJrIrJWQslZCyVkrIWSslZKyVkLJWSslZKyFkrJrIrIWSslZKyVkLJWSshZKyFkrJWQslZCyVkrIrIL
    JWSshZKyFkrJWQslZCyVkrIWSshZKyVkLJrIrJWQslZKyVkrIWSslZKyVkLJWSslZKyFkrJrIrIWSslZCyVkLJWSshZKyFkr
    JWQslZCyVkrIrILJWSshZKyFkrJWQslZCyVkrIWSslZKyVkLJrIrJWQslZKyVkrIWSslZKyVkLJWSshZKyFkrJrIrIWSslZC
    yVkLJWSshZKyFkrJWQslZCyVkrIrILJWSshZKyFkrJWQslZKyVkrIWSslZKyVkLJrIrJWQslZKyVkrIWSslZCyVkLJWSshZK
    yFkrJrIrIWSslZCyVkLJWSshZKyFkrJWQslZCyVkrIrILJWSshZKyVkrJWQslZKyVkrIWSslZKyVkLJrIrJWQslZKyFkrIWS
    slZCyVkLJWSshZKyFkrJrIrIWSslZCyVkLJWSshZKyFkrJWQslZKyVkrIrIrJWSshZKyVkrJWQslZKyVkrIWSslZCyVkLJD/
    2Q==
    """
)
JPEG_12 = base64.b64decode(
    """
    /9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB
    AQEBAQEBAQEBAQEBAQEBAQH/wQALDAAYABQBAREA/8QAFQABAQAAAAAAAAAAAAAAAAAADQ7/xAAwEAAAAgYFCwUAAAAAAAAA
    AAAACwEGKDhGZAgKGGZ0AgUVISkxNlFUVmEJEUFCdf/aAAgBAQAAPwCVhSFMmpcyZV+qhQZgJINeJCmTUOYsq6koUJHBmAkv
    IWvanUTU7B2imyr18GXdVCSAkmQpE1LmCbKvYUGctHyQa8CFImpcwZV7Cgz8+SC15U6yan29B2ioiyr18GXdVCSAkoQpk1Lm
    DKu5KhI4M56PkvAa8SFMmp1UMUWVd2UoUGYCSC13U7CanYPUVGVfnOEGXdVCSH//2Q==
    """
)
HTJ2K_12 = base64.b64decode(
    """
    /0//UQApQAAAAAAUAAAAGAAAAAAAAAAAAAAAFAAAABgAAAAAAAAAAAABDwEB/1AACAACAAAACv9SAAwAAgABAAUEBEAB/1wA
    EyCIkJCQkJCQkJCQkJCQiIiI/2QAFwABT3BlbkpQSCBWZXIgMC4zMi4wLv+QAAoAAAAAAOIAAf+TwAAma/MFB3QAwAATQAAT
    QAASAND9Awd0AOr7Awd0AP4AYwDAABLAABNAABIAeQALdADj8QAiNAD+AGMAwAAVEAAFUHsD+wnwAnUAUGZZ5QhACz5GAMAA
    FrQAAV8AAEgA5OQAAAAAQE6OuPgC/R3+NDB8rboAIEs6Ojr+8ABiMYwB5ekA8ATkAMAALooAAWzAACdWK6xWgLU1wNoarFat
    1u1BTo5pycls288ls86NkubBAnQBZGEAMFgYLAwGg/3/RQAQ9iEB7lEIBuXuAPzl/wAERgD/2Q==
    """
)
JPEG_LS_RGB = base64.b64decode(
    """
    /9j/9wARCAAYABQDAREAAhEAAxEA/9oADAMBAAIAAwAAAgBMAAALuMNJzWsypIodVvRZLLJZb1S9kvZL2S1UvZL2S1UvZL2S
    9kiCQyJEVRFXsvJUdUS7eJpuT29uT09vLrMjMj20uXJpf9cv+uuuuuv+utHdf9df/y6/rr/+9f9r/b5P1/8v/3X/a/99f/Tf
    /31/9f9+v/r/f15Pb9f/ev913/9/9f9iK/X/a7//f1/rf9clf7/r/1f/f9fR3/91/3/1/3/6r/9/r/9/r/94n9f/f9f/f9f9
    f/1/r/6/1/99u3r/f/r/f/r/Jf96/3/6/3/666f/fX//fX//aXr/f/r/f/r/LrL+v/9+v9f/fpev/r/X/3/X/36/r/9/r/9/
    r+3/f1//f1//f/r/f/r/f/r/L+39f/99f6//f/9/6/1//31//xL/2Q==
    """
)
