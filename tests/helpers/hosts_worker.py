"""Two hosts of one TPU slice, played by two servers of this process: what each of them reads.

Usage: python hosts_worker.py FOLDER OUT.npz. Of the strategies that lead several hosts from one process
TensorFlow has only TPUStrategy; `Hosts` does with datasets what that does: calls the function once for
each host, with the host as the default device, and reads there.
"""

import functools
import os
import pathlib
import sys
from typing import Any

import numpy as np
import tensorflow as tf

from helpers import many_files, tiny_runs
from helpers.processes import free_ports
from simclr_med import distribution
from simclr_med.data import evaluation_batches, open_split, streams, training_batches
from simclr_med.data.cases import read_cases
from simclr_med.data.label_fraction import hide_labels, keep_cases
from simclr_med.training.methods import METHODS

HOSTS, B, STEPS = 2, 4, 5


class Hosts:
    """Stands for a TPUStrategy over several hosts, with a replica each."""

    cluster_resolver = None

    def distribute_datasets_from_function(self, of_host):
        """Returns an iterator of one batch from each host."""
        read = []
        for host in range(HOSTS):
            with tf.device(f"/job:worker/task:{host}"):
                read.append(iter(of_host(tf.distribute.InputContext(HOSTS, host, HOSTS))))
        return zip(*read)


def main(folder: str, out: str) -> None:
    builder = tiny_runs.prepare(pathlib.Path(folder))
    bags = open_split(builder, "train")
    cases = read_cases(bags, 0)
    kept = np.arange(bags.num_bags) % 3 > 0
    bags = hide_labels(keep_cases(bags, cases, kept), kept[kept] & (np.arange(kept.sum()) > 0))

    addresses = [f"127.0.0.1:{port}" for port in free_ports(HOSTS)]
    cluster = tf.train.ClusterSpec({"worker": addresses})
    servers = [tf.distribute.Server(cluster, job_name="worker", task_index=i) for i in range(HOSTS)]
    tf.config.experimental_connect_to_cluster(cluster)

    options: dict[str, Any] = dict(batch_size=B, image_size=34, seed=3)
    sample_images = METHODS["simclr"].sample_images
    options_of_training: dict[str, Any] = dict(
        sample_images=sample_images, keep_bags=False, start_step=2
    )

    def train(which, part=(0, 1)):
        return training_batches(which, part=part, **options_of_training, **options)

    streams._LEAST, streams._UNEQUAL, streams._SKIPPED = 10, 0.1, 1.0
    in_files = open_split(many_files.prepare(pathlib.Path(folder) / "many", 4), "train")
    assert streams.streams_of(in_files, in_files.num_images, B, False, 1).count == HOSTS * 2
    evaluate = functools.partial(evaluation_batches, bags, max_bag_size=2, max_bags=0, **options)

    def train_on(which):
        return lambda *part: train(which, part=part)

    batches = {}
    for name, alone, together in (
        ("train", train(bags), distribution.distribute_parts(train_on(bags), Hosts())),
        ("streams", train(in_files), distribution.distribute_parts(train_on(in_files), Hosts())),
        ("evaluate", evaluate(), distribution.distribute(evaluate, Hosts())),
    ):
        for step, (one, parts) in enumerate(zip(alone.take(STEPS), together)):
            for key, value in one.items():
                batches[f"one/{name}/{step}/{key}"] = value.numpy()
                batches[f"many/{name}/{step}/{key}"] = np.concatenate(
                    [p[key].numpy() for p in parts]
                )
    np.savez(out, **batches)
    print(len(servers), "servers", flush=True)
    os._exit(0)  # servers have no end of their own


if __name__ == "__main__":
    main(*sys.argv[1:])
