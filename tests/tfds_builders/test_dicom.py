"""dicom: one drawn picture, however it is written to DICOM, is read as the same picture."""

import io
import struct

import numpy as np
import pydicom
import pytest
import tensorflow as tf
from PIL import Image
from pydicom import uid
from pydicom.encaps import encapsulate

from helpers.dicom_files import (
    CHEST,
    COLOUR,
    EXPECTED,
    PATIENT,
    H,
    W,
    dicom,
    encode,
    lut,
    stored,
    window,
)
from tfds_builders.dicom import dicom_pictures
from tfds_builders.pixels import load_encoded


def load(tmp_path, data, **options):
    (tmp_path / "IM0001").write_bytes(data)
    return load_encoded(tmp_path / "IM0001", **options).images[0]


def decoded(data):
    """float64 [H, W, 3]: what training reads, in 0..255."""
    return tf.io.decode_image(data, channels=3, expand_animations=False).numpy().astype(float)


FULL12 = window(2048, 4096)  # 0..4095
SIGMOID = np.rint(2048 + 512 * np.log((CHEST * 0.9 + 0.05) / (0.95 - CHEST * 0.9))).astype(int)

ONE_PICTURE = {
    "16-bit PNG": encode(stored(16).astype("u2"), "PNG"),
    "16-bit TIFF": encode(stored(16).astype("u2"), "TIFF"),
    "12 bits in a PNG": encode(stored(12).astype("u2"), "PNG"),
    "part of 16 bits in a PNG": encode(stored(16, low=0.1, high=0.6).astype("u2"), "PNG"),
    "MONOCHROME2": dicom(stored(16)),
    "MONOCHROME1": dicom(65535 - stored(16), photometric="MONOCHROME1"),
    "8 bits": dicom(stored(8), bits=8),
    "8 bits, MONOCHROME1": dicom(255 - stored(8), bits=8, photometric="MONOCHROME1"),
    "12 bits": dicom(stored(12), bits=12),
    "part of 12 bits": dicom(stored(12, low=0.3, high=0.8), bits=12),
    "12 bits, window": dicom(stored(12), bits=12, **FULL12),
    "12 bits, MONOCHROME1, window": dicom(
        4095 - stored(12), bits=12, photometric="MONOCHROME1", **FULL12
    ),
    "the first of two windows": dicom(
        stored(12), bits=12, **window([2048, 40], [4096, 400])
    ),
    "exact window": dicom(
        stored(12), bits=12, **window(2047.5, 4095, VOILUTFunction="LINEAR_EXACT")
    ),
    "sigmoid window": (
        dicom(SIGMOID, bits=12, **window(2048, 2048, VOILUTFunction="SIGMOID")),
        EXPECTED * 0.9 + 0.05 * 255,
    ),
    "narrow window": (
        dicom(stored(12), bits=12, **window(2048, 1000)),
        np.clip((stored(12) - 1548) / 999 * 255, 0, 255),
    ),
    "window of width 1": (dicom(stored(12), bits=12, **window(2048, 1)), (stored(12) > 2047) * 255),
    "window without values": dicom(stored(12), bits=12, **window(None, None)),
    "window of width 0": dicom(stored(12), bits=12, **window(2048, 0)),
    "signed": dicom(stored(16, signed=True), signed=True),
    "signed 12 bits": dicom(stored(12, signed=True), bits=12, signed=True),
    "signed 8 bits": dicom(stored(8, signed=True), bits=8, signed=True),
    "rescale, window": dicom(
        stored(12), bits=12, RescaleSlope=0.5, RescaleIntercept=-1024, **window(0.25, 2048.5)
    ),
    "rescale that inverts": dicom(
        4095 - stored(12), bits=12, RescaleSlope=-1, RescaleIntercept=4095
    ),
    "rescale that inverts 8 bits": dicom(
        255 - stored(8), bits=8, RescaleSlope=-2, RescaleIntercept=9
    ),
    "modality LUT": dicom(
        stored(12), bits=12, ModalityLUTSequence=lut(np.arange(4096) * 16, 0, 16)
    ),
    "VOI LUT, which a window does not outdo": dicom(
        stored(12), bits=12, VOILUTSequence=lut(np.arange(4096) // 16, 0, 8), **window(9, 9)
    ),
    "VOI LUT of words, from 1024 on": dicom(
        stored(12, low=0.25, high=0.75), bits=12,
        VOILUTSequence=lut(np.arange(2048) * 2, 1024, 12, words="<u2"),
    ),
    "VOI LUT, implicit VR": dicom(
        stored(12, low=0.25, high=0.75), bits=12, syntax=uid.ImplicitVRLittleEndian,
        VOILUTSequence=lut(np.arange(2048) * 2, 1024, 12, words="<u2"),
    ),
    "VOI LUT, big endian": dicom(
        stored(12, low=0.25, high=0.75), bits=12, syntax=uid.ExplicitVRBigEndian,
        PixelData=stored(12, low=0.25, high=0.75).astype(">u2").tobytes(),
        VOILUTSequence=lut(np.arange(2048) * 2, 1024, 12, words=">u2"),
    ),
    "unused bits in use": dicom(stored(12) | 0xA000, bits=12, **FULL12),
    "implicit VR": dicom(stored(16), syntax=uid.ImplicitVRLittleEndian),
    "deflated": dicom(stored(16), syntax=uid.DeflatedExplicitVRLittleEndian),
    "JPEG 2000": dicom(
        stored(16),
        syntax=uid.JPEG2000Lossless,
        PixelData=encapsulate([encode(stored(16).astype("u2"), "JPEG2000", no_jp2=True)]),
    ),
    "JPEG baseline": dicom(
        stored(8),
        bits=8,
        syntax=uid.JPEGBaseline8Bit,
        PixelData=encapsulate([encode(stored(8).astype("u1"), "JPEG", quality=100)]),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ONE_PICTURE)
def test_one_picture_is_seen_alike_from_every_file(tmp_path, name):
    data, expected = ONE_PICTURE[name], EXPECTED
    if isinstance(data, tuple):
        data, expected = data
    got = decoded(load(tmp_path, data))
    # For whoever looks into a failure: expected and found, side by side.
    Image.fromarray(np.uint8(np.hstack([expected, got[..., 0]]))).save(tmp_path / "pictures.png")
    assert got.shape == (H, W, 3)
    tolerance = 2 if name == "JPEG baseline" else 1  # its own loss, at quality 100
    assert np.abs(got - expected[..., None]).max() <= tolerance, tmp_path / "pictures.png"


def test_rle(tmp_path):
    dataset = pydicom.dcmread(io.BytesIO(ONE_PICTURE["MONOCHROME2"]))
    dataset.compress(uid.RLELossless)
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    assert np.abs(decoded(load(tmp_path, buffer.getvalue())) - EXPECTED[..., None]).max() <= 1


def ycbcr(**options):
    return encode(COLOUR, "JPEG", quality=100, subsampling=0, **options)


@pytest.mark.parametrize(
    "data, tolerance",
    [
        (dicom(COLOUR, bits=8, photometric="RGB"), 0),
        (dicom(np.rint(COLOUR / 255 * 4095), bits=12, photometric="RGB"), 0),
        (dicom(np.asarray(Image.fromarray(COLOUR).convert("YCbCr")), bits=8,
               photometric="YBR_FULL"), 3),
        (dicom(COLOUR, bits=8, photometric="YBR_FULL_422", syntax=uid.JPEGBaseline8Bit,
               PixelData=encapsulate([ycbcr()])), 6),
    ],
    ids=["RGB", "36-bit RGB", "YBR_FULL", "JPEG"],
)  # fmt: skip
def test_colour(tmp_path, data, tolerance):
    stored_bytes = load(tmp_path, data)
    assert np.abs(decoded(stored_bytes) - COLOUR).max() <= tolerance


def test_palette(tmp_path):
    elements = {}
    for colour, values in (("Red", np.arange(256)), ("Green", 255 - np.arange(256))):
        elements[f"{colour}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
        elements[f"{colour}PaletteColorLookupTableData"] = (values * 257).astype("<u2").tobytes()
    elements["BluePaletteColorLookupTableDescriptor"] = [256, 0, 16]
    elements["BluePaletteColorLookupTableData"] = np.full(256, 60 * 257, "<u2").tobytes()
    data = dicom(COLOUR[..., 0], bits=8, photometric="PALETTE COLOR", **elements)
    np.testing.assert_array_equal(decoded(load(tmp_path, data)), COLOUR)


@pytest.mark.parametrize("long_side", [0, 48])
def test_stored_is_a_grey_png_without_anything_of_the_header(tmp_path, long_side):
    data = dicom(stored(12), bits=12)
    assert PATIENT.encode() in data
    result = load(tmp_path, data, long_side=long_side)
    kinds, offset = [], 8
    while offset < len(result):
        kinds.append(result[offset + 4 : offset + 8])
        offset += 12 + struct.unpack(">I", result[offset : offset + 4])[0]
    assert set(kinds) == {b"IHDR", b"IDAT", b"IEND"}
    image = Image.open(io.BytesIO(result))
    assert image.mode == "L" and image.size == ((W, H) if not long_side else (40, 48))


def test_dicom_and_png_shrink_alike(tmp_path):
    first, second = (
        decoded(load(tmp_path, ONE_PICTURE[name], long_side=40))
        for name in ("16-bit PNG", "12 bits, MONOCHROME1, window")
    )
    assert np.abs(first - second).max() <= 1


# Pixel padding


PADDED = np.zeros((H, W), bool)
PADDED[:7], PADDED[:, -5:] = True, True


@pytest.mark.parametrize(
    "value, limit, filling, options",
    [
        (65535, None, 65535, {}),
        (0, None, 0, {}),
        (60000, 65535, [60000, 61000, 65535], {}),
        (65535, 60000, [60000, 61000, 65535], {}),  # the limit may be below the value
        (65535, None, 65535, {"photometric": "MONOCHROME1"}),
        (0, None, 0, {"photometric": "MONOCHROME1"}),
        (-2000, None, -2000, {"signed": True}),
        (63536, None, -2000, {"signed": True}),  # -2000, written as if unsigned
        (0xF000, None, 0xF000, {"bits": 12}),  # outside the bits that count
        (7, None, 0xF007, {"bits": 12}),  # bits that do not count are in use
        (65535, None, 65535, window(2000, 3001)),
        (0, None, 0, {"RescaleSlope": -1, "RescaleIntercept": 4095}),
        (255, None, 255, {"bits": 8}),
    ],
)
def test_padding_is_black_and_changes_nothing_else(value, limit, filling, options):
    low = 0.2 if options.get("bits") == 8 else 500 / 65535
    bits = 8 if options.get("bits") == 8 else 16
    plain = stored(bits, low=low, high=0.8 if bits == 8 else 3500 / 65535)
    plain[PADDED] = plain[~PADDED][0]
    padded = plain.copy()
    padded[PADDED] = np.resize(filling, PADDED.sum())
    padding_options = {
        name: pydicom.DataElement(name, "SS" if number < 0 else "US", number)
        for name, number in (("PixelPaddingValue", value), ("PixelPaddingRangeLimit", limit))
        if number is not None
    }
    without, with_padding = (
        dicom_pictures(dicom(pixels, **{"bits": 16, **options, **added}), 10**6)
        for pixels, added in ((plain, {}), (padded, padding_options))
    )
    assert not with_padding.notes
    unpadded, blackened = (np.asarray(result.pictures[0]) for result in (without, with_padding))
    np.testing.assert_array_equal(unpadded[~PADDED], blackened[~PADDED])
    assert np.ptp(unpadded[~PADDED]) > 100 and not blackened[PADDED].any()


def test_padding_in_a_code_stream():
    values = stored(16, low=0.1, high=0.5)
    values[PADDED] = 65535
    stream = encapsulate([encode(values.astype("u2"), "JPEG2000", no_jp2=True)])
    data = dicom(values, syntax=uid.JPEG2000Lossless, PixelPaddingValue=65535, PixelData=stream)
    decoded = np.asarray(dicom_pictures(data, 10**6).pictures[0])
    rest = EXPECTED[~PADDED] - EXPECTED[~PADDED].min()
    assert (
        np.abs(decoded[~PADDED] - rest * 255 / rest.max()).max() < 1 and not decoded[PADDED].any()
    )


def test_padding_that_would_be_all_of_the_picture_is_none():
    data = dicom(stored(16), PixelPaddingValue=0, PixelPaddingRangeLimit=65535)
    result = dicom_pictures(data, 10**6)
    assert np.abs(np.asarray(result.pictures[0]) - EXPECTED).max() < 1
    assert len(result.notes) == 1 and "not taken as padding" in result.notes[0]


# Pixels that are not square


@pytest.mark.parametrize(
    "elements, shape, noted",
    [
        ({"PixelAspectRatio": [4, 3]}, (H * 4 // 3, W), True),
        ({"PixelAspectRatio": [1, 2]}, (H, 2 * W), True),
        ({"PixelSpacing": [0.5, 0.25]}, (2 * H, W), True),
        ({"ImagerPixelSpacing": [0.1, 0.2], "PixelAspectRatio": [1, 1]}, (H, 2 * W), True),
        ({"PixelSpacing": [0.1, 0.1], "PixelAspectRatio": [2, 1]}, (H, W), False),
        ({"PixelSpacing": [0.143, 0.1435]}, (H, W), False),  # rounded
        ({"PixelAspectRatio": [0, 1]}, (H, W), True),
        ({"PixelSpacing": [1000, 1]}, (H, W), True),
    ],
)
def test_pixels_that_are_not_square(elements, shape, noted):
    """A disc stays a disc: compared with the picture drawn at the other size."""
    result = dicom_pictures(dicom(stored(16), **elements), 10**6)
    picture = np.asarray(result.pictures[0])
    assert picture.shape == shape and bool(result.notes) == noted
    slow = np.asarray(
        Image.fromarray(EXPECTED.astype("f4")).resize(shape[::-1], Image.Resampling.BICUBIC)
    )
    assert np.abs(picture - slow).mean() < 1
