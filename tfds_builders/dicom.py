"""One DICOM file -> its picture as a viewer shows it; nothing else of the file is even parsed.

Read: one frame, grey (MONOCHROME1, MONOCHROME2), RGB, YBR or palette, uncompressed, deflated, or
compressed as RLE, JPEG baseline (8 bits) or JPEG 2000. Not read, for want of a decoder that is
both small and freely licensed: lossless JPEG, JPEG-LS, 12-bit JPEG, HTJ2K, video.
"""

import io

import numpy as np
import pydicom
from PIL import Image
from pydicom.pixels import apply_color_lut, get_decoder, pixel_array

from tfds_builders.errors import ImageError
from tfds_builders.grey import inverted, through_own_range, through_window

# pydicom warns of odd values by printing them, to the log and to stderr; where a broken file says
# that a value is longer than it is, the patient's name is printed along.
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE

# All that decides how the picture looks. pydicom skips every other element, names among them.
_TAGS = [
    "SOPClassUID", "NumberOfFrames", "Rows", "Columns", "SamplesPerPixel", "PlanarConfiguration",
    "PhotometricInterpretation", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
    "PixelData",
    "RedPaletteColorLookupTableDescriptor", "RedPaletteColorLookupTableData",
    "GreenPaletteColorLookupTableDescriptor", "GreenPaletteColorLookupTableData",
    "BluePaletteColorLookupTableDescriptor", "BluePaletteColorLookupTableData",
    "ModalityLUTSequence", "RescaleSlope", "RescaleIntercept",
    "VOILUTSequence", "WindowCenter", "WindowWidth", "VOILUTFunction",
]  # fmt: skip


def is_dicom(data: bytes) -> bool:
    """Says whether `data` is a DICOM file (PS3.10, section 7.1), whatever it is called."""
    return data[128:132] == b"DICM"


def dicom_picture(data: bytes, max_pixels: int) -> Image.Image:
    """Returns the picture in a DICOM file: mode F in 0..255 if grey (of full depth), else RGB.

    Grey goes through the steps of PS3.4 section N.2: stored value -> modality LUT or rescale ->
    VOI LUT, else the first window -> MONOCHROME1 is inverted. Without window or VOI LUT, up to 8
    bits are shown as they are, more through the range of the image's own values (see grey.py).

    Raises:
      ImageError: truncated, broken, no picture or several in it, more than `max_pixels`, or
        compressed in a way that is not read.
    """
    try:
        dataset = pydicom.dcmread(io.BytesIO(data), specific_tags=_TAGS)
        _check(dataset, max_pixels)
        return _picture(dataset)
    except ImageError:
        raise
    except EOFError as error:
        raise ImageError("truncated DICOM") from error
    # A broken header makes pydicom raise whatever its parts raise: it has no exception of its own.
    except Exception as error:
        reason = " ".join(str(error).split())
        raise ImageError(f"broken DICOM ({reason[:200] or type(error).__name__})") from error


def _check(dataset: pydicom.Dataset, max_pixels: int) -> None:
    """Refuses what is whole but no single picture that we can decode."""
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    if "PixelData" not in dataset:
        kind = pydicom.uid.UID_dictionary.get(str(dataset.get("SOPClassUID")), ("unknown kind",))[0]
        raise ImageError(f"a DICOM without pixels in it ({kind}), or cut off before them")
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames > 1:
        raise ImageError(f"a DICOM of {frames} frames: export the one to use as a file of its own")
    if int(dataset.get("Rows") or 0) * int(dataset.get("Columns") or 0) > max_pixels:
        raise ImageError(f"more than {max_pixels // 10**6} million pixels")
    if dataset.get("HighBit", 0) != dataset.get("BitsStored", 1) - 1:
        raise ImageError(
            f"DICOM values in bits up to {dataset.get('HighBit')} of which "
            f"{dataset.get('BitsStored')} count: a layout retired from the standard; export anew"
        )
    if syntax is not None and not _is_decodable(syntax):
        name = syntax.name if syntax.is_valid else "no valid transfer syntax"
        raise ImageError(
            f"DICOM compressed as {name!r}, which is not read: decompress it, for example with "
            "'gdcmconv --raw in.dcm out.dcm'"
        )


def _is_decodable(syntax: pydicom.uid.UID) -> bool:
    try:
        return get_decoder(syntax).is_available
    except NotImplementedError:
        return False


def _picture(dataset: pydicom.Dataset) -> Image.Image:
    pixels = pixel_array(dataset)  # [H, W] or [H, W, 3]; YBR is RGB by now
    kind = dataset.PhotometricInterpretation
    if kind.startswith("MONOCHROME"):
        grey = _grey(dataset, pixels)
        return inverted(grey) if kind == "MONOCHROME1" else grey
    if kind == "PALETTE COLOR":
        pixels = apply_color_lut(pixels, dataset)
        bits = dataset.RedPaletteColorLookupTableDescriptor[2]
    elif kind == "RGB" or kind.startswith("YBR_"):
        bits = dataset.BitsStored
    else:
        raise ValueError(f"photometric interpretation {kind!r}")
    return Image.fromarray(np.rint(pixels * (255 / (2**bits - 1))).astype(np.uint8))


def _grey(dataset: pydicom.Dataset, stored: np.ndarray) -> Image.Image:
    """Returns mode F in 0..255 of stored values [H, W], before any inversion."""
    values = _rescaled(dataset, stored)
    if dataset.get("VOILUTSequence"):
        item = dataset.VOILUTSequence[0]
        return through_window(_looked_up(dataset, item, values), 0, 2 ** item.LUTDescriptor[2] - 1)
    center, width = _first(dataset.get("WindowCenter")), _first(dataset.get("WindowWidth"))
    if center is not None and width is not None and width >= 1:
        return _windowed(values, center, width, dataset.get("VOILUTFunction") or "LINEAR")
    if dataset.BitsStored <= 8:
        lowest = -(2 ** (dataset.BitsStored - 1)) if dataset.PixelRepresentation else 0
        ends = np.array([lowest, lowest + 2**dataset.BitsStored - 1])
        return through_window(values, *sorted(_rescaled(dataset, ends).tolist()))
    return through_own_range(values)


def _rescaled(dataset: pydicom.Dataset, stored: np.ndarray) -> np.ndarray:
    """Returns what stored values measure: through the modality LUT, or the rescale (float32)."""
    if dataset.get("ModalityLUTSequence"):
        return _looked_up(dataset, dataset.ModalityLUTSequence[0], stored)
    slope, intercept = _first(dataset.get("RescaleSlope")), _first(dataset.get("RescaleIntercept"))
    return stored.astype(np.float32) * (1 if slope is None else slope) + (intercept or 0)


def _looked_up(dataset: pydicom.Dataset, item: pydicom.Dataset, values: np.ndarray) -> np.ndarray:
    """Returns `values` through the table of a LUT item, those beyond it as its first or last.

    pydicom's own apply_voi and apply_modality_lut take the index modulo 256 if entries have 8 bits.
    """
    table = item.LUTData
    if isinstance(table, bytes):  # VR OW: words in the file's byte order; else numbers already
        order = "<" if dataset.file_meta.TransferSyntaxUID.is_little_endian else ">"
        table = np.frombuffer(table, f"{order}u2")
    index = np.rint(values).astype(np.int64) - item.LUTDescriptor[1]
    return np.asarray(table)[np.clip(index, 0, len(table) - 1)]


def _windowed(values: np.ndarray, center: float, width: float, function: str) -> Image.Image:
    """Returns mode F in 0..255; the three functions of PS3.3 section C.11.2.1.2 and .3."""
    if function == "SIGMOID":
        # 1 / (1 + exp(-4 x)) = (1 + tanh(2 x)) / 2, which does not overflow
        return through_window(np.tanh(2 * (values - center) / width), -1, 1)
    if function == "LINEAR_EXACT":
        return through_window(values, center - width / 2, center + width / 2)
    if function != "LINEAR":
        raise ValueError(f"VOI LUT function {function!r} is none of LINEAR, LINEAR_EXACT, SIGMOID")
    return through_window(values, center - width / 2, center + width / 2 - 1)


def _first(value) -> float | None:
    """Returns the first of the values of an element that may have none, one or many."""
    if value is None or value == "":
        return None
    return float(value[0] if isinstance(value, pydicom.multival.MultiValue) else value)
