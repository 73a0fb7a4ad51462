"""Draws lossless JPEGs (SOF3, ITU-T T.81 annex H), which Pillow does not write."""

import struct

import numpy as np


def lossless_jpeg(pixels: np.ndarray) -> bytes:
    """Returns uint8 [H, W, channels] as a JPEG without loss: predictor 1, codes of four bits."""
    height, width, channels = pixels.shape
    values = pixels.astype(int)
    before = np.roll(values, 1, 1)  # the pixel to the left
    before[1:, 0] = values[:-1, 0]  # of the first in a row, the one above
    before[0, 0] = 128
    bits = []
    for difference in (values - before).ravel().tolist():
        size = abs(difference).bit_length()
        bits.append(f"{size:04b}")  # the code of a size is the size
        if size:
            bits.append(f"{difference if difference > 0 else difference + 2**size - 1:0{size}b}")
    text = "".join(bits)
    text += "1" * (-len(text) % 8)
    coded = int(text, 2).to_bytes(len(text) // 8, "big").replace(b"\xff", b"\xff\x00")

    def segment(marker, body):
        return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body

    ids = [ord(name) for name in "RGB"[:channels]]  # so libjpeg knows them to be RGB
    table = bytes([0, 0, 0, 0, 9] + [0] * 12 + list(range(9)))
    frame = struct.pack(">BHHB", 8, height, width, channels)
    frame += b"".join(bytes([name, 0x11, 0]) for name in ids)
    scan = bytes([channels]) + b"".join(bytes([name, 0]) for name in ids) + bytes([1, 0, 0])
    parts = segment(0xC4, table), segment(0xC3, frame), segment(0xDA, scan)
    return b"\xff\xd8" + b"".join(parts) + coded + b"\xff\xd9"
