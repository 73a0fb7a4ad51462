"""The part of a model card that loads the files: Python that runs in the folder of the export."""

from __future__ import annotations

from typing import Any

_SAVED_MODEL = """\
SavedModel (TensorFlow only; none of simclr_med is needed):

```python
import tensorflow as tf

loaded = tf.saved_model.load("saved_model")
images = tf.zeros([2, 480, 640, 3], tf.uint8)  # yours: RGB, uint8 or uint16, any size
outputs = loaded(images)
embeddings = outputs["embeddings"]  # [2, EMBEDDING_SIZE]
```
"""
_CASE = """
A case is classified by the mean embedding of its images:

```python
import tensorflow as tf

loaded = tf.saved_model.load("saved_model")
embeddings = loaded(tf.zeros([3, 480, 640, 3], tf.uint8))["embeddings"]  # the images of a case
case = tf.reduce_mean(embeddings, axis=0, keepdims=True)
logits = loaded.signatures["classify"](embeddings=case)["logits"]  # [1, CLASSES]
```
"""
_FURTHER = """
Training it further, all of it:

```python
import tensorflow as tf

loaded = tf.saved_model.load("saved_model")
images = tf.cast(tf.random.uniform([8, 96, 96, 3], 0, 256, tf.int32), tf.uint8)  # yours
LABELS
HEAD

@tf.function
def step():
    with tf.GradientTape() as tape:
        outputs = loaded(images, training=True)  # BatchNorm's statistics move too
        losses = LOSSES
        loss = tf.reduce_mean(losses)
    for variable, gradient in zip(variables, tape.gradient(loss, variables)):
        variable.assign_sub(0.01 * gradient)
    return loss


for _ in range(10):
    print(float(step()))
```
"""
_ONE_LABEL = (
    "labels = tf.constant([0, 1] * 4)",
    "tf.nn.sparse_softmax_cross_entropy_with_logits(labels, LOGITS)",
)
_MULTILABEL = (
    "labels = tf.one_hot([0, 1] * 4, CLASSES)  # float [8, CLASSES]: 1 where a label applies, else 0",
    "tf.nn.sigmoid_cross_entropy_with_logits(labels, LOGITS)",
)
_OWN_HEAD = ("variables = loaded.trainable_variables", 'outputs["logits"]')
_NEW_HEAD = (
    """\
kernel, bias = tf.Variable(tf.zeros([EMBEDDING_SIZE, 2])), tf.Variable(tf.zeros([2]))
variables = [*loaded.trainable_variables, kernel, bias]""",
    'outputs["embeddings"] @ kernel + bias',
)
_KERAS = """
Keras (functional, of stock layers; on TensorFlow 2.16 and newer it needs the package tf_keras):

```python
import tensorflow as tf

try:
    import tf_keras as keras
except ImportError:  # TensorFlow 2.15
    from tensorflow import keras

encoder = keras.models.load_model("encoder.keras")
images = tf.zeros([2, 480, 640, 3], tf.uint8)
CROP
pixels = tf.cast(images, tf.float32) / 255
RESIZE
features = encoder(tf.clip_by_value(pixels, 0, 1))
```
"""
_KERAS3 = """
Keras 3, on any of its backends (pixels as in the block before, or by Pillow and NumPy):

```python
import keras
import numpy as np

encoder = keras.models.load_model("encoder_keras3.keras")
pixels = np.zeros([2, SIZE, SIZE, 3], np.float32)  # yours: RGB in [0, 1]
features = encoder(pixels)
```
"""
_CENTER = """\
height, width = images.shape[1:3]
side = round(0.875 * min(height, width))
top, left = (height - side + 1) // 2, (width - side + 1) // 2
images = images[:, top : top + side, left : left + side]"""
_ANTIALIASED = """\
smaller = [min(length, SIZE) for length in pixels.shape[1:3]]
pixels = tf.image.resize(pixels, smaller, "area")
pixels = tf.image.resize(pixels, [SIZE, SIZE], "bicubic")"""
_ALIASED = 'pixels = tf.image.resize(pixels, [SIZE, SIZE], "bicubic")'
_ANY_SIDE = "other sizes give TensorFlow's features too"
_SIDES = "of sizes other than 4k + 1 and 4k + 2 TensorFlow's features differ"
_ONNX = """
ONNX:

```python
import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession("model.onnx")
images = np.zeros([2, 480, 640, 3], np.uint8)
names = [output.name for output in session.get_outputs()]
outputs = dict(zip(names, session.run(names, {"images": images})))
embeddings = outputs["embeddings"]
```
"""
_TORCH = """
PyTorch, by timm (the ResNets' names are torchvision's too):

```python
import json

import timm
import torch
from safetensors import safe_open
from safetensors.torch import load_file

with safe_open("model.safetensors", "pt") as file:
    about = {key: json.loads(text) for key, text in file.metadata().items() if key != "format"}
model = timm.create_model(about["architecture"], num_classes=len(about["class_names"]))
model.load_state_dict(load_file("model.safetensors"))
model.eval()
mean, std = (torch.tensor(about[name])[:, None, None] for name in ("mean", "std"))
pixels = torch.zeros([2, 3, SIZE, SIZE])  # yours: RGB in [0, 1]; SIDES
with torch.no_grad():
    features = model.forward_head(model.forward_features((pixels - mean) / std), pre_logits=True)
    logits = model((pixels - mean) / std)  # without classes: the features again
```
"""


def snippets(facts: dict[str, Any], files: list[str]) -> str:
    """Returns Markdown with a block of Python for each way to load these files.

    Args:
      facts: of simclr_med.json.
      files: names of what was exported.
    """
    parts = []
    if "saved_model" in files:
        parts += [_SAVED_MODEL, *([_CASE] if facts["class_names"] else []), _FURTHER]
    if "encoder.keras" in files:
        parts.append(_KERAS)
    if "encoder_keras3.keras" in files:
        parts.append(_KERAS3)
    if "model.onnx" in files:
        parts.append(_ONNX)
    if "model.safetensors" in files:
        parts.append(_TORCH)
    text = "".join(parts)
    crop = _CENTER if facts["image_size"] > 32 else "# up to 32 px the whole image is resized"
    head, logits = _OWN_HEAD if facts["class_names"] else _NEW_HEAD
    labels, losses = _MULTILABEL if facts["several_labels"] else _ONE_LABEL
    for word, value in (
        ("LABELS", labels),
        ("LOSSES", losses),
        ("HEAD", head),
        ("LOGITS", logits),
        ("RESIZE", _ANTIALIASED if facts["antialias"] else _ALIASED),
        ("EMBEDDING_SIZE", str(facts["embedding_size"])),
        ("CLASSES", str(len(facts["class_names"]))),
        ("SIDES", _ANY_SIDE if facts["encoder"] == "bit" else _SIDES),
        ("SIZE", str(facts["image_size"])),
        ("CROP", crop),
    ):
        text = text.replace(word, value)
    return text.strip()
