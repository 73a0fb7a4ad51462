"""dicom: what cannot be read says why, in words without names of patients or of Python."""

import io
import struct

import numpy as np
import pydicom
import pytest
from pydicom import uid
from pydicom.encaps import encapsulate

from helpers.dicom_files import (
    PATIENT,
    H,
    W,
    dicom,
    encode,
    stored,
    window,
    write,
)
from tfds_builders.dicom import dicom_pictures
from tfds_builders.errors import ImageError, NotAPicture

WHOLE = dicom(stored(16))


def other_object(kind, **elements):
    dataset = pydicom.Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = kind, "1.2"
    dataset.PatientName = PATIENT
    for name, value in elements.items():
        setattr(dataset, name, value)
    return write(dataset, uid.ExplicitVRLittleEndian)


@pytest.mark.parametrize(
    "data, named",
    [
        (other_object(uid.BasicTextSRStorage), "Basic Text SR"),
        (other_object(uid.MediaStorageDirectoryStorage), "Media Storage Directory"),
        (other_object(uid.RTPlanStorage), "RT Plan"),
        (other_object(uid.GrayscaleSoftcopyPresentationStateStorage), "Presentation State"),
        (other_object(uid.EncapsulatedPDFStorage), "Encapsulated PDF"),
        (dicom(stored(16), SOPClassUID=uid.RTDoseStorage), "RT Dose"),
        (dicom(stored(16), SOPClassUID=uid.SegmentationStorage), "Segmentation"),
        (dicom(stored(16), SOPClassUID=uid.ParametricMapStorage), "Parametric Map"),
        (other_object("1.2.3.4", Modality="KO"), "modality KO"),
    ],
)
def test_what_is_no_picture_is_named(data, named):
    with pytest.raises(NotAPicture, match=named):
        dicom_pictures(data, 10**6)


def rle(frame):
    whole = pydicom.dcmread(io.BytesIO(WHOLE))
    whole.compress(uid.RLELossless)
    data = whole.PixelData
    return dicom(stored(16), syntax=uid.RLELossless, PixelData=encapsulate([frame(data[16:])]))


@pytest.mark.parametrize(
    "frame",
    [
        lambda data: data[: len(data) // 2],
        lambda data: data[:70],
        lambda data: data[:4] + struct.pack("<L", 2**31) + data[8:],  # a segment far beyond the end
        lambda data: struct.pack("<L", 15) + data[4:],
    ],
)
def test_broken_rle_says_so_and_nothing_else(frame, capfd):
    """pylibjpeg-rle, where it is installed, would panic: a backtrace, and no Exception."""
    with pytest.raises(ImageError, match="broken or truncated RLE frame"):
        dicom_pictures(rle(frame), 10**6)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "data, reason",
    [
        (WHOLE[:200], "without Pixel Data|longer than the file"),
        (WHOLE[: len(WHOLE) // 2], "truncated.*the file ends within the pixel data"),
        (WHOLE[:128] + b"DICM", "without Pixel Data"),
        (WHOLE[:128] + b"DICM" + b"\xff" * 200, "without Pixel Data|longer than the file"),
        (other_object(uid.CTImageStorage), "without Pixel Data"),
        (dicom(stored(16), syntax=uid.JPEGLosslessSV1, PixelData=encapsulate([b"xx"])),
         "no code stream in the pixel data, which says 'JPEG Lossless"),
        (dicom(stored(16), syntax=uid.JPEGLSLossless, PixelData=encapsulate([b"xx"])).replace(
            uid.JPEGLSLossless.encode(), b"1.2.840.10008.1.2.4.79"),
         "compressed as '1.2.840.10008.1.2.4.79', which is not read.*gdcmconv"),
        (dicom(stored(16), syntax=uid.MPEG4HP41, PixelData=encapsulate([b"xx"])), "a video .*MPEG-4"),
        (dicom(stored(16), syntax=uid.RLELossless, PixelData=encapsulate([b"xx"])), "RLE frame"),
        (dicom(stored(16), syntax=uid.JPEG2000Lossless, PixelData=encapsulate([b"xx"])),
         "broken DICOM"),
        (dicom(stored(16), syntax=uid.JPEG2000Lossless, PixelData=encapsulate(
            [encode(stored(16).astype("u2"), "JPEG2000", no_jp2=True)[:300]])),
         "broken or truncated JPEG 2000"),
        (dicom(stored(16), HighBit=14), "bits up to 14 of which 16 count"),
        (dicom(stored(16), PixelData=b"12"), "truncated pixel data: fewer bytes than"),
        (dicom(stored(16), NumberOfFrames=2), "truncated pixel data"),
        (dicom(stored(16), Rows=30000, Columns=30000), "more than 1 million pixels"),
        (dicom(stored(16), Rows=...), r"no Rows \(0028,0010\) in the header"),
        (dicom(stored(16), Rows=0), "a picture of 0 rows"),
        (dicom(stored(16), BitsAllocated=...), "no Bits Allocated"),
        (dicom(stored(16), BitsAllocated=24), "16 bits stored in 24"),
        (dicom(stored(16), photometric="HSV"), "is HSV, which is not read"),
        (dicom(stored(16), photometric="RGB"), "RGB with 1 samples per pixel"),
        (dicom(stored(8), bits=8, photometric="PALETTE COLOR"), "palette colours without Red Palette"),
        (dicom(stored(16), RescaleSlope=1, RescaleIntercept=0, WindowCenter=3, WindowWidth=3,
               VOILUTFunction="CUBIC"), "is none of LINEAR, LINEAR_EXACT and SIGMOID"),
        (dicom(stored(16), NumberOfFrames=9, SOPClassUID=uid.VLWholeSlideMicroscopyImageStorage,
               PixelData=bytes(18 * H * W)), "a whole-slide image of 9 tiles"),
    ],
)  # fmt: skip
def test_unusable_dicom_says_why(data, reason):
    with pytest.raises(ImageError, match=reason) as caught:
        dicom_pictures(data, 10**6)
    message = str(caught.value)
    assert not isinstance(caught.value, NotAPicture)
    assert "\n" not in message and PATIENT not in message and len(message) < 300, message


def test_no_reason_is_in_the_words_of_python():
    """Whatever an element holds: each in turn is emptied, shortened, and filled with nonsense."""
    whole = pydicom.dcmread(io.BytesIO(dicom(
        stored(8), bits=8, photometric="PALETTE COLOR", NumberOfFrames=1, PixelPaddingValue=3,
        PixelSpacing=[1, 1], **window(2, 2), RescaleSlope=1, RescaleIntercept=1,
        RedPaletteColorLookupTableDescriptor=[256, 0, 16],
        RedPaletteColorLookupTableData=bytes(512),
    )))  # fmt: skip
    reasons = set()
    for element in whole:
        for value in (b"", b"\xff", b"abc", b"1.5\\-1", b"\xff" * 8):
            raw = pydicom.dataelem.RawDataElement(
                element.tag, element.VR, len(value), value, 0, False, True
            )
            for photometric in ("PALETTE COLOR", "MONOCHROME2"):
                changed = pydicom.Dataset({**whole._dict, element.tag: raw})
                if element.keyword != "PhotometricInterpretation":
                    changed.PhotometricInterpretation = photometric
                try:
                    dicom_pictures(raw_file(changed), 10**6)
                except ImageError as error:
                    reasons.add(str(error))
    assert len(reasons) > 10
    for reason in reasons:
        assert not any(
            word in reason for word in ("object", "NoneType", "<", "Error", "invalid literal", "__")
        )


def raw_file(dataset):
    """Explicit VR little endian, element by element as the bytes are (pydicom would check them)."""
    out = bytearray(WHOLE[: 144 + int.from_bytes(WHOLE[140:144], "little")])
    for tag in sorted(dataset.keys()):
        element = dataset.get_item(tag)
        if isinstance(element, pydicom.DataElement):
            element = pydicom.Dataset({tag: element})
            buffer = pydicom.filebase.DicomBytesIO()
            buffer.is_little_endian, buffer.is_implicit_VR = True, False
            pydicom.filewriter.write_dataset(buffer, element)
            out += buffer.getvalue()
            continue
        value = element.value + b" " * (len(element.value) % 2)
        vr = element.VR.encode()
        length = (
            struct.pack("<HL", 0, len(value))
            if vr in (b"OB", b"OW")
            else struct.pack("<H", len(value))
        )
        out += struct.pack("<HH", tag.group, tag.element) + vr + length + value
    return bytes(out)


def test_flipped_bytes_give_a_reason_or_a_picture_and_tell_no_names(caplog, recwarn, capfd):
    """Also in what pydicom warns of: a length that is too long drags names into a value."""
    rng = np.random.default_rng(0)
    header = len(WHOLE) - 2 * H * W
    messages, pictures = [], 0
    for _ in range(400):
        data = bytearray(WHOLE[: rng.choice([len(WHOLE), rng.integers(132, len(WHOLE))])])
        for place in rng.integers(132, min(header, len(data)), rng.integers(0, 4)):
            data[place] = rng.integers(256)
        try:
            pictures += bool(dicom_pictures(bytes(data), 10**6).pictures)
        except ImageError as error:
            messages.append(str(error))
    assert pictures > 50 and len(messages) > 50
    assert max(map(len, messages)) < 300
    texts = [
        *messages,
        *capfd.readouterr(),
        caplog.text,
        *(str(warning.message) for warning in recwarn),
    ]
    assert not any("Doe" in text or "4711" in text for text in texts)
