"""dicom: compressed frames, with and without the extra, also where the header contradicts them."""

import re
import struct
import sys

import numpy as np
import pytest
from PIL import Image
from pydicom import uid
from pydicom.encaps import encapsulate

from helpers.code_streams import (
    HTJ2K_12,
    JPEG_12,
    JPEG_LS_12,
    JPEG_LS_RGB,
    LOSSLESS_JPEG_16,
    ramp,
    ramp_rgb,
)
from helpers.dicom_files import COLOUR, EXPECTED, RED, dicom, encode, stored, window
from helpers.lossless_jpeg import lossless_jpeg
from tfds_builders.dicom import code_stream, dicom_pictures
from tfds_builders.errors import ImageError

MAX = 10**6


def compressed(stream, syntax, pixels, **options):
    return dicom(pixels, syntax=syntax, PixelData=encapsulate([stream]), **options)


def picture(data):
    """(float [H, W] or [H, W, 3], notes) of a file of one frame."""
    result = dicom_pictures(data, MAX)
    [image] = result.pictures
    return np.asarray(image, float), result.notes


DEEP = {
    "JPEG-LS": compressed(JPEG_LS_12, uid.JPEGLSLossless, ramp(12), bits=12),
    "lossless JPEG": compressed(LOSSLESS_JPEG_16, uid.JPEGLosslessSV1, ramp(16)),
    "JPEG of 12 bits": compressed(JPEG_12, uid.JPEGExtended12Bit, ramp(12), bits=12),
}
HTJ2K = compressed(HTJ2K_12, uid.HTJ2KLossless, ramp(12), bits=12)


@pytest.mark.parametrize("data", [*DEEP.values(), HTJ2K], ids=[*DEEP, "HTJ2K"])
def test_deep_grey_of_every_compression(data):
    pixels, notes = picture(data)
    assert np.abs(pixels - ramp(16) / 257).max() < 0.6 and not notes


def test_colour_in_jpeg_ls():
    data = compressed(JPEG_LS_RGB, uid.JPEGLSLossless, ramp_rgb(), bits=8, photometric="RGB")
    np.testing.assert_array_equal(picture(data)[0], ramp_rgb())


def without_the_extra(monkeypatch):
    for module in ("pylibjpeg", "libjpeg", "openjpeg", "jpeg_ls"):
        monkeypatch.setitem(sys.modules, module, None)


@pytest.mark.parametrize("kind", DEEP)
def test_without_the_extra_the_message_is_the_line_to_type(monkeypatch, kind, capfd):
    without_the_extra(monkeypatch)
    with pytest.raises(ImageError, match=re.escape('pip install "simclr_med[dicom]"')) as caught:
        picture(DEEP[kind])
    assert kind in str(caught.value) and "broken" not in str(caught.value)
    assert capfd.readouterr().err == ""


def test_what_needs_no_extra(monkeypatch):
    with_extra = picture(HTJ2K)[0]
    without_the_extra(monkeypatch)
    np.testing.assert_array_equal(picture(HTJ2K)[0], with_extra)
    broken = compressed(HTJ2K_12[:200], uid.HTJ2KLossless, ramp(12), bits=12)
    with pytest.raises(ImageError, match="it is broken, or this reads it: pip install"):
        picture(broken)


def test_a_12_bit_jpeg_whose_scan_states_no_spectrum():
    """As in real files: libjpeg ignores it, pylibjpeg alone would refuse it."""
    place = JPEG_12.index(b"\xff\xda") + 7
    assert JPEG_12[place : place + 3] == b"\x00\x3f\x00"
    stream = JPEG_12[:place] + b"\0\0\0" + JPEG_12[place + 3 :]
    data = compressed(stream, uid.JPEGExtended12Bit, ramp(12), bits=12)
    np.testing.assert_array_equal(picture(data)[0], picture(DEEP["JPEG of 12 bits"])[0])


# The sign: header and JPEG 2000 code stream contradict each other, and either may be right

SIGN = "contradicts Pixel Representation (0028,0103)"
FULL = window(0, 65536)  # -32768..32767


def jpeg2000(values, signed):
    """A code stream of 16-bit integers; Pillow writes unsigned ones only.

    The level shift of unsigned samples (T.800 G.1) is what a signed stream does not have.
    """
    unsigned = (values + 32768 if signed else values).astype(np.uint16)
    stream = bytearray(encode(unsigned, "JPEG2000", no_jp2=True))
    assert stream[42] == 15  # Ssiz: 16 bits, unsigned
    stream[42] |= 0x80 if signed else 0
    return bytes(stream)


@pytest.mark.parametrize(
    "values, stream_signed, header_signed, right",
    [
        (stored(16, signed=True), True, True, None),
        (stored(16, signed=True), True, False, "stream"),
        (stored(16), False, True, "stream"),
        (stored(16, signed=True) & 0xFFFF, False, True, "header"),  # as two's complement
        ((stored(16) ^ 0x8000) - 32768, True, False, "header"),  # the same the other way round
    ],
)
def test_the_sign_that_does_not_tear_the_picture(values, stream_signed, header_signed, right):
    shown_signed = stream_signed if right != "header" else header_signed
    data = compressed(
        jpeg2000(values, stream_signed),
        uid.JPEG2000Lossless,
        values,
        signed=header_signed,
        **(FULL if shown_signed else window(32768, 65536)),
    )
    pixels, notes = picture(data)
    assert np.abs(pixels - EXPECTED).max() < 1
    assert any(SIGN in note for note in notes) == (right is not None)


def test_a_ct_whose_stream_is_signed_is_not_all_white():
    """Hounsfield units from -1000 on, in a header that says unsigned."""
    hounsfield = stored(12) - 1000
    data = compressed(
        jpeg2000(hounsfield, True), uid.JPEG2000Lossless, hounsfield, **window(1048, 4096)
    )
    assert np.abs(picture(data)[0] - EXPECTED).max() < 1


# Other contradictions


def jpeg(pixels, **options):
    return encode(pixels, "JPEG", quality=100, **options)


def bare(stream, names=b"\x01\x02\x03"):
    """A JPEG without its JFIF or Adobe segment, with `names` for its components."""
    assert stream[2:4] in (b"\xff\xe0", b"\xff\xee")
    stream = bytearray(stream[:2] + stream[4 + struct.unpack(">H", stream[4:6])[0] :])
    frame, scan = stream.index(b"\xff\xc0"), stream.index(b"\xff\xda")
    for i, byte in enumerate(names):
        stream[frame + 10 + 3 * i] = stream[scan + 5 + 2 * i] = byte
    return bytes(stream)


def adobe(stream, transform):
    return stream[:2] + b"\xff\xee\x00\x0eAdobe\x00\x64\0\0\0\0" + bytes([transform]) + stream[2:]


YCBCR = np.asarray(Image.fromarray(COLOUR).convert("YCbCr"))
JFIF = jpeg(COLOUR, subsampling=0)  # YCbCr in it
RGB = jpeg(COLOUR, subsampling=0, keep_rgb=True)  # RGB in it


@pytest.mark.parametrize(
    "stream, photometric, noted",
    [
        (JFIF, "YBR_FULL_422", False),
        (JFIF, "RGB", True),  # a JFIF segment means YCbCr
        (bare(JFIF), "YBR_FULL", False),
        (adobe(bare(JFIF), 1), "YBR_FULL_422", False),
        (adobe(bare(JFIF), 1), "RGB", True),
        (bare(RGB), "RGB", False),  # nothing in the stream: the header says it
        (adobe(bare(RGB), 0), "YBR_FULL_422", True),
        (adobe(bare(RGB), 0), "RGB", False),
        (bare(RGB, b"RGB"), "YBR_FULL", True),
    ],
)  # fmt: skip
def test_the_code_stream_says_which_colours_it_holds(stream, photometric, noted):
    data = compressed(stream, uid.JPEGBaseline8Bit, COLOUR, bits=8, photometric=photometric)
    pixels, notes = picture(data)
    assert np.abs(pixels - COLOUR).max() <= 6
    assert any("contradicts Photometric Interpretation" in note for note in notes) == noted


def test_jpeg_2000_undoes_its_own_colour_transform():
    stream = encode(COLOUR, "JPEG2000", no_jp2=True, mct=1)
    for photometric, noted in (("YBR_RCT", False), ("RGB", False), ("YBR_FULL", True)):
        data = compressed(stream, uid.JPEG2000Lossless, COLOUR, bits=8, photometric=photometric)
        pixels, notes = picture(data)
        np.testing.assert_array_equal(pixels, COLOUR)
        assert bool(notes) == noted
    stream = encode(YCBCR, "JPEG2000", no_jp2=True, mct=0)
    data = compressed(stream, uid.JPEG2000Lossless, COLOUR, bits=8, photometric="YBR_FULL")
    assert np.abs(picture(data)[0] - COLOUR).max() <= 3


@pytest.mark.parametrize(
    "data, note",
    [
        # (0002,0010) says JPEG 2000
        (compressed(LOSSLESS_JPEG_16, uid.JPEG2000Lossless, ramp(16)), "is not that of the code stream"),
        # 12 bits in a header of 8
        (compressed(JPEG_LS_12, uid.JPEGLSLossless, ramp(8), bits=8), "more bits in the code stream"),
        # twice the rows
        (compressed(JPEG_LS_12, uid.JPEGLSLossless, ramp(12)[::2], bits=12), "another size"),
        # a compressed transfer syntax, and pixel data that is not
        (dicom(ramp(16)).replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.5\0"), "is not$"),
    ],
)  # fmt: skip
def test_a_header_that_is_wrong_of_its_pixel_data(data, note):
    pixels, notes = picture(data)
    assert np.abs(pixels - ramp(16) / 257).max() < 0.6
    assert len(notes) == 1 and re.search(note, notes[0])


def test_grey_in_the_header_colour_in_the_stream():
    data = compressed(JFIF, uid.JPEGBaseline8Bit, RED, bits=8)
    pixels, notes = picture(data)
    assert np.abs(pixels - COLOUR).max() <= 6
    assert notes == ("the code stream contradicts Samples per Pixel (0028,0002)",)


def test_a_jp2_file_around_the_code_stream():
    """Also one whose boxes have no length, which pydicom's own parser never leaves."""
    values = stored(16).astype("u2")
    whole = encode(values, "JPEG2000", no_jp2=False)
    assert whole[4:8] == b"jP  "
    data = compressed(whole, uid.JPEG2000Lossless, values)
    assert np.abs(picture(data)[0] - EXPECTED).max() < 1
    broken = whole[:12] + bytes(4) + b"abcd" + whole[12:]
    with pytest.raises(ImageError):
        picture(compressed(broken, uid.JPEG2000Lossless, values))


def test_parameters_of_a_stream_that_breaks_off():
    for stream in (JPEG_12, JPEG_LS_12, HTJ2K_12, LOSSLESS_JPEG_16, JFIF):
        whole = code_stream.parse(stream)
        assert whole is not None
        for cut in range(4, stream.index(b"\xff\x93" if stream == HTJ2K_12 else b"\xff\xda"), 3):
            try:
                assert code_stream.parse(stream[:cut]).bits == whole.bits
            except ImageError as error:
                assert "breaks off" in str(error)


# Damage that decoders forgive

NOISY = (stored(12) + np.random.default_rng(0).integers(0, 40, EXPECTED.shape)).clip(0, 4095)
TEXTURED = {
    "JPEG": (jpeg(RED), uid.JPEGBaseline8Bit, RED, 8),
    "JPEG of 12 bits": (JPEG_12, uid.JPEGExtended12Bit, ramp(12), 12),
    "lossless JPEG": (lossless_jpeg(NOISY, 12), uid.JPEGLosslessSV1, NOISY, 12),
    "JPEG-LS": (JPEG_LS_12, uid.JPEGLSLossless, ramp(12), 12),
    "JPEG 2000": (jpeg2000(NOISY, False), uid.JPEG2000Lossless, NOISY, 16),
    "HTJ2K": (HTJ2K_12, uid.HTJ2KLossless, ramp(12), 12),
}


def cut(stream, share):
    return stream[: int(len(stream) * share)]


@pytest.mark.parametrize("kind", TEXTURED)
def test_truncated_frames_are_refused(kind):
    stream, syntax, pixels, bits = TEXTURED[kind]
    assert dicom_pictures(compressed(stream + b"\0", syntax, pixels, bits=bits), MAX).pictures
    for damaged in (stream[:-2], stream[:-12], cut(stream, 0.9), cut(stream, 0.6)):
        with pytest.raises(ImageError, match="truncated"):
            picture(compressed(damaged, syntax, pixels, bits=bits))


@pytest.mark.parametrize("kind", ["JPEG", "lossless JPEG", "JPEG-LS"])
@pytest.mark.parametrize("share", [0.5, 0.7, 0.9])
def test_frames_with_bytes_missing_or_overwritten_before_their_end(kind, share):
    stream, syntax, pixels, bits = TEXTURED[kind]
    start, rest = cut(stream, share), stream[int(len(stream) * share) :]
    for damaged in (start + b"\xff\xd9", start + rest[10:], start + bytes(40) + rest[40:]):
        if kind == "JPEG" and damaged == start + rest[10:]:
            continue  # libjpeg cannot always tell
        if len(damaged) > len(stream):
            continue
        with pytest.raises(ImageError, match="truncated|damaged"):
            picture(compressed(damaged, syntax, pixels, bits=bits))


@pytest.mark.parametrize("predictor", range(1, 8))
@pytest.mark.parametrize("components", [1, 3])
def test_a_whole_lossless_jpeg_has_the_length_its_samples_need(predictor, components):
    """All predictors of T.81 table H.1, against an encoder that writes bit by bit."""
    pixels = COLOUR if components == 3 else NOISY
    bits = 8 if components == 3 else 12
    stream = lossless_jpeg(pixels, bits, predictor)
    photometric = "RGB" if components == 3 else "MONOCHROME2"
    data = compressed(stream, uid.JPEGLossless, pixels, bits=bits, photometric=photometric)
    assert not picture(data)[1]
    for fraction in (0.4, 0.8):
        place = int(len(stream) * fraction)
        data = compressed(
            stream[:place] + stream[place + 3 :], uid.JPEGLossless, pixels, bits=bits,
            photometric=photometric,
        )  # fmt: skip
        with pytest.raises(ImageError, match="damaged lossless JPEG|broken or truncated"):
            picture(data)
