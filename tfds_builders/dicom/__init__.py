"""DICOM files -> pictures: walk -> data_set -> layout -> frames -> presentation or palette -> aspect."""

from tfds_builders.dicom.data_set import is_dicom as is_dicom
from tfds_builders.dicom.pictures import DicomPictures as DicomPictures
from tfds_builders.dicom.pictures import dicom_pictures as dicom_pictures
