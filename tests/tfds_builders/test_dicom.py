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

from tfds_builders.pixels import ImageError, load_encoded

H, W = 96, 80
PATIENT = "Doe^Jane"


def draw_chest():
    """float64 [H, W] in 0..1, both met: dark lungs with ribs and a bright heart, as on a film."""
    y, x = np.mgrid[0:H, 0:W] / [[[H]], [[W]]]
    picture = 0.75 - 0.2 * np.hypot(x - 0.5, y - 0.5)
    for centre in (0.28, 0.72):
        lung = np.exp(-(((x - centre) / 0.13) ** 4) - ((y - 0.45) / 0.3) ** 4)
        picture -= lung * (0.5 + 0.08 * np.sin(y * 60 + abs(x - 0.5) * 20))
    picture += 0.3 * np.exp(-(((x - 0.56) / 0.1) ** 2) - ((y - 0.6) / 0.12) ** 2)
    return (picture - picture.min()) / np.ptp(picture)


CHEST = draw_chest()
EXPECTED = CHEST * 255  # what the network is to see of it


def stored(bits, signed=False, low=0.0, high=1.0):
    """The picture in integers of `bits`, from `low` to `high` of their range."""
    values = np.rint((low + CHEST * (high - low)) * (2**bits - 1)).astype(int)
    return values - 2 ** (bits - 1) if signed else values


def dicom(pixels, bits=16, signed=False, photometric="MONOCHROME2", syntax=None, **elements):
    """A DICOM file of integers [H, W] or [H, W, 3], named and signed with a patient's data."""
    dataset = pydicom.Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = uid.DigitalXRayImageStorageForPresentation, "1.2"
    dataset.PatientName, dataset.PatientID, dataset.InstitutionName = (
        PATIENT,
        "4711",
        "St Elsewhere",
    )
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.SamplesPerPixel = 3 if pixels.ndim == 3 else 1
    if pixels.ndim == 3:
        dataset.PlanarConfiguration = 0
    dataset.PhotometricInterpretation = photometric
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8 * -(-bits // 8), bits, bits - 1
    dataset.PixelRepresentation = int(signed)
    kind = {8: "u1", 16: "u2"}[dataset.BitsAllocated]
    dataset.PixelData = pixels.astype("i4").astype(kind).tobytes()
    dataset["PixelData"].VR = "OB" if dataset.BitsAllocated == 8 else "OW"
    for name, value in elements.items():
        setattr(dataset, name, value)
    return write(dataset, syntax or uid.ExplicitVRLittleEndian)


def write(dataset, syntax):
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def lut(values, first, bits, words=None):
    """A sequence of one lookup table; `first` is the value of its first entry, `words` their dtype."""
    item = pydicom.Dataset()
    item.LUTDescriptor = [len(values), first, bits]
    item.LUTData = values.astype(words).tobytes() if words else [int(v) for v in values]
    item["LUTDescriptor"].VR, item["LUTData"].VR = "US", "OW" if words else "US"
    return pydicom.Sequence([item])


def window(center, width, **elements):
    return {"WindowCenter": center, "WindowWidth": width, **elements}


def encode(pixels, kind, **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def load(tmp_path, data, **options):
    (tmp_path / "IM0001").write_bytes(data)
    return load_encoded(tmp_path / "IM0001", **options).images[0]


def seen(data):
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
    got = seen(load(tmp_path, data))
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
    assert np.abs(seen(load(tmp_path, buffer.getvalue())) - EXPECTED[..., None]).max() <= 1


RED = EXPECTED.astype("u1")
COLOUR = np.stack([RED, 255 - RED, np.full((H, W), 60, "u1")], -1)


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
    assert np.abs(seen(stored_bytes) - COLOUR).max() <= tolerance


def test_palette(tmp_path):
    elements = {}
    for colour, values in (("Red", np.arange(256)), ("Green", 255 - np.arange(256))):
        elements[f"{colour}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
        elements[f"{colour}PaletteColorLookupTableData"] = (values * 257).astype("<u2").tobytes()
    elements["BluePaletteColorLookupTableDescriptor"] = [256, 0, 16]
    elements["BluePaletteColorLookupTableData"] = np.full(256, 60 * 257, "<u2").tobytes()
    data = dicom(COLOUR[..., 0], bits=8, photometric="PALETTE COLOR", **elements)
    np.testing.assert_array_equal(seen(load(tmp_path, data)), COLOUR)


@pytest.mark.parametrize("long_side", [0, 48])
def test_stored_is_a_grey_png_without_anything_of_the_header(tmp_path, long_side):
    data = dicom(stored(12), bits=12)
    assert PATIENT.encode() in data
    result = load(tmp_path, data, long_side=long_side)
    kinds, at = [], 8
    while at < len(result):
        kinds.append(result[at + 4 : at + 8])
        at += 12 + struct.unpack(">I", result[at : at + 4])[0]
    assert set(kinds) == {b"IHDR", b"IDAT", b"IEND"}
    image = Image.open(io.BytesIO(result))
    assert image.mode == "L" and image.size == ((W, H) if not long_side else (40, 48))


def test_dicom_and_png_shrink_alike(tmp_path):
    one, other = (
        seen(load(tmp_path, ONE_PICTURE[name], long_side=40))
        for name in ("16-bit PNG", "12 bits, MONOCHROME1, window")
    )
    assert np.abs(one - other).max() <= 1


# What is refused

WHOLE = dicom(stored(16))


def report():
    dataset = pydicom.Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = uid.BasicTextSRStorage, "1.2"
    dataset.PatientName = PATIENT
    return write(dataset, uid.ExplicitVRLittleEndian)


def frames():
    return dicom(stored(16), NumberOfFrames=2, PixelData=bytes(4 * H * W))


@pytest.mark.filterwarnings("ignore:End of file reached before delimiter")
@pytest.mark.parametrize(
    "data, reason",
    [
        (WHOLE[:200], "truncated DICOM|broken DICOM|without pixels"),
        (WHOLE[: len(WHOLE) // 2], "truncated|broken DICOM .*less than expected"),
        (WHOLE[:128] + b"DICM", "without pixels|broken DICOM"),
        (WHOLE[:128] + b"DICM" + b"\xff" * 200, "without pixels|broken DICOM"),
        (report(), r"without pixels in it \(Basic Text SR Storage\)"),
        (frames(), "2 frames: export the one"),
        (dicom(stored(16), syntax=uid.JPEGLosslessSV1, PixelData=encapsulate([b"xx"])),
         "compressed as 'JPEG Lossless.*gdcmconv"),
        (dicom(stored(16), syntax=uid.JPEGLSLossless, PixelData=encapsulate([b"xx"])),
         "compressed as 'JPEG-LS"),
        (dicom(stored(16), syntax=uid.JPEGLSLossless, PixelData=encapsulate([b"xx"])).replace(
            uid.JPEGLSLossless.encode(), b"1.2.840.10008.1.2.4.79"),
         "compressed as '1.2.840.10008.1.2.4.79'"),
        (dicom(stored(16), syntax=uid.JPEG2000Lossless, PixelData=encapsulate([b"xx"])),
         "broken DICOM"),
        (dicom(stored(16), HighBit=14), "bits up to 14 of which 16 count"),
        (dicom(stored(16), PixelData=b"12"), "broken DICOM .*less than expected"),
        (dicom(stored(16), Rows=30000, Columns=30000), "more than 178 million pixels"),
        (dicom(stored(16), Rows=None), "broken DICOM"),
        (dicom(stored(16), photometric="HSV"), "broken DICOM"),
        (dicom(stored(16), RescaleSlope=1, RescaleIntercept=0, WindowCenter=3, WindowWidth=3,
               VOILUTFunction="CUBIC"), "CUBIC"),
    ],
)  # fmt: skip
def test_unusable_dicom_says_why(tmp_path, data, reason):
    with pytest.raises(ImageError, match=reason) as caught:
        load(tmp_path, data)
    message = str(caught.value)
    assert "\n" not in message and PATIENT not in message and len(message) < 300, message


def test_flipped_bytes_give_a_reason_or_a_picture_and_tell_no_names(tmp_path, caplog, recwarn):
    """Also in what pydicom warns of: a length that is too long drags names into a value."""
    rng = np.random.default_rng(0)
    header = len(WHOLE) - 2 * H * W
    messages, pictures = [], 0
    for _ in range(400):
        data = bytearray(WHOLE[: rng.choice([len(WHOLE), rng.integers(132, len(WHOLE))])])
        for place in rng.integers(132, min(header, len(data)), rng.integers(0, 4)):
            data[place] = rng.integers(256)
        try:
            pictures += seen(load(tmp_path, bytes(data))).ndim == 3
        except ImageError as error:
            messages.append(str(error))
    assert pictures > 50 and len(messages) > 50
    assert max(map(len, messages)) < 300
    told = [*messages, caplog.text, *(str(warning.message) for warning in recwarn)]
    assert not any("Doe" in text or "4711" in text for text in told)
