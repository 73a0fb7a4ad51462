"""Self-supervised pretraining for medical images: SimCLR and MICLe on TensorFlow 2 / Keras.

After Azizi et al. 2021, "Big Self-Supervised Models Advance Medical Image Classification".
"""
