"""Every strategy equals one device on the same global batches, to rounding.

What it finds: a gather that cuts gradients or orders rows by worker, a loss that is averaged where it
should be summed, BatchNorm statistics of one replica, labels weighed per replica, a worker that reads
another's part of the batch. The reference is one device in one process. Each strategy runs in
processes of its own: TensorFlow allows one a process. Four replicas, because with two a gather that is
shifted the wrong way round is right. float32 with the real ReLU: test_lost_worker.py, in whole runs.
"""

import signal

import numpy as np
import pytest

from helpers import ROOT
from helpers.exactness_worker import EVALUATED, LOSSES, PRECISIONS, cases_of
from helpers.processes import TABLE, environments, finish, start

pytestmark = pytest.mark.slow

STRATEGIES = {  # name: (replicas of a process, processes)
    "one device": (1, 1),
    "4 replicas": (4, 1),
    "2 workers": (1, 2),
}
TOLERANCES = dict(zip(PRECISIONS, (1e-10, 1e-5)))
COMPARED = [
    (strategy, *case)
    for strategy, (replicas, _) in list(STRATEGIES.items())[1:]
    for case in cases_of(replicas)
]
KINDS = ("loss", "gradient", "BatchNorm", "weights", "momenta")
WORKER = ROOT / "tests" / "helpers" / "exactness_worker.py"


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """{strategy: [what each process found]}."""
    folder, outs, running = tmp_path_factory.mktemp("exactness"), {}, []
    for number, (name, (replicas, processes)) in enumerate(STRATEGIES.items()):
        outs[name] = [folder / f"{number}_{i}.npz" for i in range(processes)]
        running += [
            start([WORKER, replicas, out], environment, out.with_suffix(".log"), folder)
            for out, environment in zip(outs[name], environments(processes))
        ]
    codes = finish(running, timeout=3600)  # all at once: most of the time goes to tracing
    logs = "\n".join(log.read_text() for log in folder.glob("*.log"))
    assert set(codes) == {0}, logs
    return {name: [dict(np.load(out)) for out in of_strategy] for name, of_strategy in outs.items()}


def deviation(many, one, prefix):
    """Returns the largest difference in all arrays of a kind, relative to their largest value."""
    names = [name for name in one if name.startswith(prefix)]
    assert names and all(many[name].dtype == one[name].dtype for name in names)
    largest = max(np.abs(one[name]).max() for name in names)
    return max(np.abs(many[name] - one[name]).max() for name in names) / largest


@pytest.fixture(scope="module")
def table(results):
    """{(strategy, precision, loss): {kind: largest deviation of any process}}; it is printed too."""
    one, rows = results["one device"][0], {}
    for strategy, loss, precision in COMPARED:
        rows[strategy, precision, loss] = {
            kind: max(
                deviation(many, one, f"{loss}/{precision}/{kind}") for many in results[strategy]
            )
            for kind in KINDS
        }
    TABLE.append("Largest deviation from one device, relative to the largest value of its kind")
    TABLE.append(
        "(loss and gradient of the first step; the rest after 5 steps of LARS; smooth: softplus for ReLU)"
    )
    TABLE.append(
        f"{'strategy':<15}{'precision':<17}{'loss':<20}" + "".join(f"{k:>11}" for k in KINDS)
    )
    for (strategy, precision, loss), errors in rows.items():
        numbers = "".join(f"{errors[kind]:>11.1e}" for kind in KINDS)
        TABLE.append(f"{strategy:<15}{precision:<17}{loss:<20}{numbers}")
    return rows


@pytest.mark.parametrize(("strategy", "loss", "precision"), COMPARED)
def test_every_strategy_equals_one_device(table, strategy, precision, loss):
    assert max(table[strategy, precision, loss].values()) <= TOLERANCES[precision]


@pytest.mark.parametrize("loss", LOSSES)
def test_what_is_compared_is_not_trivial(results, loss):
    """Gradients reach nearly every weight, steps move them, and losses are those of float64."""
    one = results["one device"][0]
    gradients = [v for k, v in one.items() if k.startswith(f"{loss}/float64/gradient")]
    moments = [v for k, v in one.items() if k.startswith(f"{loss}/float64/momenta")]
    assert len(gradients) > 10
    assert np.mean([np.abs(g).max() > 1e-6 for g in gradients]) > 0.6
    assert np.mean([np.abs(m).max() > 1e-6 for m in moments]) > 0.6
    exact = one[f"{loss}/float64/loss"]
    assert exact.dtype == np.float64 and exact != np.float32(exact)


def test_what_workers_sum_gpus_can_sum_too(results):
    """TensorFlow's collectives refuse int32 on GPUs, and the ids of patients are int32."""
    for process in results["2 workers"]:
        assert set(process["NT-Xent/float32, smooth/summed types"]) == {"float32", "int64"}


def test_sigterm_is_heard_before_training_begins(results):
    """TensorFlow installs a handler of its own where workers join."""
    for processes in results.values():
        assert [list(process["heard"]) for process in processes] == [[signal.SIGTERM]] * len(
            processes
        )


def test_workers_that_disagree_say_in_what(results):
    for index, process in enumerate(results["2 workers"]):
        message = f"do not agree on --checkpoint_steps (worker {index}: {5 + index})."
        assert message in str(process["disagreement"])


def expected_features(num_cases):
    """Returns (colour of each image, its case, its place; mean colour of each case), by loops."""
    each = [(3 * case + i, case, i) for case in range(num_cases) for i in range(1 + case % 2)]
    of_cases = [np.mean([c for c, k, _ in each if k == case]) for case in range(num_cases)]
    return each, of_cases


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_evaluation_counts_every_example_once(results, strategy):
    """Whatever remains in the last batch: none is left out, none (or padding) counts twice."""
    for n in EVALUATED:
        each, of_cases = expected_features(n)
        evaluated = {
            k: results[strategy][0][f"evaluated {n}/{k}"] for k in ("each", "case", "image")
        }
        rows = zip(
            evaluated["each"].mean(axis=1), evaluated["case"], evaluated["image"], strict=True
        )
        np.testing.assert_allclose(list(rows), each, rtol=1e-5)
        cases = results[strategy][0][f"evaluated {n}/of cases"]
        np.testing.assert_allclose(cases.mean(axis=1), of_cases, rtol=1e-5)
