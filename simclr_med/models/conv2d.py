"""Conv2D whose filter gradient is quick on CPUs where the feature map is small.

oneDNN's kernel for it wastes time once a 3 x 3 convolution works on few pixels: 50 CPU ms in bfloat16
(39 in float32) for 512 channels on 2 x 2 px and batch 128, against 14 (26) as nine matrix products,
one for each tap; on 7 x 7 px and batch 32 it is 65 against 39 (63 against 72). TensorFlow 2.15 and
2.21, AMD EPYC with AVX512-BF16. From about 14 px on the kernel is the quicker one; on GPUs and TPUs
it is always used.
"""

from __future__ import annotations

import tensorflow as tf

from simclr_med import distribution
from simclr_med.keras_api import keras
from simclr_med.models.symbolic import is_symbolic, stock

_LARGEST_SIDE = {tf.bfloat16: 8, tf.float32: 2}  # px of the output


class Conv2D(keras.layers.Conv2D):
    """Keras's Conv2D, channels last, with that gradient. On a symbolic input: Keras's own."""

    def __call__(self, x, *args, **kwargs):
        if is_symbolic(x):
            return stock(keras.layers.Conv2D, self, x)
        return super().__call__(x, *args, **kwargs)

    def convolution_op(self, inputs, kernel):
        side = inputs.shape[1]
        largest = _LARGEST_SIDE.get(inputs.dtype, 0) * self.strides[0]
        if self.kernel_size[0] > 1 and side and side <= largest and distribution.on_cpu():
            kernel = tf.cast(kernel, inputs.dtype)
            return convolve(inputs, kernel, self.strides[0], self.padding.upper())
        return super().convolution_op(inputs, kernel)


def convolve(x: tf.Tensor, kernel: tf.Tensor, stride: int, padding: str) -> tf.Tensor:
    """Returns `tf.nn.conv2d`, whose filter gradient is a matrix product for each tap.

    Args:
      x: [n, H, W, C], H and W static.
      kernel: [kh, kw, C, filters].
      stride: of both axes; 1 with "SAME".
      padding: "SAME" or "VALID".
    """
    strides = [1, stride, stride, 1]

    @tf.custom_gradient
    def convolution(x, kernel):
        def gradient(dy):
            dx = tf.raw_ops.Conv2DBackpropInput(
                input_sizes=tf.shape(x),
                filter=kernel,
                out_backprop=dy,
                strides=strides,
                padding=padding,
            )
            return dx, _filter_gradient(x, dy, kernel.shape, stride, padding)

        return tf.nn.conv2d(x, kernel, strides, padding), gradient

    return convolution(x, kernel)


def _filter_gradient(x, dy, kernel_shape, stride, padding):
    """Returns the gradient of the kernel: for each tap, the pixels it saw times `dy`."""
    kh, kw, channels, filters = kernel_shape
    if padding == "SAME":
        margins = [[(k - 1) // 2, k - 1 - (k - 1) // 2] for k in (kh, kw)]
        x = tf.pad(x, [[0, 0], *margins, [0, 0]])
    height, width = (1 + stride * (side - 1) for side in dy.shape[1:3])
    dy = tf.reshape(dy, [-1, filters])  # [n h w, filters]
    taps = []
    for i in range(kh):
        for j in range(kw):
            pixels = x[:, i : i + height : stride, j : j + width : stride]
            pixels = tf.reshape(pixels, [-1, channels])  # [n h w, C]
            taps.append(tf.matmul(pixels, dy, transpose_a=True))
    return tf.reshape(tf.stack(taps), kernel_shape)
