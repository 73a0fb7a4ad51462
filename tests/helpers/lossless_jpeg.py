"""Draws lossless JPEGs (SOF3, ITU-T T.81 annex H), which Pillow does not write."""

import struct

import numpy as np


def predicted(values, bits, predictor):
    """What table H.1 predicts of int [H, W, channels] from the neighbours left, above and between."""
    left, above = np.roll(values, 1, 1), np.roll(values, 1, 0)
    corner = np.roll(above, 1, 1)
    prediction = [
        *(left, above, corner, left + above - corner),
        *(left + ((above - corner) >> 1), above + ((left - corner) >> 1), (left + above) >> 1),
    ][predictor - 1].copy()
    prediction[0] = left[0]
    prediction[:, 0] = above[:, 0]
    prediction[0, 0] = 1 << bits - 1
    return prediction


def lossless_jpeg(pixels: np.ndarray, bits: int = 8, predictor: int = 1) -> bytes:
    """Returns integers [H, W] or [H, W, channels] as a JPEG without loss: codes of five bits."""
    values = pixels.astype(int).reshape(*pixels.shape[:2], -1)
    height, width, channels = values.shape
    coded_bits = []
    for difference in (values - predicted(values, bits, predictor)).ravel().tolist():
        size = abs(difference).bit_length()
        coded_bits.append(f"{size:05b}")  # the code of a size is the size
        if size:
            coded_bits.append(
                f"{difference if difference > 0 else difference + 2**size - 1:0{size}b}"
            )
    text = "".join(coded_bits)
    text += "1" * (-len(text) % 8)
    coded = int(text, 2).to_bytes(len(text) // 8, "big").replace(b"\xff", b"\xff\x00")

    def segment(marker, body):
        return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body

    ids = [ord(name) for name in "RGB"[:channels]]  # so libjpeg knows them to be RGB
    sizes = range(bits + 2)
    table = bytes([0, 0, 0, 0, 0, len(sizes)] + [0] * 11 + list(sizes))
    frame = struct.pack(">BHHB", bits, height, width, channels)
    frame += b"".join(bytes([name, 0x11, 0]) for name in ids)
    scan = bytes([channels]) + b"".join(bytes([name, 0]) for name in ids) + bytes([predictor, 0, 0])
    parts = segment(0xC4, table), segment(0xC3, frame), segment(0xDA, scan)
    return b"\xff\xd8" + b"".join(parts) + coded + b"\xff\xd9"
