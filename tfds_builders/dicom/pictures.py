"""One DICOM file -> its pictures as a viewer shows them, and notes on them."""

import logging
import warnings
from dataclasses import dataclass

import numpy as np
import pydicom
from PIL import Image
from pydicom import uid

from tfds_builders.dicom.aspect import with_square_pixels
from tfds_builders.dicom.data_set import DataSet, read
from tfds_builders.dicom.elements import name, word
from tfds_builders.dicom.frames import Frame, frame_indices, frames
from tfds_builders.dicom.layout import Layout, layout_of
from tfds_builders.dicom.palette import through_palette
from tfds_builders.dicom.presentation import Scopes, render
from tfds_builders.errors import ImageError, NotAPicture

# pydicom warns of odd values by printing them, to the log and to stderr; if the length of a value is
# wrong in a broken file, the patient's name is printed with it.
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
logging.getLogger("pydicom").setLevel(logging.CRITICAL)
warnings.filterwarnings("ignore", module=r"pydicom\b")

_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"  # and its multi-frame kinds below it
_WHOLE_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"
# Modality (0008,0060) of objects without a picture, for files that do not state their SOP class
_NO_PICTURES = {
    *(
        "SR",
        "SEG",
        "PR",
        "KO",
        "DOC",
        "PLAN",
        "REG",
        "FID",
        "RWV",
        "ECG",
        "HD",
        "EPS",
        "AU",
        "RESP",
    ),
    *("RTDOSE", "RTSTRUCT", "RTPLAN", "RTRECORD", "M3D", "STAIN", "TEXTUREMAP"),
}


@dataclass(frozen=True)
class DicomPictures:
    """The pictures of one file.

    Attributes:
      pictures: mode F in 0..255 if grey (of full depth), else RGB; several for frame="all" only.
      notes: assumptions and warnings, in the same words for every file, e.g. "burned-in annotation
        (0028,0301)".
    """

    pictures: tuple[Image.Image, ...]
    notes: tuple[str, ...]


def dicom_pictures(data: bytes, max_pixels: int, frame: str = "first") -> DicomPictures:
    """Returns the picture or pictures in a DICOM file.

    Read: grey, RGB, YBR or palette; uncompressed, deflated, RLE, JPEG of any kind. Lossless JPEG,
    JPEG-LS, JPEG of 12 bits and JPEG 2000 of deep colour need the extra [dicom].

    Args:
      data: the file, with or without its preamble.
      max_pixels: of all chosen frames together.
      frame: which frames of several, "first", "middle" or "all".

    Raises:
      NotAPicture: a segmentation, dose, report, directory or the like.
      ImageError: truncated, broken, too large, or of an unsupported compression.
    """
    try:
        return _pictures(data, max_pixels, frame)
    except ImageError:
        raise
    except MemoryError as error:
        raise ImageError("a DICOM that needs more memory than there is") from error
    # A broken header makes NumPy, Pillow and pydicom raise exceptions of any type.
    except Exception as error:
        raise ImageError(
            "broken DICOM: its header and its pixel data do not fit together"
        ) from error


def _pictures(data: bytes, max_pixels: int, frame: str) -> DicomPictures:
    data_set = read(data, max_bytes=2 * max_pixels + (1 << 20))
    notes = _kind_notes(data_set)
    layout = layout_of(data_set, notes)
    if data_set.damage:
        raise ImageError(f"truncated or broken DICOM: {data_set.damage}")
    if layout.frames > 1 and data_set.kind == _WHOLE_SLIDE:
        raise ImageError(
            f"a whole-slide image of {layout.frames} tiles: export the regions to use as pictures"
        )
    indices = frame_indices(frame, layout.frames)
    if layout.pixels * len(indices) > max_pixels:
        in_frames = (
            ""
            if len(indices) == 1
            else f" in {len(indices)} frames (--dicom_frame=middle takes one)"
        )
        raise ImageError(f"more than {max_pixels // 10**6} million pixels{in_frames}")
    if layout.frames > len(indices):
        notes.add(f"several frames: the {frame} was taken")
    pictures = [
        _picture(decoded, index, data_set, layout, max_pixels, notes)
        for index, decoded in zip(indices, frames(data_set, layout, indices, max_pixels, notes))
    ]
    return DicomPictures(tuple(pictures), tuple(sorted(notes)))


def _kind_notes(data_set: DataSet) -> set[str]:
    """Returns notes on what kind of object it is.

    Raises:
      NotAPicture: a kind without a picture.
      ImageError: a kind with one, but without pixel data.
    """
    elements, kind = data_set.elements, data_set.kind
    named = uid.UID_dictionary.get(kind, ("",))[0]
    modality = word(elements, "Modality")
    is_picture = "Image" in named or "US Volume" in named or not named
    if not is_picture or (not kind and modality in _NO_PICTURES):
        what = named.removesuffix(" Storage") or f"modality {modality}"
        raise NotAPicture(f"no picture but another DICOM object: {what}")
    if data_set.pixels is None:
        if any(key in elements for key in ("FloatPixelData", "DoubleFloatPixelData")):
            raise ImageError(
                "floating-point pixels have no agreed range: export 8 or 16 bits per pixel"
            )
        if data_set.damage:
            raise ImageError(f"truncated or broken DICOM: {data_set.damage}")
        if modality in _NO_PICTURES:
            raise NotAPicture(f"no picture but another DICOM object: modality {modality}")
        raise ImageError(f"a DICOM header without {name('PixelData')}, or cut off before it")
    notes = set()
    if kind == _SECONDARY_CAPTURE or kind.startswith(f"{_SECONDARY_CAPTURE}."):
        notes.add("secondary capture: a screenshot or scan rather than the modality's picture")
    if word(elements, "BurnedInAnnotation") == "YES":
        notes.add("burned-in annotation (0028,0301)")
    return notes


def _picture(
    frame: Frame, index: int, data_set: DataSet, layout: Layout, max_pixels: int, notes: set[str]
) -> Image.Image:
    scopes = Scopes(data_set.elements, index)
    if frame.values.ndim == 3:
        image = Image.fromarray(_eight_bits(frame))
    elif layout.photometric == "PALETTE COLOR":
        image = Image.fromarray(
            through_palette(frame.values, data_set.elements, frame.signed, data_set.little_endian)
        )
    else:
        inverse = layout.photometric == "MONOCHROME1"
        image = render(frame, scopes, inverse, data_set.little_endian, notes)
    return with_square_pixels(image, scopes, max_pixels, notes)


def _eight_bits(frame: Frame) -> np.ndarray:
    """Returns uint8 [H, W, 3] of RGB of any depth."""
    if frame.bits == 8:
        return np.ascontiguousarray(frame.values, np.uint8)
    return np.rint(frame.values * (255 / (2**frame.bits - 1))).astype(np.uint8)
