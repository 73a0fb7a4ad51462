"""The only file that knows about replicas: the strategy of a machine, and sums and gathers over it.

Elsewhere the code is written for the local batch `b` and asks here for what is global (`B = R b`).
Every function works outside `strategy.run` too, where there is one replica.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import tensorflow as tf

from simclr_med.cluster import Cluster, wait_for_workers
from simclr_med.errors import UserError, WorkerLost
from simclr_med.signals import in_main_thread


def make_strategy(
    *,
    use_tpu: bool | None = None,
    tpu_name: str | None = None,
    tpu_zone: str | None = None,
    gcp_project: str | None = None,
    master: str | None = None,
    cpu_replicas: int = 1,
    cluster: Cluster | None = None,
) -> tf.distribute.Strategy:
    """Returns the strategy for this machine: TPU, else GPUs, else CPU, or as the arguments say.

    Call it once in a process, before anything else touches TensorFlow's devices.

    Args:
      use_tpu: True demands a TPU, False forbids one, None takes one if a name or address is
        given or a local one answers.
      tpu_name: Cloud TPU name, or grpc:// address.
      tpu_zone: its zone.
      gcp_project: its project.
      master: address of the TensorFlow master, used where `tpu_name` is None.
      cpu_replicas: above 1, ignores accelerators and splits the CPU into that many replicas.
      cluster: the workers that train together, each with its GPUs, or one replica on its CPU;
        TF_CONFIG has to say the same.

    Raises:
      UserError: a TPU was demanded, or named, and does not answer; the workers do not connect.
    """
    if cluster is not None:
        if cpu_replicas > 1 or use_tpu or tpu_name or master:
            raise UserError(
                "With several workers each uses its own GPUs, or one replica on its CPU: leave out "
                "--cpu_replicas, --use_tpu, --tpu_name and --master. (A TPU slice needs no TF_CONFIG.)"
            )
        return _multi_worker_strategy(cluster)
    if cpu_replicas > 1:
        return _cpu_strategy(cpu_replicas)
    if use_tpu or (use_tpu is None and (tpu_name or master or _has_local_tpu())):
        return _tpu_strategy(tpu_name or master or "local", tpu_zone, gcp_project)
    gpus = tf.config.list_physical_devices("GPU")
    if len(gpus) > 1:
        _grow_memory(gpus)
        return tf.distribute.MirroredStrategy()
    return local_strategy()


def _grow_memory(gpus: list) -> None:
    """Takes GPU memory as it is needed, not all of it at the start, so that a card can be shared."""
    if os.environ.get("TF_FORCE_GPU_ALLOW_GROWTH"):
        return  # set by the user
    for gpu in gpus:
        try:
            tf.config.experimental.set_memory_growth(gpu, True)
        except RuntimeError:  # the GPU is in use already: a notebook's second command
            return


def _cpu_strategy(replicas: int) -> tf.distribute.Strategy:
    # A replica that waits for the others holds a thread: with fewer they wait forever.
    threads = max(replicas, os.cpu_count() or 1)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(
        cpu, [tf.config.LogicalDeviceConfiguration() for _ in range(replicas)]
    )
    return tf.distribute.MirroredStrategy([f"/cpu:{i}" for i in range(replicas)])


def _multi_worker_strategy(cluster: Cluster) -> tf.distribute.Strategy:
    wait_for_workers(cluster)
    communication = tf.distribute.experimental.CommunicationImplementation
    gpus = tf.config.list_physical_devices(
        "GPU"
    )  # whose sums TensorFlow would send by gRPC by default
    _grow_memory(gpus)
    options = tf.distribute.experimental.CommunicationOptions(
        implementation=communication.NCCL if gpus else communication.AUTO
    )
    before = signal.getsignal(signal.SIGTERM)
    who = f"Worker {cluster.index} of {len(cluster.workers)} cannot join the others"
    try:
        return tf.distribute.MultiWorkerMirroredStrategy(communication_options=options)
    except (tf.errors.UnavailableError, tf.errors.DeadlineExceededError) as error:
        raise WorkerLost(f"{who} ({_reason(error)}). Start all again.") from error
    except (ValueError, RuntimeError, tf.errors.OpError) as error:
        raise UserError(
            f"{who} ({_reason(error)}). Do all have the same TF_CONFIG, but for their index?"
        ) from error
    finally:  # TensorFlow replaces the handler with one that does nothing
        if in_main_thread():
            signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def local_strategy() -> tf.distribute.Strategy:
    """Returns a strategy of one device of this machine, for what worker 0 does alone after training."""
    gpus = tf.config.list_physical_devices("GPU")
    _grow_memory(gpus)
    return tf.distribute.OneDeviceStrategy("/gpu:0" if gpus else "/cpu:0")


def _has_local_tpu() -> bool:
    return bool(tf.config.list_physical_devices("TPU"))


def _tpu_strategy(address: str, zone: str | None, project: str | None) -> tf.distribute.Strategy:
    try:
        cluster = tf.distribute.cluster_resolver.TPUClusterResolver(
            address, zone=zone, project=project
        )
        if address != "local":
            tf.config.experimental_connect_to_cluster(cluster)
        tf.tpu.experimental.initialize_tpu_system(cluster)
    except (ValueError, RuntimeError, OSError, ImportError, tf.errors.OpError) as error:
        raise UserError(
            f"No TPU answered at '{address}' ({_reason(error)}). Check --tpu_name, --tpu_zone and "
            "--gcp_project, or drop --use_tpu to use the machine's GPUs or CPU."
        ) from error
    return tf.distribute.TPUStrategy(cluster)


def _reason(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:300] if str(error).strip() else repr(error)


def describe(strategy: tf.distribute.Strategy) -> str:
    """Returns a few words for the log, such as '2 x GPU'."""
    device = strategy.extended.worker_devices[0].split("device:")[-1].split(":")[0]
    return f"{strategy.num_replicas_in_sync} x {device}"


def worker_of(strategy: tf.distribute.Strategy) -> tuple[int, int]:
    """Returns (index of this process among the workers, number of workers); (0, 1) where there is one."""
    resolver = strategy.cluster_resolver
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy) or resolver is None:
        return 0, 1
    jobs = resolver.cluster_spec().as_dict()
    chiefs = len(jobs.get("chief", ()))
    index = resolver.task_id + (chiefs if resolver.task_type == "worker" else 0)
    return index, max(1, chiefs + len(jobs.get("worker", ())))


def is_tpu(strategy: tf.distribute.Strategy) -> bool:
    """Returns whether the replicas are TPU cores."""
    return isinstance(strategy, tf.distribute.TPUStrategy)


def can_sum_in_loops(strategy: tf.distribute.Strategy) -> bool:
    """Returns whether `tf.while_loop` inside `strategy.run` may hold sums over the replicas.

    Replicas that are traced in threads of their own cannot synchronise in the body of a loop; there the
    loop has to be around `strategy.run`.
    """
    return strategy.num_replicas_in_sync == 1 or is_tpu(strategy)


def on_cpu() -> bool:
    """Returns whether the replicas are CPUs, seen from inside or outside `strategy.run`."""
    if tf.distribute.has_strategy():
        devices = tf.distribute.get_strategy().extended.worker_devices
        return all("CPU" in device.upper() for device in devices)
    return not tf.config.list_logical_devices("GPU")


def num_replicas() -> int:
    """Returns R, seen from inside or outside `strategy.run`."""
    return tf.distribute.get_strategy().num_replicas_in_sync


def replica_id() -> tf.Tensor:
    """Returns this replica's number, int32 scalar in [0, R)."""
    context = tf.distribute.get_replica_context()
    return tf.cast(tf.cast(context.replica_id_in_sync_group, tf.uint32), tf.int32)


def sum_over_replicas(x: tf.Tensor) -> tf.Tensor:
    """Returns the sum of `x` over the replicas; gradients flow through."""
    if num_replicas() == 1:
        return x
    multi_worker = isinstance(
        tf.distribute.get_strategy(), tf.distribute.MultiWorkerMirroredStrategy
    )
    if x.dtype == tf.int32 and multi_worker:  # which TensorFlow cannot do between GPUs
        return tf.cast(sum_over_replicas(tf.cast(x, tf.int64)), tf.int32)
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, x)


def all_gather(x: tf.Tensor) -> tf.Tensor:
    """Returns the replicas' `x` [b, ...] one after the other, [R b, ...]; gradients flow through.

    A sum of tensors that are zero but in one replica's place: the gradient of a sum over replicas
    is a sum over replicas, so each replica receives the whole gradient of what it contributed.
    Every replica must bring the same static shape.
    """
    replicas = num_replicas()
    if replicas == 1:
        return x
    placed = tf.scatter_nd([[replica_id()]], x[tf.newaxis], [replicas, *x.shape])  # [R, b, ...]
    return tf.reshape(sum_over_replicas(placed), [replicas * x.shape[0], *x.shape[1:]])


def distribute(batches_of: Callable[[], tf.data.Dataset], strategy: tf.distribute.Strategy):
    """Returns an iterable of per-replica batches: each global batch, cut into R consecutive parts.

    Every host reads all batches, which are full and of static shape, and keeps its part of them.

    Args:
      batches_of: makes the global batches; called for each host, on which they are then read.
      strategy: has one host, or several, with as many replicas each.
    """

    def of_host(index: int, count: int) -> tf.data.Dataset:
        def own(value):
            b = value.shape[0] // count
            return value[index * b : (index + 1) * b]

        batches = batches_of()
        if count == 1:
            return batches
        return batches.map(lambda batch: tf.nest.map_structure(own, batch))

    return distribute_parts(of_host, strategy)


def distribute_parts(
    batches_of: Callable[[int, int], tf.data.Dataset], strategy: tf.distribute.Strategy
):
    """Returns an iterable of per-replica batches, where each host reads only its part of a global batch.

    Args:
      batches_of: (index, count) to batches [B / count, ...]: part `index` of `count` consecutive
        parts of each global batch; of static shape. Called for each host, on which they are read.
      strategy: has one host, or several, with as many replicas each. Where the hosts are workers,
        each a process, the batches must not end.
    """

    def of_host(context: tf.distribute.InputContext) -> tf.data.Dataset:
        batches = batches_of(context.input_pipeline_id, context.num_input_pipelines)
        if (
            worker_of(strategy)[1] > 1
        ):  # or before each step all workers would ask each other for the end of the data
            endless = tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY)
            batches = batches.apply(endless)
        replicas = context.num_replicas_in_sync // context.num_input_pipelines
        if replicas == 1:
            return batches
        rows = tf.nest.flatten(batches.element_spec)[0].shape[0]
        return batches.rebatch(rows // replicas, drop_remainder=True)

    return strategy.distribute_datasets_from_function(of_host)


def join_replicas(strategy: tf.distribute.Strategy, value) -> tf.Tensor:
    """Returns per-replica results [b, ...] of `strategy.run` as one tensor [B, ...].

    Args:
      strategy: of the run.
      value: returned by its `run`.
    """
    return tf.concat(strategy.experimental_local_results(value), axis=0)


def first_replica(strategy: tf.distribute.Strategy, value) -> tf.Tensor:
    """Returns what the first local replica returned from `strategy.run`."""
    return strategy.experimental_local_results(value)[0]
