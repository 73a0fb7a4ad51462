"""`chexpert_studies`: CheXpert; a bag is one study, the X-rays of one visit.

Importing this package registers the dataset. (TFDS has a `chexpert` of its own, by image and
without patients.)
"""

from .chexpert_studies_dataset_builder import Builder, folder_config

__all__ = ["Builder", "folder_config"]
