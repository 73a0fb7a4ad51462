"""Mutated DICOM files give a picture or a reason: nothing else is raised, nothing hangs or swells."""

import contextlib
import io
import resource
import struct
import time

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
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
from helpers.dicom_files import PATIENT, dicom, encode, lut, window
from tfds_builders.dicom import dicom_pictures, is_dicom
from tfds_builders.errors import ImageError

pytestmark = [pytest.mark.slow, pytest.mark.one_stack]
MAX_PIXELS = 4_000_000
BUDGET = settings(
    max_examples=5000, deadline=None, derandomize=True, database=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip


def compressed(stream, syntax, pixels, **options):
    return dicom(pixels, syntax=syntax, PixelData=encapsulate([stream]), **options)


def rle():
    dataset = pydicom.dcmread(io.BytesIO(dicom(ramp(16))))
    dataset.compress(uid.RLELossless)
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    return buffer.getvalue()


def functional_groups():
    inner, frame = pydicom.Dataset(), pydicom.Dataset()
    inner.WindowCenter, inner.WindowWidth = 2000, 3000
    frame.FrameVOILUTSequence = pydicom.Sequence([inner])
    return pydicom.Sequence([frame, frame])


PALETTE = {
    f"{colour}PaletteColorLookupTable{part}": value
    for colour in ("Red", "Green", "Blue")
    for part, value in (("Descriptor", [256, 0, 16]), ("Data", bytes(range(256)) * 2))
}
BASES = [
    dicom(ramp(16)),
    dicom(ramp(12), bits=12, PixelPaddingValue=5, PixelPaddingRangeLimit=9, **window(5, 9)),
    dicom(ramp(12), bits=12, VOILUTSequence=lut(np.arange(99), 0, 8), syntax=uid.ImplicitVRLittleEndian),
    dicom(ramp(16), syntax=uid.ExplicitVRBigEndian, PixelData=ramp(16).astype(">u2").tobytes()),
    dicom(ramp(16), syntax=uid.DeflatedExplicitVRLittleEndian),
    dicom(ramp(16), PixelData=bytes(1920), NumberOfFrames=2, PixelAspectRatio=[1, 2],
          PerFrameFunctionalGroupsSequence=functional_groups()),
    dicom(ramp_rgb(), bits=8, photometric="RGB"),
    dicom(ramp(8), bits=8, photometric="PALETTE COLOR", **PALETTE),
    rle(),
    compressed(encode(ramp(8).astype("u1"), "JPEG"), uid.JPEGBaseline8Bit, ramp(8), bits=8),
    compressed(encode(ramp_rgb(), "JPEG"), uid.JPEGBaseline8Bit, ramp_rgb(), bits=8,
               photometric="YBR_FULL"),
    compressed(encode(ramp(16).astype("u2"), "JPEG2000", no_jp2=True), uid.JPEG2000Lossless, ramp(16)),
    compressed(encode(ramp_rgb(), "JPEG2000"), uid.JPEG2000, ramp_rgb(), bits=8, photometric="RGB"),
    compressed(HTJ2K_12, uid.HTJ2KLossless, ramp(12), bits=12),
    compressed(JPEG_LS_12, uid.JPEGLSLossless, ramp(12), bits=12),
    compressed(JPEG_LS_RGB, uid.JPEGLSLossless, ramp_rgb(), bits=8, photometric="RGB"),
    compressed(JPEG_12, uid.JPEGExtended12Bit, ramp(12), bits=12),
    compressed(LOSSLESS_JPEG_16, uid.JPEGLosslessSV1, ramp(16)),
]  # fmt: skip
BASES += [base[132:] for base in BASES[:3]]
ODD = [
    *(b"\xff\xff\xff\xff", b"\xff\xff", bytes(4)),
    *(b"\xfe\xff\x00\xe0", b"\xfe\xff\x0d\xe0", b"\xfe\xff\xdd\xe0"),  # items and their ends
    *(b"\xff\xd8", b"\xff\x4f\xff\x51", b"\xff\xda"),  # code streams
    *(b"SQ\0\0", b"UN\0\0", b"OW\0\0", b"\x28\x00\x10\x00"),
]


@st.composite
def mutated(draw):
    """A file of BASES after up to four changes: bytes, runs, cuts, copies of its own parts."""
    data = bytearray(draw(st.sampled_from(BASES)))
    for _ in range(draw(st.integers(1, 4))):
        offset = draw(st.integers(0, max(0, len(data) - 1)))
        kind = draw(st.sampled_from(["byte", "byte", "odd", "cut", "copy", "insert"]))
        if kind == "byte" and data:
            data[offset] = draw(st.integers(0, 255))
        elif kind == "odd":
            piece = draw(st.sampled_from(ODD))
            data[offset : offset + len(piece)] = piece
        elif kind == "cut":
            del data[
                offset : draw(st.sampled_from([offset + 1, offset + 2, offset + 8, len(data)]))
            ]
        elif kind == "copy":
            data[offset:offset] = data[offset : offset + draw(st.integers(1, 64))]
        else:
            data[offset:offset] = draw(st.binary(min_size=1, max_size=12))
    return bytes(data)


_NUMBERS = [struct.pack("<H", n) for n in (0, 1, 2, 3, 8, 12, 16, 32, 32768, 65535)]
_TEXTS = ["MONOCHROME1", "RGB", "YBR_FULL", "YBR_FULL_422", "SIGMOID", "YES", "PALETTE COLOR"]
_TEXTS += ["1e308", "nan", "-1", "0", "1\\2", "2147483647", "\\", "1\\2\\3"]
_WORDS = [text.encode() for text in _TEXTS]
_WORDS += [syntax.encode() for syntax in (uid.RLELossless, uid.JPEG2000, uid.MPEG4HP41)]


@st.composite
def with_other_header(draw):
    """A file of BASES whose header elements hold other values, of any type and length."""
    data = bytearray(draw(st.sampled_from(BASES)))
    for _ in range(draw(st.integers(1, 3))):
        group = draw(st.sampled_from([b"\x28\0", b"\x08\0", b"\x02\0", b"\x00\x28"]))
        offsets = [i for i in range(len(data) - 8) if data[i : i + 2] == group]
        if not offsets:
            continue
        offset = draw(st.sampled_from(offsets)) + 8
        value = draw(st.sampled_from(_NUMBERS + _WORDS) | st.binary(max_size=8))
        if draw(st.booleans()):
            data[offset : offset + len(value)] = value
        else:
            old = struct.unpack("<H", data[offset - 2 : offset])[0]
            data[offset - 2 : offset + old] = struct.pack("<H", len(value)) + value
    return bytes(data)


def peak():
    """Bytes of memory that this process has held at most; other tests may have held more."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def check(data, frame):
    """Decodes `data` as a build does, and holds it to what a build relies on."""
    start, before = time.process_time(), peak()
    spoken = io.StringIO()
    with contextlib.redirect_stderr(spoken), contextlib.redirect_stdout(spoken):
        is_dicom(data)
        try:
            result = dicom_pictures(data, MAX_PIXELS, frame)
        except ImageError as error:
            message = str(error)
            assert 0 < len(message) < 300 and "\n" not in message
            assert not any(
                word in message for word in ("NoneType", "object at", " at 0x", PATIENT, "4711")
            )
        else:
            assert result.pictures
            for picture in result.pictures:
                values = np.asarray(picture)
                assert picture.mode in ("F", "RGB") and np.isfinite(values).all()
                assert values.min() >= 0 and values.max() <= 255
            assert sum(p.width * p.height for p in result.pictures) <= MAX_PIXELS
            assert all(PATIENT not in note for note in result.notes)
    assert not spoken.getvalue()
    assert time.process_time() - start < 10
    assert peak() - before < 2 << 30


@BUDGET
@given(mutated(), st.sampled_from(["first", "middle", "all"]))
def test_any_bytes(data, frame):
    check(data, frame)


@BUDGET
@given(with_other_header(), st.sampled_from(["first", "middle", "all"]))
def test_any_header(data, frame):
    check(data, frame)
