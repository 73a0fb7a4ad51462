"""TFDS builders of the project; they know nothing of training."""
