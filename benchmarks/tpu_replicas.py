"""A strategy that traces a step for R replicas, only to be compiled: it cannot run here.

TensorFlow on a CPU has no TPUStrategy and no kernels for its collectives (CrossReplicaSum,
CollectiveGather); XLA's own all-reduce and replica-id ops lower anywhere, to the same HLO. All code that
uses TensorFlow's replicas gets those: `distribution.py`, Keras's optimizer for the sum of gradients,
and its BatchNorm.
"""

from __future__ import annotations

import tensorflow as tf
from tensorflow.compiler.tf2xla.ops import gen_xla_ops
from tensorflow.python.distribute import distribute_lib, one_device_strategy


class XlaReplicas(tf.distribute.Strategy):
    """R replicas of one program, each with variables of its own on one device, as on TPUs."""

    def __init__(self, replicas: int):
        super().__init__(_Extended(self, replicas))


class _Extended(one_device_strategy.OneDeviceExtended):
    def __init__(self, container, replicas: int):
        super().__init__(container, "/cpu:0")
        self._replicas = replicas

    @property
    def _num_replicas_in_sync(self):
        return self._replicas

    def _use_merge_call(self):
        return False  # no thread per replica, as in TPUStrategy: one program is shared by all

    def _call_for_each_replica(self, fn, args, kwargs):
        replica = tf.cast(gen_xla_ops.xla_replica_id(), tf.int32)
        with distribute_lib.ReplicaContext(self._container_strategy(), replica):
            return fn(*args, **kwargs)

    def _replica_ctx_all_reduce(self, reduce_op, value, options=None):
        def reduced(x):
            summed = gen_xla_ops.xla_all_reduce(
                input=x,
                group_assignment=[list(range(self._replicas))],
                reduce_op="Add",
                mode="CrossReplica",
            )
            return summed if reduce_op == tf.distribute.ReduceOp.SUM else summed / self._replicas

        return tf.nest.map_structure(reduced, value)

    def _replica_ctx_update(self, var, fn, args=(), kwargs=None, group=True):
        return self._update(var, fn, args, kwargs or {}, group)
