"""A pass over the encoded elements of a DICOM file that skips those that are not needed.

pydicom's own reader builds an object for every element of every sequence it passes, and looks for the
end of encapsulated pixel data by its bytes, which a code stream may hold too. This one never copies
pixel data, and stops after MAX_ELEMENTS. Source: PS3.5 section 7 and annex A.
"""

import struct

import pydicom
from pydicom import datadict
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

from tfds_builders.errors import ImageError

# A second of walking, three of making items; an enhanced CT of 2,000 frames has some 100,000 elements
# in 8,000 items that are read.
MAX_ELEMENTS = 1_000_000
MAX_ITEMS = 100_000
_MAX_DEPTH = 8  # of sequences that are read; functional groups need 3
_UNDEFINED = 0xFFFFFFFF
_ITEM, _END_OF_ITEM, _END_OF_SEQUENCE = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_PIXEL_DATA = 0x7FE00010
# VRs with a length of 32 bits (PS3.5 table 7.1-1)
LONG = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
SHORT = {
    *(b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FL", b"FD", b"IS", b"LO", b"LT", b"PN"),
    *(b"SH", b"SL", b"SS", b"ST", b"TM", b"UI", b"UL", b"US"),
}
_KEYWORDS = [
    "SOPClassUID", "MediaStorageSOPClassUID", "TransferSyntaxUID", "Modality", "NumberOfFrames",
    "Rows", "Columns", "SamplesPerPixel", "PlanarConfiguration", "PhotometricInterpretation",
    "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelData",
    "ExtendedOffsetTable", "ExtendedOffsetTableLengths", "FloatPixelData", "DoubleFloatPixelData",
    "RedPaletteColorLookupTableDescriptor", "RedPaletteColorLookupTableData",
    "GreenPaletteColorLookupTableDescriptor", "GreenPaletteColorLookupTableData",
    "BluePaletteColorLookupTableDescriptor", "BluePaletteColorLookupTableData",
    "SegmentedRedPaletteColorLookupTableData", "SegmentedGreenPaletteColorLookupTableData",
    "SegmentedBluePaletteColorLookupTableData",
    "ModalityLUTSequence", "RescaleSlope", "RescaleIntercept",
    "VOILUTSequence", "WindowCenter", "WindowWidth", "VOILUTFunction", "LUTDescriptor", "LUTData",
    "PixelPaddingValue", "PixelPaddingRangeLimit", "BurnedInAnnotation",
    "PixelAspectRatio", "PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing",
    # where an enhanced multi-frame object keeps them (PS3.3 section C.7.6.16)
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
    "PixelValueTransformationSequence", "FrameVOILUTSequence", "PixelMeasuresSequence",
]  # fmt: skip
_KEYWORD_OF_TAG = {datadict.tag_for_keyword(keyword): keyword for keyword in _KEYWORDS}


class Walk:
    """One pass over encoded elements; records the pixel data and any damage."""

    def __init__(self, data: bytes, little: bool):
        self.data = data
        self.view = memoryview(data)
        order = "<" if little else ">"
        self.little = little
        self.tag_and_length = struct.Struct(f"{order}HHL").unpack_from
        self.short_length = struct.Struct(f"{order}H").unpack_from
        self.long_length = struct.Struct(f"{order}L").unpack_from
        self.elements_left, self.items_left = MAX_ELEMENTS, MAX_ITEMS
        self.pixels: memoryview | None = None
        self.pixel_vr = b""
        self.encapsulated = False
        self.damage = ""

    def header(self, offset: int, implicit: bool) -> tuple[int, bytes, int, int, bool]:
        """Returns (tag, VR or b"", length, offset of the value, implicit) of an element.

        Sequences in explicit files are often written with implicit VR: recognised by invalid VRs.

        Args:
          offset: of the element.
          implicit: whether its VR is.

        Raises:
          ImageError: more than MAX_ELEMENTS elements.
        """
        self.elements_left -= 1
        if self.elements_left < 0:
            raise ImageError(f"a DICOM header of more than {MAX_ELEMENTS} elements")
        group, number, length = self.tag_and_length(self.data, offset)
        tag, vr = group << 16 | number, self.data[offset + 4 : offset + 6]
        if group == 0xFFFE or implicit or not (vr.isalpha() and vr.isupper()):
            return tag, b"", length, offset + 8, group != 0xFFFE
        if vr not in LONG:
            return tag, vr, self.short_length(self.data, offset + 6)[0], offset + 8, False
        if offset + 12 > len(self.data):
            return tag, vr, _UNDEFINED - 1, offset + 8, False
        return tag, vr, self.long_length(self.data, offset + 8)[0], offset + 12, False

    def data_set(
        self, offset: int, end: int, implicit: bool, group: int | None = None, depth: int = 0
    ) -> tuple[Dataset, int]:
        """Returns the needed elements from `offset` on, and where they end.

        They end at `end`, at the end of an item, before another group than `group` if one is given,
        at the pixel data of the file, or where the bytes make no sense (see `damage`).

        Args:
          offset: of the first element.
          end: of the enclosing item or file.
          implicit: whether VRs are.
          group: read only this group; None: all.
          depth: of nested sequences.
        """
        elements: dict[BaseTag, RawDataElement | DataElement] = {}
        while offset + 8 <= end and not self.damage:
            start = offset
            tag, vr, length, offset, inner = self.header(offset, implicit)
            if group is not None and tag >> 16 != group:
                offset = start
                break
            if tag == _END_OF_ITEM:
                break
            if tag == _PIXEL_DATA and depth == 0:
                self.pixel_vr = vr
                self._read_pixels(offset, end, length)
                break
            keyword = _KEYWORD_OF_TAG.get(tag)
            if length != _UNDEFINED and length > end - offset:
                self.damage = (
                    f"element ({tag >> 16:04x},{tag & 0xFFFF:04x}) is longer than the file"
                )
            elif keyword and datadict.dictionary_VR(tag) == "SQ":
                items, offset = self._items(offset, end, length, inner or vr == b"UN", depth + 1)
                elements[BaseTag(tag)] = DataElement(BaseTag(tag), "SQ", pydicom.Sequence(items))
            elif length == _UNDEFINED:
                offset = self._step_over(offset, end, inner or vr == b"UN")
            else:
                if keyword:
                    elements[BaseTag(tag)] = self._element(tag, vr, offset, length)
                offset += length
        return Dataset(elements), offset

    def _element(self, tag: int, vr: bytes, offset: int, length: int) -> RawDataElement:
        name = vr.decode() if vr in SHORT | LONG and vr != b"UN" else datadict.dictionary_VR(tag)
        name = {"US or SS": "US", "US or OW": "OW", "OB or OW": "OW"}.get(name, name)
        value = self.data[offset : offset + length]
        return RawDataElement(BaseTag(tag), name, length, value, offset, False, self.little)

    def _read_pixels(self, offset: int, end: int, length: int) -> None:
        if length != _UNDEFINED:
            if length > end - offset:
                self.damage = "the file ends within the pixel data"
            self.pixels = self.view[offset : min(offset + length, end)]
            return
        start, self.encapsulated = offset, True
        while offset + 8 <= end:
            group, number, size = self.tag_and_length(self.data, offset)
            if group << 16 | number != _ITEM:
                break  # the end of the sequence, or of what makes sense
            self.elements_left -= 1
            if self.elements_left < 0:
                raise ImageError(f"pixel data of more than {MAX_ELEMENTS} fragments")
            if size > end - offset - 8:
                self.damage = "the file ends within the pixel data"
                size = end - offset - 8
            offset += 8 + size
        self.pixels = self.view[start:offset]

    def _items(
        self, offset: int, end: int, length: int, implicit: bool, depth: int
    ) -> tuple[list[Dataset], int]:
        """Returns the items of a sequence whose value starts at `offset`, and where it ends."""
        items: list[Dataset] = []
        stop = end if length == _UNDEFINED else offset + length
        if depth > _MAX_DEPTH:
            self.damage = f"sequences nested more than {_MAX_DEPTH} deep"
        while offset + 8 <= stop and not self.damage:
            tag, _, size, offset, _ = self.header(offset, implicit)
            if tag != _ITEM:
                if tag != _END_OF_SEQUENCE:
                    self.damage = "a sequence holds something else than items"
                break
            inner_end = stop if size == _UNDEFINED else offset + size
            if inner_end > stop:
                self.damage = "an item of a sequence is longer than the sequence"
                break
            self.items_left -= 1
            if self.items_left < 0:
                raise ImageError(f"a DICOM header with sequences of more than {MAX_ITEMS} items")
            item, after = self.data_set(offset, inner_end, implicit, depth=depth)
            offset = after if size == _UNDEFINED else inner_end
            items.append(item)
        return items, offset if length == _UNDEFINED else stop

    def _step_over(self, offset: int, end: int, implicit: bool) -> int:
        """Returns where an element of undefined length ends whose value starts at `offset`."""
        open_ones = [implicit]  # of each open sequence: whether its elements are of implicit VR
        while open_ones and offset + 8 <= end:
            tag, vr, length, offset, inner = self.header(offset, open_ones[-1])
            if tag in (_END_OF_ITEM, _END_OF_SEQUENCE):
                if tag == _END_OF_SEQUENCE:
                    open_ones.pop()
            elif length == _UNDEFINED:
                if tag != _ITEM:
                    open_ones.append(inner or vr == b"UN")
            elif length > end - offset:
                self.damage = (
                    f"element ({tag >> 16:04x},{tag & 0xFFFF:04x}) is longer than the file"
                )
                return end
            else:
                offset += length
        return offset
