"""A trained network, for use where our code is not: SavedModel, Keras, ONNX, safetensors."""

from simclr_med.export.saved_model import save

__all__ = ["save"]
