"""`nih_cxr14`: NIH ChestX-ray14; a bag is one image, and neighbours are of one patient.

Importing this package registers the dataset.
"""

from .nih_cxr14_dataset_builder import Builder, folder_config

__all__ = ["Builder", "folder_config"]
