"""How the pixel data of a DICOM is laid out, according to its header (PS3.3 section C.7.6.3)."""

from dataclasses import dataclass

from tfds_builders.dicom.data_set import DataSet
from tfds_builders.dicom.elements import name, whole, word
from tfds_builders.errors import ImageError

_SAMPLES = {
    **dict.fromkeys(("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR"), 1),
    **dict.fromkeys(("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"), 3),
}
_NOT_READ = {"HSV", "ARGB", "CMYK", "YBR_PARTIAL_422", "YBR_PARTIAL_420", "XYB"}


@dataclass(frozen=True)
class Layout:
    """Rows, columns and so on, each checked separately.

    Attributes:
      photometric: "MONOCHROME1", ..., one of _SAMPLES.
      allocated, bits: per sample; `bits` of them are significant.
      planar: 1 if the colours of a native frame follow one another, 0 if they alternate.
    """

    rows: int
    columns: int
    frames: int
    samples: int
    photometric: str
    allocated: int
    bits: int
    signed: bool
    planar: int

    @property
    def pixels(self) -> int:
        """Pixels of one frame."""
        return self.rows * self.columns


def layout_of(data_set: DataSet, notes: set[str]) -> Layout:
    """Returns the layout of the pixel data.

    Args:
      data_set: of the file.
      notes: receives assumptions.

    Raises:
      ImageError: an element is missing, or has a value that no picture has.
    """
    elements = data_set.elements
    photometric = word(elements, "PhotometricInterpretation")
    samples = whole(elements, "SamplesPerPixel", _SAMPLES.get(photometric, 1))
    if not photometric:
        photometric = "RGB" if samples == 3 else "MONOCHROME2"
        notes.add(f"no {name('PhotometricInterpretation')}: taken as {photometric}")
    if photometric not in _SAMPLES:
        kind = photometric if photometric in _NOT_READ else "a kind that is not known"
        raise ImageError(f"{name('PhotometricInterpretation')} is {kind}, which is not read")
    if samples not in (1, 3):
        raise ImageError(f"{name('SamplesPerPixel')} is {samples}: 1 and 3 are read")
    if not data_set.encapsulated and samples != _SAMPLES[photometric]:
        raise ImageError(
            f"{photometric} with {samples} samples per pixel: the header contradicts itself"
        )
    allocated = whole(elements, "BitsAllocated")
    bits = whole(elements, "BitsStored", allocated)
    if allocated not in (1, 8, 16, 32) or not 1 <= bits <= allocated:
        raise ImageError(
            f"{bits} bits stored in {allocated} bits allocated: not a layout of pictures"
        )
    high = whole(elements, "HighBit", bits - 1)
    if high != bits - 1:
        raise ImageError(
            f"values in bits up to {high} of which {bits} count: a layout retired from the standard; "
            "export the picture again"
        )
    layout = Layout(
        rows=whole(elements, "Rows"),
        columns=whole(elements, "Columns"),
        frames=whole(elements, "NumberOfFrames", 1) or 1,
        samples=samples,
        photometric=photometric,
        allocated=allocated,
        bits=bits,
        signed=whole(elements, "PixelRepresentation", 0) == 1 and allocated > 1,
        planar=whole(elements, "PlanarConfiguration", 0),
    )
    if min(layout.rows, layout.columns, layout.frames) < 1:
        raise ImageError(
            f"a picture of {layout.rows} rows, {layout.columns} columns and {layout.frames} frames"
        )
    return layout
