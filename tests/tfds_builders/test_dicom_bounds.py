"""dicom: small files that ask for much memory or time are refused before they get it."""

import struct
import time
import tracemalloc
import zlib

import numpy as np
import pytest
from pydicom import uid
from pydicom.encaps import encapsulate

from helpers.dicom_files import EXPECTED, H, W, dicom, encode, stored
from tfds_builders.dicom import dicom_pictures, walk
from tfds_builders.errors import ImageError

MB = 1 << 20
WHOLE = dicom(stored(16))
BODY = 144 + int.from_bytes(WHOLE[140:144], "little")  # where the data set begins
PIXELS = WHOLE.index(b"\xe0\x7f\x10\x00OW")
ITEM, END_OF_ITEM, END = (b"\xfe\xff" + tag for tag in (b"\x00\xe0", b"\x0d\xe0", b"\xdd\xe0"))
UNDEFINED = b"\xff\xff\xff\xff"


def refused(data, reason, max_pixels=10**6, frame="first"):
    """Asserts that `data` is refused for `reason`; returns (peak MB, seconds) of finding out."""
    tracemalloc.start()
    start = time.monotonic()
    try:
        with pytest.raises(ImageError, match=reason):
            dicom_pictures(data, max_pixels, frame)
        return tracemalloc.get_traced_memory()[1] / MB, time.monotonic() - start
    finally:
        tracemalloc.stop()


def deflated(data_set_bytes):
    packer = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    whole = dicom(stored(16), syntax=uid.DeflatedExplicitVRLittleEndian)
    meta = whole[: 144 + int.from_bytes(whole[140:144], "little")]
    return meta + packer.compress(data_set_bytes) + packer.flush()


def test_a_deflated_data_set_is_bounded_before_it_is_inflated():
    """200 MB of pixel data in 0.2 MB of file, where a picture of a million pixels needs 2 MB."""
    value = b"\xe0\x7f\x10\x00OW\0\0" + struct.pack("<L", 200 * MB)
    data = deflated(WHOLE[BODY:PIXELS] + value + bytes(200 * MB))
    assert len(data) < MB
    peak, _ = refused(data, "a deflated DICOM of more than 2 MB")
    assert peak < 20
    assert dicom_pictures(deflated(WHOLE[BODY:]), 10**6).pictures


@pytest.mark.parametrize(
    "tag", [b"\x28\x00\x10\x30", b"\x40\x00\x60\x02"], ids=["read", "not read"]
)
def test_sequences_of_very_many_items(monkeypatch, tag):
    """VOI LUT Sequence, which is read, and Performed Protocol Code Sequence, which is stepped over."""
    monkeypatch.setattr(walk, "MAX_ELEMENTS", 50_000)
    monkeypatch.setattr(walk, "MAX_ITEMS", 10_000)
    items = (ITEM + bytes(4)) * 60_000
    for length in (UNDEFINED, struct.pack("<L", len(items))):
        sequence = tag + b"SQ\0\0" + length + items + (END + bytes(4)) * (length == UNDEFINED)
        data = WHOLE[:BODY] + sequence + WHOLE[BODY:]
        if tag[:2] == b"\x40\x00" and length != UNDEFINED:  # stepped over in one step
            assert dicom_pictures(data, 10**6).pictures
        else:
            reason = "more than 50000 elements" if tag[:1] == b"\x40" else "more than 10000 items"
            assert refused(data, reason)[0] < 40


def test_sequences_in_sequences_without_end():
    nested = (b"\x28\x00\x10\x30SQ\0\0" + UNDEFINED + ITEM + UNDEFINED) * 20_000
    refused(WHOLE[:BODY] + nested + WHOLE[BODY:], "nested more than 8 deep")
    nested = (b"\x40\x00\x60\x02SQ\0\0" + UNDEFINED + ITEM + UNDEFINED) * 20_000
    refused(WHOLE[:BODY] + nested + WHOLE[BODY:], "without Pixel Data")


def test_fragments_without_number(monkeypatch):
    monkeypatch.setattr(walk, "MAX_ELEMENTS", 50_000)
    data = dicom(stored(16), syntax=uid.JPEG2000Lossless, PixelData=encapsulate([b"ab"] * 60_000))
    refused(data, "more than 50000 fragments")


@pytest.mark.parametrize(
    "elements, frame, reason",
    [
        ({"Rows": 65535, "Columns": 65535}, "first", "more than 1 million pixels"),
        ({"NumberOfFrames": 2**31 - 1}, "all", "in 2147483647 frames"),
        ({"NumberOfFrames": 2**31 - 1}, "middle", "truncated pixel data"),
    ],
)
def test_sizes_of_the_header(elements, frame, reason):
    peak, seconds = refused(dicom(stored(16), **elements), reason, frame=frame)
    assert peak < 10 and seconds < 5


def jpeg2000_of(height, width):
    stream = bytearray(encode(stored(16).astype("u2"), "JPEG2000", no_jp2=True))
    stream[8:16] = stream[24:32] = struct.pack(">LL", width, height)  # of the picture, of a tile
    return bytes(stream)


def jpeg_of(height, width):
    stream = bytearray(encode(stored(8).astype("u1"), "JPEG"))
    offset = stream.index(b"\xff\xc0") + 5
    stream[offset : offset + 4] = struct.pack(">HH", height, width)
    return bytes(stream)


@pytest.mark.parametrize("frames", [1, 4])
@pytest.mark.parametrize(
    "stream, syntax",
    [
        (jpeg2000_of(60000, 60000), uid.JPEG2000Lossless),
        (jpeg_of(65500, 65500), uid.JPEGBaseline8Bit),
        (jpeg2000_of(2000, 400), uid.JPEG2000Lossless),
    ],
)
def test_sizes_of_the_code_stream(stream, syntax, frames):
    if frames == 1 and b"\x00\x00\x07\xd0" in stream[:20]:
        pytest.skip("2000 x 400 is a picture of the allowed size")
    bits = 8 if syntax == uid.JPEGBaseline8Bit else 16
    data = dicom(
        stored(bits), bits=bits, syntax=syntax, NumberOfFrames=frames,
        PixelData=encapsulate([stream] * frames),
    )  # fmt: skip
    peak, seconds = refused(data, "code stream of .* the header says 96 and 80", frame="all")
    assert peak < 10 and seconds < 5


def test_a_delimiter_inside_a_code_stream_does_not_end_it():
    """Fragments have lengths; pydicom's reader looks for these bytes instead."""
    stream = encode(stored(16).astype("u2"), "JPEG2000", no_jp2=True)
    offset = stream.index(b"\xff\x52")
    comment = END + bytes(4)
    stream = (
        stream[:offset]
        + b"\xff\x64"
        + struct.pack(">HH", len(comment) + 4, 0)
        + comment
        + stream[offset:]
    )
    data = dicom(stored(16), syntax=uid.JPEG2000Lossless, PixelData=encapsulate([stream]))
    [picture] = dicom_pictures(data, H * W).pictures
    assert np.abs(np.asarray(picture) - EXPECTED).max() < 1
