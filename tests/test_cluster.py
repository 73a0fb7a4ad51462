"""Who the workers are: TF_CONFIG and Slurm's variables, and what is said where they make no sense."""

import concurrent.futures
import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from helpers import ROOT
from helpers.slurm import SLURM
from simclr_med import build, cluster
from simclr_med.commands.main import _with_workers, main
from simclr_med.config import Config
from simclr_med.errors import UserError


def tf_config(task, **jobs):
    return {"TF_CONFIG": json.dumps({"cluster": jobs, "task": task})}


def worker(index, *addresses):
    return tf_config({"type": "worker", "index": index}, worker=addresses)


def test_a_process_alone_is_in_no_cluster():
    for environ in ({}, {"TF_CONFIG": ""}, {"TF_CONFIG": "{}"}, worker(0, "a:1"), SLURM):
        assert cluster.find(1, dict(environ)) is None


def test_tf_config_names_the_workers():
    workers = cluster.find(1, worker(1, "a:1", "b:2"))
    assert workers == cluster.Cluster(("a:1", "b:2"), 1) and not workers.is_chief


@pytest.mark.parametrize(("kind", "index", "number"), [("chief", 0, 0), ("worker", 1, 2)])
def test_a_chief_comes_before_the_workers(kind, index, number):
    environ = tf_config({"type": kind, "index": index}, chief=["c:1"], worker=["a:1", "b:1"])
    assert cluster.find(3, environ) == cluster.Cluster(("c:1", "a:1", "b:1"), number)


def test_slurm_s_tasks_are_workers_in_the_order_of_the_nodes():
    """n9 before n10, where sorting would exchange them; two tasks of a node get two ports."""
    environ = dict(SLURM, SLURMD_NODENAME="n10")
    workers = cluster.find(4, environ)
    hosts = [address.split(":")[0] for address in workers.workers]
    assert hosts == ["n9", "n9", "n10", "n10"] and workers.index == 2
    ports = [int(address.split(":")[1]) for address in workers.workers]
    assert ports == [ports[0], ports[0] + 1] * 2 and 20000 <= ports[0] < 30000
    assert (
        cluster.find(1, environ) == workers
    )  # TensorFlow reads TF_CONFIG, and so do we from now on
    cluster.clear_tf_config(environ)
    assert cluster.find(1, environ) is None


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("login", ["login"]),
        ("a,b", ["a", "b"]),
        ("n[9-10,12],x", ["n9", "n10", "n12", "x"]),
        ("gpu[008-010]-ib", ["gpu008-ib", "gpu009-ib", "gpu010-ib"]),
    ],
)
def test_slurm_s_lists_of_nodes(text, hosts):
    environ = {**SLURM, "SLURM_STEP_NODELIST": text, "SLURM_PROCID": "0"}
    environ["SLURM_STEP_TASKS_PER_NODE"] = f"2(x{len(hosts)})"
    workers = cluster.find(2 * len(hosts), environ).workers
    assert [address.split(":")[0] for address in workers] == [h for h in hosts for _ in "12"]


@pytest.mark.parametrize(
    ("num_workers", "environ", "sentence"),
    [
        (1, {"TF_CONFIG": "{"}, "cannot be read"),
        (1, {"TF_CONFIG": "[]"}, "cannot be read"),
        (1, worker(2, "a:1", "b:1"), "names no host:port for this task"),
        (1, worker(0, "a", "b:1"), "names no host:port for this task"),
        (1, tf_config({"type": "worker", "index": 0}, worker=["a:1"], ps=["b:1"]), "task 'ps'"),
        (1, tf_config({"type": "evaluator", "index": 0}, worker=["a:1"]), "task 'evaluator'"),
        (3, worker(0, "a:1", "b:1"), "--num_workers=3, but the environment names 2"),
        (2, {}, "SLURM_PROCID, SLURM_STEP_NODELIST"),
        (2, SLURM, "--num_workers=2, but the environment names 4"),
        (4, {**SLURM, "SLURM_STEP_TASKS_PER_NODE": "many"}, "do not fit together"),
        (4, {**SLURM, "SLURM_PROCID": "4"}, "do not fit together"),
        (4, {**SLURM, "SLURMD_NODENAME": "n9"}, "runs on n9, not on n10"),
        (4, {**SLURM, "SLURM_STEP_NODELIST": "r[0-1]n[0-1]"}, "do not fit together"),
        (4, {**SLURM, "SLURM_STEP_NODELIST": "n[7-9]"}, "do not fit together"),
        (4, {**SLURM, "SLURM_GPUS_ON_NODE": "2"}, "each would take all its GPUs"),
    ],
)
def test_what_makes_no_sense_is_said(num_workers, environ, sentence):
    with pytest.raises(UserError) as error:
        cluster.find(num_workers, dict(environ))
    assert sentence in str(error.value)


@pytest.mark.parametrize(
    "environ",
    [
        {"SLURM_GPUS_ON_NODE": "2", "SLURM_GPUS_PER_TASK": "1"},
        {"SLURM_GPUS_ON_NODE": "2", "SLURM_STEP_TASKS_PER_NODE": "1(x2)", "SLURM_PROCID": "1"},
    ],
)
def test_tasks_with_gpus_of_their_own_are_workers(environ):
    assert cluster.find(1, dict(SLURM, **environ)) is None
    workers = cluster.find(4 if "SLURM_GPUS_PER_TASK" in environ else 2, dict(SLURM, **environ))
    assert {worker.split(":")[0] for worker in workers.workers} == {"n9", "n10"}


@pytest.fixture
def pair():
    """Addresses of two workers, at free ports."""
    with socket.create_server(("", 0)) as one, socket.create_server(("", 0)) as other:
        return tuple(f"127.0.0.1:{s.getsockname()[1]}" for s in (one, other))


def test_workers_wait_for_one_another(pair, capsys, monkeypatch):
    """Also when they have to try again; the one that waits says for whom."""
    monkeypatch.setattr(cluster, "_REMIND", 0.3)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        first = pool.submit(cluster.wait_for_workers, cluster.Cluster(pair, 1))
        out = ""
        while f"still waits for {pair[0]} (Connection refused)" not in out:
            assert not first.done()
            time.sleep(0.05)
            out += capsys.readouterr().out
        cluster.wait_for_workers(cluster.Cluster(pair, 0))
        with cluster._listening(pair[0]):  # as TensorFlow does next, while the other still looks
            first.result()


def test_a_port_that_is_taken_is_said(pair):
    with cluster._listening(pair[0]), pytest.raises(UserError, match=f"listen at {pair[0]}"):
        cluster.wait_for_workers(cluster.Cluster(pair, 0))


@pytest.mark.parametrize(("index", "number"), [(0, signal.SIGTERM), (1, signal.SIGINT)])
def test_who_waits_in_vain_can_be_stopped(pair, number, index):
    flags = ["--mode=train", "--dataset=derm_bags/demo", "--model_dir=runs/none"]
    environ = {**os.environ, **worker(index, *pair)}
    script = (
        "import sys, unittest.mock as m; from simclr_med.commands import dataset, main; "
        "dataset.prepare = m.Mock(); sys.exit(main.main(sys.argv))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, *flags],
        env=environ,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert "waits for the others" in process.stdout.readline()
        process.send_signal(number)
        expected = -signal.SIGTERM if number == signal.SIGTERM else 128 + signal.SIGINT
        assert process.wait() == expected


@pytest.mark.parametrize("mode", ["build", "verify", "compare"])
def test_what_is_no_training_only_worker_0_does(monkeypatch, capsys, mode):
    monkeypatch.setenv("TF_CONFIG", worker(1, "a:1", "b:1")["TF_CONFIG"])
    assert main(["run.py", f"--mode={mode}", "--dataset=derm_bags/demo"]) == 0
    assert capsys.readouterr().out == f"Worker 1: --mode={mode} is work for worker 0 alone.\n"


@pytest.mark.parametrize("mode", ["eval", "export", "embed"])
def test_worker_0_then_works_alone_however_the_run_was_trained(monkeypatch, mode):
    monkeypatch.setenv("TF_CONFIG", worker(0, "a:1", "b:1")["TF_CONFIG"])
    config, workers = _with_workers(Config().replace(num_workers=4), {}, mode)
    assert workers.is_chief and config.device.num_workers == 1 and "TF_CONFIG" not in os.environ


@pytest.mark.parametrize(
    "flags",
    [
        ["--mode=sweep"],
        ["--mode=label_efficiency"],
        ["--mode=train_then_eval", "--repeats=2"],
        ["--mode=train_then_eval", "--folds=2"],
    ],
)
def test_many_runs_are_not_for_several_workers(monkeypatch, capsys, flags):
    monkeypatch.setenv("TF_CONFIG", worker(0, "a:1", "b:1")["TF_CONFIG"])
    assert main(["run.py", "--dataset=derm_bags/demo", *flags]) == 2
    assert "run after run on one machine: unset TF_CONFIG." in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["tpu_name", "master"])
def test_a_tpu_elsewhere_needs_folders_that_it_sees(flag):
    config = Config().replace(data_dir="gs://bucket/data", **{flag: "grpc://10.0.0.2:8470"})
    with pytest.raises(UserError, match=r"grpc://10.0.0.2:8470.*cannot see --model_dir=\(unset\)"):
        build.check_folders(config)
    build.check_folders(config.replace(model_dir="gs://bucket/run"))
    build.check_folders(Config().replace(tpu_name="local"))
