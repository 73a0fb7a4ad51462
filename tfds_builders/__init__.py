"""TFDS builders of the project: TFDS, NumPy, pandas and Pillow only; they know nothing of training."""
