"""Returns values of DICOM elements as numbers and text, or raises an error that names the element."""

import math
from typing import Any

import numpy as np
from pydicom import datadict
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence

from tfds_builders.errors import ImageError


def name(keyword: str) -> str:
    """Returns e.g. "Rows (0028,0010)"."""
    tag = datadict.tag_for_keyword(keyword) or 0
    return f"{datadict.dictionary_description(tag)} ({tag >> 16:04x},{tag & 0xFFFF:04x})"


def values(elements: Dataset, keyword: str) -> list[Any]:
    """Returns the values of an element: [] where it is missing or empty.

    Args:
      elements: data set.
      keyword: of the element.

    Raises:
      ImageError: the value is not of the element's type, e.g. letters where a number must be.
    """
    try:
        value = elements.get(keyword)
    except Exception as error:  # whatever the conversion of one of thirty VRs raises
        raise ImageError(f"broken DICOM: {name(keyword)} cannot be read") from error
    if value is None or (isinstance(value, str | bytes) and not value):
        return []
    return list(value) if isinstance(value, MultiValue | Sequence | list) else [value]


def word(elements: Dataset, keyword: str) -> str:
    """Returns the first value as upper-case text, "" if there is none.

    Args:
      elements: data set.
      keyword: of the element.
    """
    items = values(elements, keyword)
    return str(items[0]).strip(" \0").upper() if items else ""


def number(elements: Dataset, keyword: str) -> float | None:
    """Returns the first value as a finite number, None if there is none.

    Args:
      elements: data set.
      keyword: of the element.

    Raises:
      ImageError: it is not a number.
    """
    items = values(elements, keyword)
    if not items or items[0] in ("", None):
        return None
    try:
        value = float(items[0])
    except (TypeError, ValueError) as error:
        raise ImageError(f"broken DICOM: {name(keyword)} is not a number") from error
    return value if math.isfinite(value) else None


def whole(elements: Dataset, keyword: str, default: int | None = None) -> int:
    """Returns the first value as an integer.

    Args:
      elements: data set.
      keyword: of the element.
      default: if there is no value; None: a value is required.

    Raises:
      ImageError: there is none and no default, or it is no integer.
    """
    value = number(elements, keyword)
    if value is None:
        if default is None:
            raise ImageError(f"broken DICOM: no {name(keyword)} in the header")
        return default
    if value != int(value):
        raise ImageError(f"broken DICOM: {name(keyword)} is not a whole number")
    return int(value)


def words_16(elements: Dataset, keyword: str, little_endian: bool) -> np.ndarray:
    """Returns the entries of a table of 16-bit words (uint16), in whichever VR it is written.

    Args:
      elements: data set.
      keyword: of the element.
      little_endian: byte order of the file.
    """
    items = values(elements, keyword)
    if len(items) == 1 and isinstance(items[0], bytes):
        data = items[0][: len(items[0]) // 2 * 2]
        return np.frombuffer(data, "<u2" if little_endian else ">u2").astype(np.uint16)
    try:
        return np.array([int(value) & 0xFFFF for value in items], np.uint16)
    except (TypeError, ValueError) as error:
        raise ImageError(f"broken DICOM: {name(keyword)} is no table of numbers") from error


def descriptor(elements: Dataset, keyword: str, signed: bool) -> tuple[int, int, int]:
    """Returns (entries, input value of the first entry, bits of an entry) of a lookup table.

    PS3.3 section C.11.1.1: 0 entries mean 65536; the first value is signed as the input is.

    Args:
      elements: data set.
      keyword: of the element.
      signed: whether the input values are.

    Raises:
      ImageError: there are not three numbers.
    """
    items = values(elements, keyword)
    try:
        entries, first, bits = (int(value) & 0xFFFF for value in items)
    except (TypeError, ValueError) as error:
        raise ImageError(f"broken DICOM: {name(keyword)} is not three numbers") from error
    if not 1 <= bits <= 16:
        raise ImageError(f"broken DICOM: {name(keyword)} says {bits} bits")
    return entries or 65536, first - 65536 if signed and first > 32767 else first, bits
