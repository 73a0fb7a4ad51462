"""distribution.py and workers.py in one process: what they do where there is one replica, and refuse.

On several replicas and in several processes: test_replicas.py, test_exactness.py, test_lost_worker.py.
"""

import os

import numpy as np
import pytest
import tensorflow as tf

from simclr_med import distribution
from simclr_med.cluster import Cluster
from simclr_med.errors import UserError
from simclr_med.training import workers


class FakeStrategy:
    """Stands for a strategy of workers, as far as `workers` asks it."""


@pytest.fixture
def second_of_three(monkeypatch):
    """A strategy whose worker 1 of 3 is this process; `peers` are the numbers that the other two send."""
    strategy = FakeStrategy()
    strategy.peers = {0: None, 2: None}  # None: the same as this one

    def gather_ints(of, numbers):
        assert of is strategy
        rows = {1: numbers, **{i: n or numbers for i, n in strategy.peers.items()}}
        return np.array([rows[i] for i in range(3)])

    of_one = distribution.worker_of
    monkeypatch.setattr(
        distribution, "worker_of", lambda of: (1, 3) if of is strategy else of_one(of)
    )
    monkeypatch.setattr(workers, "gather_ints", gather_ints)
    return strategy


def test_alone_sums_and_gathers_are_what_they_are_given(strategy):
    x = tf.constant([[1, 2], [3, 4]])
    for here in (lambda: x, lambda: strategy.run(distribution.all_gather, (x,))):
        np.testing.assert_array_equal(here(), x)
    np.testing.assert_array_equal(distribution.sum_over_replicas(x), x)
    assert distribution.num_replicas() == strategy.run(distribution.num_replicas) == 1
    assert int(strategy.run(distribution.replica_id)) == 0
    assert distribution.worker_of(strategy) == (0, 1)
    assert distribution.describe(strategy) == "1 x CPU"
    assert distribution.on_cpu() and not distribution.is_tpu(strategy)
    assert distribution.can_sum_in_loops(strategy)
    np.testing.assert_array_equal(distribution.join_replicas(strategy, x), x)
    np.testing.assert_array_equal(distribution.first_replica(strategy, x), x)


class Hosts:
    """Calls for each of three hosts, with two replicas each, and keeps what each reads."""

    cluster_resolver = None

    def distribute_datasets_from_function(self, of_host):
        return [
            list(of_host(tf.distribute.InputContext(3, i, 6)).as_numpy_iterator()) for i in range(3)
        ]


def test_each_host_gets_its_rows_of_each_global_batch_and_each_replica_half_of_them():
    def batches():
        return tf.data.Dataset.range(24).batch(12, drop_remainder=True).map(lambda x: {"x": x})

    for host, read in enumerate(distribution.distribute(batches, Hosts())):
        rows = [batch["x"].tolist() for batch in read]
        starts = [12 * step + 4 * host + 2 * replica for step in range(2) for replica in range(2)]
        assert rows == [[start, start + 1] for start in starts]


@pytest.mark.parametrize("options", [{"cpu_replicas": 2}, {"use_tpu": True}, {"master": "m"}])
def test_several_workers_and_other_devices_exclude_each_other(options):
    with pytest.raises(UserError, match="leave out --cpu_replicas"):
        distribution.make_strategy(cluster=Cluster(("a:1", "b:2"), 0), **options)


def test_a_tpu_that_does_not_answer_is_named():
    with pytest.raises(UserError, match="No TPU answered at 'local'"):
        distribution.make_strategy(use_tpu=True)


def test_worker_0_writes_the_runs_folder_and_holds_its_lock(strategy, tmp_path):
    folder = str(tmp_path / "run")
    with workers.worker_session(strategy, folder) as own_folder:
        assert own_folder == folder
        with pytest.raises(UserError, match="in use"), workers.worker_session(strategy, folder):
            pass
    with workers.worker_session(strategy, folder):
        pass


def test_another_worker_writes_elsewhere_and_says_nothing(second_of_three, tmp_path, capsys):
    folder = tmp_path / "run"
    with workers.worker_session(second_of_three, str(folder)) as own_folder:
        print("not to be seen")
        assert os.listdir(own_folder) == [] and not folder.exists()
    print("seen again")
    out = capsys.readouterr().out
    assert out == "Worker 1 of 3 trains; worker 0 reports.\nseen again\n"
    assert not os.path.exists(own_folder)


def test_workers_that_agree_go_on_and_others_are_told_what_differs(second_of_three, strategy):
    workers.check_same(strategy, {"--one": object()})  # alone: with whom?
    workers.check_same(second_of_three, {"--one": 1, "--two": "2"})
    digest = workers.hashlib.sha256(b"1").digest()[:4]
    second_of_three.peers[2] = [int.from_bytes(digest, "big") >> 1, 5]
    with pytest.raises(UserError, match=r"agree on --two \(worker 1: 2\)\. Start all"):
        workers.check_same(second_of_three, {"--one": 1, "--two": 2})


def test_a_signal_to_any_worker_stops_all(second_of_three, strategy):
    assert workers.agree(strategy, [], 0.25) == (0, 0.25)
    assert workers.agree(strategy, [15, 2], 0.25) == (15, 0.25)
    assert workers.agree(second_of_three, [], 0.25) == (0, 0.25)
    second_of_three.peers[0] = [15, 750_000]
    assert workers.agree(second_of_three, [], 0.25) == (15, 0.75)


def test_numbers_of_all_processes_are_one_row_here(strategy):
    np.testing.assert_array_equal(workers.gather_ints(strategy, [3, 2**31 - 1]), [[3, 2**31 - 1]])


@pytest.mark.parametrize("preset", ["", "false"])
def test_gpu_memory_is_taken_as_it_is_needed_unless_told_otherwise(monkeypatch, preset):
    """Of every card, before any is used."""
    calls = []
    monkeypatch.setenv("TF_FORCE_GPU_ALLOW_GROWTH", preset)
    monkeypatch.setattr(
        tf.config, "list_physical_devices", lambda kind: ["a", "b"][: 2 * (kind == "GPU")]
    )
    monkeypatch.setattr(
        tf.config.experimental, "set_memory_growth", lambda gpu, grow: calls.append((gpu, grow))
    )
    monkeypatch.setattr(tf.distribute, "MirroredStrategy", lambda: calls.append("strategy"))
    distribution.make_strategy(use_tpu=False)
    grown = [] if preset else [("a", True), ("b", True)]
    assert calls == [*grown, "strategy"]
