"""`derm_bags`: a bag is the photographs of one skin condition of one patient (one case).

Importing this package registers the dataset: `tfds.builder("derm_bags/demo")` then works.
"""

from .derm_bags_dataset_builder import Builder, DermBagsConfig, folder_config

__all__ = ["Builder", "DermBagsConfig", "folder_config"]
