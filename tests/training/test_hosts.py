"""The hosts of a TPU slice, which one process leads, read their parts of the global batches.

What it finds: a dataset that is made on one host and used on another, which TensorFlow refuses; a host
that reads another's part; a last batch that is cut differently.
"""

import numpy as np
import pytest

from helpers import ROOT
from helpers.processes import environments, finish, start

WORKER = ROOT / "tests" / "helpers" / "hosts_worker.py"


@pytest.mark.slow  # quick, with hosts of one process: test_distribution.py
def test_every_host_reads_its_part_of_each_batch(tmp_path):
    log, out = tmp_path / "log", tmp_path / "out.npz"
    running = start([WORKER, tmp_path, out], environments(1)[0], log, tmp_path)
    assert finish([running], timeout=3600) == [0], log.read_text()
    batches = dict(np.load(out))
    one = [name for name in batches if name.startswith("one/")]
    assert len([name for name in one if name.endswith("/images")]) > 6  # steps of both kinds
    for name in one:
        np.testing.assert_array_equal(batches["many" + name[3:]], batches[name], err_msg=name)
    assert -1 in batches["one/train/0/label"] or -1 in batches["one/train/1/label"]
