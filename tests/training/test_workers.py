"""What a worker makes of an error of TensorFlow's: another worker's loss, or a mistake of this one."""

import pytest
import tensorflow as tf

from simclr_med.errors import WorkerLost
from simclr_med.training.workers import raise_on_lost_worker

# As TensorFlow 2.15 and 2.21 said it, shortened.
LOST = (
    "Collective ops is aborted by: Error reported from /job:worker/task:1: Task /job:worker/replica:0/"
    "task:1 heartbeat timeout. This indicates that the remote task has failed.\n[[CollectiveReduceV2]]"
)
MISMATCH = (
    "Collective ops is aborted by: Shape mismatch in the collective instance 101. Op at device "
    "/job:worker/replica:0/task:1/device:CPU:0 expected shape [6] but another member expected [4]."
)


def test_a_lost_worker_is_named_and_the_code_asks_for_a_restart(tmp_path):
    with pytest.raises(WorkerLost) as lost, raise_on_lost_worker(0, 2, str(tmp_path)):
        raise tf.errors.UnavailableError(None, None, LOST)
    assert str(lost.value).startswith("Worker 1 of 2 is gone")
    assert str(lost.value).endswith("the beginning, for there is no checkpoint yet.")
    assert lost.value.exit_code == 75


def test_a_lost_tpu_is_no_lost_worker(tmp_path):
    gone = pytest.raises(WorkerLost, match="^The TPU is gone.*Socket closed")
    with gone, raise_on_lost_worker(0, 1, str(tmp_path)):
        raise tf.errors.UnavailableError(None, None, "Socket closed")


def test_collectives_that_do_not_fit_are_nobodys_loss(tmp_path):
    """Started again, as a scheduler does with code 75, they would fail again."""
    with pytest.raises(tf.errors.InvalidArgumentError), raise_on_lost_worker(0, 2, str(tmp_path)):
        raise tf.errors.InvalidArgumentError(None, None, MISMATCH)
