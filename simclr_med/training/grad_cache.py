"""One update from a batch that is encoded in chunks: gradient caching (Gao et al. 2021,
arXiv:2101.06983).

1. Every chunk passes the network; only what the loss needs of its outputs is kept.
2. The loss of the whole batch, and its gradient with respect to each of those outputs.
3. Every chunk passes again, and what its outputs' gradients say of the weights is summed.

Activations are held of one chunk alone. The loss and its gradient are those of one pass over the
batch, but for BatchNorm: a chunk is normalised by its own statistics, and moving statistics move
once a chunk (in the first pass, not in the second). Without BatchNorm nothing differs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from simclr_med.models.remat import recomputing

Tensors = dict[str, tf.Tensor]


def call_here(function: Callable, args: tuple):
    """Returns function(*args); stands in for `strategy.run` where the caller is inside it already."""
    return function(*args)


def make_cached_step(
    model,
    optimizer,
    *,
    views: Callable[[Tensors, tf.Tensor, int], tuple[tf.Tensor, dict]],
    loss: Callable[[Tensors, Tensors], tuple[tf.Tensor, Tensors]],
    rows: dict[str, int],
    micro_batch: int,
    run: Callable[[Callable, tuple], Any] = call_here,
):
    """Returns a function that makes one update from a batch and returns its metrics.

    Args:
      model: whose outputs the loss is of; a built `Model`.
      optimizer: its `apply_gradients`, of an optimiser or of several, sums gradients over replicas.
      views: (a chunk of the batch, its number i, how many there are) to (images, further arguments
        of the model), the same at each call.
      loss: (outputs of the whole local batch, the batch) to (loss to differentiate, metrics).
      rows: which outputs the loss needs, and how many rows an example has in each: 2 of two views
        (all first views before all second ones), else 1.
      micro_batch: examples of a chunk; must divide those of a batch, on each replica.
      run: calls a function on every replica: `strategy.run` where the step is called outside of it,
        because collectives cannot be in a loop inside (`distribution.can_sum_in_loops`).
    """
    variables = model.trainable_variables

    def outputs_of(batch, i):
        """Returns the outputs of chunk i, each [rows, micro_batch, width]."""
        count = _num_examples(batch) // micro_batch
        chunk = {name: _chunks(value, count)[i] for name, value in batch.items()}
        images, extras = views(chunk, i, count)
        outputs = model(images, training=True, **extras)
        return {name: tf.reshape(outputs[name], [n, micro_batch, -1]) for name, n in rows.items()}

    def nothing(batch):
        count, widths = _num_examples(batch) // micro_batch, model.output_widths
        shapes = {name: [count, n, micro_batch, widths[name]] for name, n in rows.items()}
        return {name: tf.zeros(shape, variables[0].dtype) for name, shape in shapes.items()}

    def keep_outputs(batch, i, buffered):
        computed = outputs_of(batch, i)
        here = tf.range(_num_examples(batch) // micro_batch)[:, tf.newaxis, tf.newaxis, tf.newaxis]
        return {
            name: tf.where(here == i, computed[name], value) for name, value in buffered.items()
        }

    def gradients_of(batch, buffered):
        with tf.GradientTape() as tape:
            tape.watch(buffered)
            value, metrics = loss({name: _whole(x) for name, x in buffered.items()}, batch)
        # What the loss says of the weights themselves (their decay) begins the sums of step 3.
        gradients, sums = tape.gradient(
            value, (buffered, variables), unconnected_gradients=tf.UnconnectedGradients.ZERO
        )
        return gradients, sums, metrics

    def add_gradients(batch, i, gradients, sums):
        with tf.GradientTape() as tape, recomputing():
            outputs = outputs_of(batch, i)
        more = tape.gradient(
            [outputs[name] for name in rows],
            variables,
            output_gradients=[gradients[name][i] for name in rows],
            unconnected_gradients=tf.UnconnectedGradients.ZERO,
        )
        return [a + b for a, b in zip(sums, more)]

    def apply(sums):
        optimizer.apply_gradients(zip(sums, variables))

    def step(batch):
        count = _num_examples(batch) // micro_batch
        buffered = run(nothing, (batch,))
        buffered = _repeat(
            count, lambda i, buffered: run(keep_outputs, (batch, i, buffered)), buffered
        )
        gradients, sums, metrics = run(gradients_of, (batch, buffered))
        sums = _repeat(count, lambda i, sums: run(add_gradients, (batch, i, gradients, sums)), sums)
        run(apply, (sums,))
        return metrics

    return step


def _repeat(count: int, body: Callable, state):
    """Returns the state after `body(i, state)` for each i, one at a time: memory is of one."""
    return tf.while_loop(
        lambda i, _: i < count,
        lambda i, state: (i + 1, body(i, state)),
        (tf.constant(0), state),
        parallel_iterations=1,
    )[1]


def _num_examples(batch) -> int:
    """Returns b, of a local batch or of the batches of all replicas together."""
    return tf.nest.flatten(batch["images"], expand_composites=True)[0].shape[0]


def _chunks(x: tf.Tensor, count: int) -> tf.Tensor:
    """Returns [b, ...] as [count, b / count, ...]."""
    return tf.reshape(x, [count, x.shape[0] // count, *x.shape[1:]])


def _whole(buffered: tf.Tensor) -> tf.Tensor:
    """Returns the rows of chunks, [chunks, rows, m, width], in the order of one pass."""
    count, n, m, width = buffered.shape
    return tf.reshape(tf.transpose(buffered, [1, 0, 2, 3]), [n * count * m, width])
