"""Draws one picture, and writes it as DICOM in any way that a test asks for."""

import io

import numpy as np
import pydicom
from PIL import Image
from pydicom import uid

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
    """A DICOM file of integers [H, W] or [H, W, 3], named and signed with a patient's data.

    Args:
      elements: of the header, by keyword; ... takes one away, a DataElement has a VR of its own.
    """
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
        if value is ...:
            delattr(dataset, name)
        elif isinstance(value, pydicom.DataElement):
            dataset.add(value)
        else:
            setattr(dataset, name, value)
    return write(dataset, syntax or uid.ExplicitVRLittleEndian)


def write(dataset, syntax):
    """Returns the bytes of `dataset` as a file."""
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


RED = EXPECTED.astype("u1")
COLOUR = np.stack([RED, 255 - RED, np.full((H, W), 60, "u1")], -1)  # uint8 [H, W, 3]
