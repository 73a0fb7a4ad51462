"""Reads the parameters of a compressed frame, which may contradict the DICOM header around it.

Only markers are read, no pixels. Sources: ITU-T T.81 (JPEG), annex B; T.87 (JPEG-LS), annex C; T.800
(JPEG 2000), annex A; T.814 (HTJ2K), annex A.
"""

import struct
from dataclasses import dataclass

from pydicom import uid

from tfds_builders import jpeg
from tfds_builders.errors import ImageError

_NOT_FRAMES = (0xC4, 0xC8, 0xCC)  # DHT, JPG, DAC: among SOF0 to SOF15 by number only
_FAMILIES = {
    "JPEG": (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit),
    "lossless JPEG": (uid.JPEGLossless, uid.JPEGLosslessSV1),
    "JPEG-LS": (uid.JPEGLSLossless, uid.JPEGLSNearLossless),
    "JPEG 2000": (uid.JPEG2000Lossless, uid.JPEG2000, uid.JPEG2000MCLossless, uid.JPEG2000MC),
    "HTJ2K": (uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K),
}


@dataclass(frozen=True)
class CodeStream:
    """The parameters of one compressed frame.

    Attributes:
      data: the code stream, without the wrapping of a .jp2 file.
      family: "JPEG" (8 or 12 bits, with loss), "lossless JPEG", "JPEG-LS", "JPEG 2000", "HTJ2K".
      bits: of a sample.
      signed: whether samples are signed; None where the format cannot say (all but JPEG 2000).
      colour: "RGB" or "YBR" if the stream says what its three components are once decoded, else "".
      names: the component identifiers of a JPEG, one byte each.
    """

    data: bytes
    family: str
    height: int
    width: int
    components: int
    bits: int
    signed: bool | None
    colour: str
    names: bytes = b""

    def belongs_to(self, syntax: uid.UID) -> bool:
        """Returns whether `syntax` is a transfer syntax of this family."""
        return syntax in _FAMILIES[self.family]


def parse(frame: bytes) -> CodeStream | None:
    """Returns the parameters of a compressed frame, None if it is no JPEG of any family.

    Raises:
      ImageError: it begins as one and breaks off before its parameters.
    """
    try:
        if frame[:12] == b"\x00\x00\x00\x0cjP  \r\n\x87\n":
            frame = _unwrapped(frame)
        if frame[:4] == b"\xff\x4f\xff\x51":
            return _jpeg2000(frame)
        if frame[:2] == b"\xff\xd8":
            return _jpeg(frame)
    except (IndexError, struct.error) as error:
        raise ImageError("a compressed frame that breaks off within its own header") from error
    return None


def check_end(stream: CodeStream) -> None:
    """Raises ImageError for a JPEG (of any family) without its end, which pylibjpeg-libjpeg would invent.

    Raises:
      ImageError: no end mark after the scan, or zeros in it where no encoder writes any.
    """
    frame = jpeg.read_frame(stream.data)
    if frame is None or stream.data.find(jpeg.EOI, frame.first_scan_end) < 0:
        raise ImageError(f"truncated {stream.family} code stream")
    if frame.has_hole:
        raise ImageError(
            f"damaged {stream.family} code stream (part of it is overwritten with zeros)"
        )


def _unwrapped(frame: bytes) -> bytes:
    """Returns the code stream in a .jp2 file (T.800 I.4), b"" if there is none."""
    offset = 0
    while offset + 8 <= len(frame):
        length, kind, start = *struct.unpack_from(">L4s", frame, offset), offset + 8
        if length == 1:  # the length follows in 64 bits
            length, start = struct.unpack_from(">Q", frame, offset + 8)[0], offset + 16
        if kind == b"jp2c":
            return frame[start:]
        if length < 8:
            break
        offset += length
    return b""


def _jpeg2000(stream: bytes) -> CodeStream:
    (capabilities, x1, y1, x0, y0) = struct.unpack_from(">HLLLL", stream, 6)
    components, depth = struct.unpack_from(">HB", stream, 40)
    return CodeStream(
        data=stream,
        family="HTJ2K" if capabilities & 0x4000 else "JPEG 2000",
        height=y1 - y0,
        width=x1 - x0,
        components=components,
        bits=(depth & 0x7F) + 1,
        signed=bool(depth & 0x80),
        colour="RGB" if _has_component_transform(stream) else "",
    )


def _has_component_transform(stream: bytes) -> bool:
    """Returns whether the main header states the RCT or ICT, which decoders undo (T.800 A.6.1)."""
    offset = 2
    while True:
        marker, length = struct.unpack_from(">HH", stream, offset)
        if marker == 0xFF52:  # COD: Lcod, Scod, progression order, layers (2), transformation
            return stream[offset + 8] == 1
        if marker in (0xFF90, 0xFF93) or marker < 0xFF00:  # a tile begins
            return False
        offset += 2 + max(length, 2)


def _jpeg(stream: bytes) -> CodeStream:
    offset, application = 2, {}
    while True:
        if stream[offset] != 0xFF:
            raise IndexError
        marker = stream[offset + 1]
        if marker == 0xFF or 0xD0 <= marker <= 0xD8 or marker == 0x01:  # fill, no length
            offset += 1 if marker == 0xFF else 2
            continue
        (length,) = struct.unpack_from(">H", stream, offset + 2)
        if (0xC0 <= marker <= 0xCF and marker not in _NOT_FRAMES) or marker == 0xF7:
            break
        if 0xE0 <= marker <= 0xEF:
            application[marker] = stream[offset + 4 : offset + 2 + length]
        offset += 2 + max(length, 2)
    bits, height, width, components = struct.unpack_from(">BHHB", stream, offset + 4)
    names = stream[offset + 10 : offset + 10 + 3 * components : 3]
    if marker == 0xC1:
        stream = _with_whole_spectrum(stream, offset)
    lossless = {0xF7: "JPEG-LS", 0xC3: "lossless JPEG"}
    return CodeStream(
        data=stream,
        family=lossless.get(marker, "JPEG"),
        height=height,
        width=width,
        components=components,
        bits=bits,
        signed=None,
        colour=_jpeg_colour(names, application) if components == 3 else "",
        names=names,
    )


def _with_whole_spectrum(stream: bytes, offset: int) -> bytes:
    """Returns a sequential JPEG whose first scan states coefficients 0 to 63 (T.81 table B.3).

    Some encoders state 0 to 0; libjpeg ignores it, pylibjpeg refuses it.

    Args:
      stream: of a JPEG.
      offset: of the frame header (SOF1).
    """
    while stream[offset] == 0xFF and stream[offset + 1] != 0xDA:
        offset += 2 + max(struct.unpack_from(">H", stream, offset + 2)[0], 2)
    spectrum = offset + 5 + 2 * stream[offset + 4]
    return stream[:spectrum] + b"\x00\x3f\x00" + stream[spectrum + 3 :]


def _jpeg_colour(names: bytes, application: dict[int, bytes]) -> str:
    """Returns what libjpeg takes the components for (jdapimin.c), "" where it would guess."""
    if application.get(0xE0, b"")[:5] == b"JFIF\0":
        return "YBR"
    adobe = application.get(0xEE, b"")
    if adobe[:5] == b"Adobe" and len(adobe) >= 12:
        return "YBR" if adobe[11] == 1 else "RGB"
    return "RGB" if names.upper() == b"RGB" else ""
