"""dicom: files of several frames, without preamble, with half a header; what is noted of a file."""

import collections
import io

import numpy as np
import pydicom
import pytest
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
    stored,
    window,
)
from tfds_builders import image_index
from tfds_builders.dicom import dicom_pictures, is_dicom
from tfds_builders.errors import ImageError
from tfds_builders.folders import ImageRoot
from tfds_builders.pixels import load_encoded

WHOLE = dicom(stored(16))


# Several frames


BRIGHTER = [0.0, 0.1, 0.2, 0.3]


def multi_frame(syntax=uid.ExplicitVRLittleEndian, **elements):
    """Four frames of the picture, one of them brighter than the last."""
    frames = [np.rint((CHEST * 0.7 + add) * 65535).astype("u2") for add in BRIGHTER]
    if syntax.is_encapsulated:
        data = encapsulate([encode(frame, "JPEG2000", no_jp2=True) for frame in frames])
    else:
        data = np.stack(frames).tobytes()
    options = {"NumberOfFrames": 4, "PixelData": data, **window(32768, 65536), **elements}
    return dicom(frames[0].astype(int), syntax=syntax, **options)


@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.JPEG2000Lossless])
@pytest.mark.parametrize("frame, indices", [("first", [0]), ("middle", [2]), ("all", [0, 1, 2, 3])])
def test_which_frames_become_pictures(syntax, frame, indices):
    result = dicom_pictures(multi_frame(syntax), 10**6, frame)
    assert len(result.pictures) == len(indices)
    for picture, index in zip(result.pictures, indices):
        expected = (CHEST * 0.7 + BRIGHTER[index]) * 255
        assert np.abs(np.asarray(picture) - expected).max() < 1
    notes = () if frame == "all" else (f"several frames: the {frame} was taken",)
    assert result.notes == notes


def test_frames_and_notes_reach_what_is_stored(tmp_path):
    (tmp_path / "IM0001").write_bytes(multi_frame(BurnedInAnnotation="YES"))
    loaded = load_encoded(tmp_path / "IM0001", dicom_frame="all")
    assert len(loaded.images) == 4 and "burned-in annotation (0028,0301)" in loaded.notes
    for image, more in zip(loaded.images, BRIGHTER):
        pixels = np.asarray(Image.open(io.BytesIO(image)), float)
        assert np.abs(pixels - (CHEST * 0.7 + more) * 255).max() <= 1
    assert len(load_encoded(tmp_path / "IM0001").images) == 1


def test_all_frames_together_are_bounded():
    with pytest.raises(ImageError, match="in 4 frames.*dicom_frame=middle"):
        dicom_pictures(multi_frame(), 3 * H * W, "all")
    assert dicom_pictures(multi_frame(), 3 * H * W, "middle").pictures


def item(**elements):
    inner = pydicom.Dataset()
    for name, value in elements.items():
        setattr(inner, name, value)
    return pydicom.Sequence([inner])


@pytest.mark.parametrize("undefined_length", [False, True])
def test_enhanced_objects_keep_rescale_and_window_by_frame(undefined_length):
    """PS3.3 section C.7.6.16: some for all frames, some for each."""
    frames = []
    for index in range(4):
        inner = pydicom.Dataset()
        inner.FrameContentSequence = item(StackID=PATIENT)  # stepped over
        inner.FrameVOILUTSequence = item(**window(32768 + index * 6553.5 - 1000, 65536))
        frames.append(inner)
    shared = item(PixelValueTransformationSequence=item(RescaleSlope=1, RescaleIntercept=-1000))
    per_frame = pydicom.Sequence(frames)
    for sequence in (shared, per_frame):
        sequence.is_undefined_length = undefined_length
        for inner in sequence:
            inner.is_undefined_length_sequence_item = undefined_length
    data = multi_frame(
        SharedFunctionalGroupsSequence=shared, PerFrameFunctionalGroupsSequence=per_frame,
        WindowCenter=5, WindowWidth=2,
    )  # fmt: skip
    for picture in dicom_pictures(data, 10**6, "all").pictures:
        assert np.abs(np.asarray(picture) - CHEST * 0.7 * 255).max() < 1


# Files that are not as PS3.10 has them


@pytest.mark.parametrize(
    "syntax", [uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian, uid.ExplicitVRBigEndian]
)
@pytest.mark.parametrize("with_meta", [True, False])
def test_without_preamble(syntax, with_meta):
    kind = ">u2" if syntax == uid.ExplicitVRBigEndian else "<u2"
    whole = dicom(stored(16), syntax=syntax, PixelData=stored(16).astype(kind).tobytes())
    start = 132
    if not with_meta:
        start += 12 + int.from_bytes(whole[140:144], "little")
    data = whole[start:]
    assert is_dicom(data) and is_dicom(whole)
    result = dicom_pictures(data, 10**6)
    assert np.abs(np.asarray(result.pictures[0]) - EXPECTED).max() < 1 and not result.notes


def test_what_is_no_dicom():
    noise = np.random.default_rng(0)
    for start in (b"", b"\x08\0", b"\x02\0", b"\0\x08", b"\x08\0\x05\0", b"\x08\0\x05\0CS"):
        for _ in range(50):
            assert not is_dicom(start + noise.bytes(300))
        assert not is_dicom(start)
    for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"):
        assert not is_dicom(encode(COLOUR, kind))


def test_files_of_an_archive_are_found_without_extension(tmp_path):
    for name, data in {
        "ST1/IM000001": WHOLE,
        "ST1/1.2.840.113619.2.5": WHOLE,
        "ST1/HEAD.IMA": WHOLE[132:],
        "ST1/IM000002.dcm": WHOLE,
        "ST1/README": b"about this study, " * 20,
        "ST1/notes.7": bytes(300),
        "ST1/list.txt": WHOLE,
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    skipped = collections.Counter()
    paths = sorted(image_index.walk(ImageRoot(str(tmp_path)), skipped=skipped))
    names = ["1.2.840.113619.2.5", "HEAD.IMA", "IM000001", "IM000002.dcm"]
    assert paths == [f"ST1/{name}" for name in names]
    assert skipped == {"": 1, ".7": 1, ".txt": 1}


@pytest.mark.parametrize(
    "elements",
    [
        {"PhotometricInterpretation": ...},
        {"SamplesPerPixel": ...},
        {"PixelRepresentation": ...},
        {"HighBit": ...},
        {"RescaleSlope": 0, "RescaleIntercept": 5},
    ],
)
def test_what_viewers_assume(elements):
    picture = np.asarray(dicom_pictures(dicom(stored(16), **elements), 10**6).pictures[0])
    assert np.abs(picture - EXPECTED).max() < 1


# Notes


def test_burned_in_annotation_and_secondary_capture_are_noted():
    assert dicom_pictures(WHOLE, 10**6).notes == ()
    burned = dicom(stored(16), BurnedInAnnotation="YES")
    assert dicom_pictures(burned, 10**6).notes == ("burned-in annotation (0028,0301)",)
    for kind in (
        uid.SecondaryCaptureImageStorage,
        uid.MultiFrameTrueColorSecondaryCaptureImageStorage,
    ):
        [note] = dicom_pictures(dicom(stored(16), SOPClassUID=kind), 10**6).notes
        assert note.startswith("secondary capture")
