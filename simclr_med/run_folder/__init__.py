"""The files of a run's folder: JSON, lock, identity, metrics; and its output on the terminal."""

from simclr_med.run_folder.files import write_atomically
from simclr_med.run_folder.folder import (
    check_same_run,
    claimed,
    data_order,
    is_claimed,
    is_training,
    locked,
    num_streams,
    read_json,
    read_metrics,
    results_locked,
    try_lock,
    write_config,
    write_json,
)
from simclr_med.run_folder.log import RunLog, write_evaluation

__all__ = [
    "RunLog",
    "check_same_run",
    "data_order",
    "claimed",
    "is_claimed",
    "is_training",
    "locked",
    "num_streams",
    "read_json",
    "read_metrics",
    "results_locked",
    "try_lock",
    "write_atomically",
    "write_config",
    "write_evaluation",
    "write_json",
]
