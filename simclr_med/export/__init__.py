"""A trained network, for use without simclr_med: SavedModel, Keras, ONNX, safetensors."""

from simclr_med.export.saved_model import save

__all__ = ["save"]
