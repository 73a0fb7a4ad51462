"""One update of the weights, on every replica."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable

import numpy as np
import tensorflow as tf

from simclr_med import chatter, distribution
from simclr_med.augment import augment_views, fold_in
from simclr_med.config import Config
from simclr_med.losses import supervised
from simclr_med.models import Model
from simclr_med.optim import l2_penalty, supervised_variables
from simclr_med.training.grad_cache import call_here, make_cached_step
from simclr_med.training.methods import Method

_AUGMENT = 1  # second word of the seed of device-side augmentation


@dataclasses.dataclass(frozen=True)
class Trained:
    """The model, its optimizers, and what else an update needs.

    Attributes:
      model: built.
      optimizer: of all trainable variables, but for those of `head_optimizer`.
      class_weights: of the classes in the loss (see `losses`), or None.
      head_optimizer: of the supervised head's variables; None: they have no other than the rest, as in
        SimCLR's code.
    """

    model: Model
    optimizer: tf.Module
    class_weights: np.ndarray | None = None
    head_optimizer: tf.Module | None = None

    def apply_gradients(self, pairs: Iterable[tuple[tf.Tensor, tf.Variable]]) -> None:
        """Makes one update from (gradient, variable) of all trainable variables."""
        pairs = list(pairs)
        of_head: set = set()
        if self.head_optimizer is not None:
            of_head = {v.ref() for v in supervised_variables(self.model)}
            self.head_optimizer.apply_gradients([p for p in pairs if p[1].ref() in of_head])
        self.optimizer.apply_gradients([p for p in pairs if p[1].ref() not in of_head])


def make_run_steps(
    config: Config,
    method: Method,
    strategy: tf.distribute.Strategy,
    trained: Trained,
    ops: dict[str, tuple],
):
    """Returns a function (iterator, n) that makes n updates and returns the sums of the metrics.

    Args:
      config: of the run.
      method: which loss, of which outputs.
      strategy: under which the model was built.
      trained: model and optimizers.
      ops: of `device_ops`, for augmentation.
    """
    with chatter.dropped(), tf.device("CPU"):  # TensorFlow 2.15 tells of XLA's first function
        tf.function(tf.identity, jit_compile=True)(tf.constant(0))
    fixed_shapes = config.device.jit_compile or distribution.is_tpu(strategy)  # XLA's condition
    loop_around = config.train.micro_batch and not distribution.can_sum_in_loops(strategy)
    one_step = make_one_step(
        config,
        method,
        trained,
        ops,
        fixed_shapes=fixed_shapes,
        run=strategy.run if loop_around else call_here,
    )
    if config.device.jit_compile:
        one_step = tf.function(one_step, jit_compile=True, autograph=False)

    # No autograph: nothing here branches or loops on tensors in Python's syntax, and to look for it
    # in every layer costs a third of the time to the first step.
    @tf.function(autograph=False)
    def step_on_all(batch):
        per_replica = one_step(batch) if loop_around else strategy.run(one_step, (batch,))
        return {
            name: strategy.reduce(tf.distribute.ReduceOp.MEAN, value, axis=None)
            for name, value in per_replica.items()
        }

    @tf.function(autograph=False)
    def run_steps(iterator, n):
        def once_more(done, totals):
            more = step_on_all(next(iterator))
            return done + 1, {name: totals[name] + more[name] for name in totals}

        first = tf.constant(1), step_on_all(next(iterator))
        return tf.while_loop(lambda done, _: done < n, once_more, first)[1]

    return run_steps


def make_one_step(
    config: Config,
    method: Method,
    trained: Trained,
    ops: dict[str, tuple],
    *,
    fixed_shapes: bool,
    run: Callable = call_here,
):
    """Returns a function that makes one update from a replica's batch and returns its metrics.

    Args:
      config, method, trained, ops: as in `make_run_steps`.
      fixed_shapes: no shape depends on the batch's contents, so that XLA can compile the step.
      run: `strategy.run` makes it a function of the batches of all replicas together.
    """
    model = trained.model
    views = _make_views(config, method, ops, trained.optimizer, fixed_shapes=fixed_shapes)
    loss_of = _make_loss(config, method, trained)
    if config.train.micro_batch:
        rows = {"logits": 1} if method.whole_cases else {"projection": 2}
        if _trains_head_beside(method, model):
            rows["logits"] = 2
        return make_cached_step(
            model,
            trained,
            views=views,
            loss=loss_of,
            rows=rows,
            micro_batch=config.train.micro_batch,
            run=run,
        )

    def one_step(batch):
        images, cases = views(batch)
        with tf.GradientTape() as tape:
            # All views in one forward pass, so that BatchNorm cannot tell them apart.
            outputs = model(images, training=True, **cases)
            local_loss, metrics = loss_of(outputs, batch)
        variables = model.trainable_variables
        trained.apply_gradients(zip(tape.gradient(local_loss, variables), variables))
        return metrics

    return one_step


def _make_views(config: Config, method: Method, ops, optimizer, *, fixed_shapes: bool):
    """Returns a function of a replica's batch, or of part i of n equal ones, to its augmented images.

    They are [Vb, H, W, 3], or only the valid ones, with what `Model` has to know of their cases.
    """

    def views(batch, part=0, parts=1):
        # Every replica knows all parameters and uses its own. A part is to the augmentation what a
        # replica is, so that its views do not depend on the number of parts.
        seed = fold_in(tf.constant([config.run.seed, _AUGMENT]), optimizer.iterations)
        pixels, valid, cases = batch["images"], None, {}
        if method.whole_cases:
            if fixed_shapes:
                pixels = fill_places(pixels, batch["real"])
            else:
                valid = batch["real"]
            cases = case_of_image(batch["real"], valid)
        images = augment_views(
            pixels,
            ops,
            seed,
            replica=distribution.replica_id() * parts + part,
            num_replicas=distribution.num_replicas() * parts,
            valid=valid,
        )
        return images, cases

    return views


def _make_loss(config: Config, method: Method, trained: Trained):
    """Returns a function (outputs, batch) to the loss to differentiate, and all metrics of a step."""
    model = trained.model

    def loss_of(outputs, batch):
        loss, metrics = method.loss(
            outputs,
            batch,
            temperature=config.train.temperature,
            hidden_norm=config.train.hidden_norm,
            nt_xent_chunk=config.train.nt_xent_chunk,
            same_patient_negatives=config.train.same_patient_negatives,
            class_weights=trained.class_weights,
        )
        if _trains_head_beside(method, model):
            labels = tf.concat([batch["label"]] * 2, axis=0)  # of both views
            head_loss, head_acc = supervised(labels, outputs["logits"])
            loss += head_loss
            metrics |= {"supervised_loss": head_loss, "supervised_acc": head_acc}
        penalty = l2_penalty(model, config.optim.optimizer, config.optim.weight_decay)
        loss += penalty
        # Gradients are summed over replicas, hence the mean of the replicas' losses.
        local_loss = loss / distribution.num_replicas()
        return local_loss, {**metrics, "total_loss": loss, "weight_decay": penalty}

    return loss_of


def _trains_head_beside(method: Method, model: Model) -> bool:
    return not method.needs_labels and model.supervised_head is not None


def case_of_image(valid: tf.Tensor, left: tf.Tensor | None) -> dict:
    """Returns the arguments of `Model` that say which case an image of `augment_views` is of.

    Args:
      valid: which places of the cases hold an image, bool [b, V].
      left: the same, if `augment_views` left the other places out; None: it kept all.
    """
    b, num_views = valid.shape
    case = tf.where(tf.transpose(valid), tf.range(b)[tf.newaxis], -1)  # [V, b], as the views are
    case = tf.reshape(case, [num_views * b])
    return {"case_of_image": case if left is None else case[case >= 0], "num_cases": b}


def fill_places(images: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
    """Returns the cases with empty places filled by their own images, [b, V, ...].

    Where shapes have to be fixed every place passes the encoder: BatchNorm then sees images of the
    cases, some of them twice, and never black ones.

    Args:
      images: [b, V, H, W, 3], the valid ones first.
      valid: bool [b, V], at least one a case.
    """
    counts = tf.reduce_sum(tf.cast(valid, tf.int32), axis=1, keepdims=True)
    return tf.gather(images, tf.range(valid.shape[1])[tf.newaxis] % counts, batch_dims=1)
