"""Parts of a step on 1, 2 and 4 replicas: against the reference's numbers, closed forms and one device.

What test_exactness.py does not reach: recomputed blocks, losses in chunks, weighted classes. Each
count runs in a process of its own: TensorFlow allows one MirroredStrategy a process.
"""

import numpy as np
import pytest

from helpers import ROOT
from helpers.processes import environments, finish, start

pytestmark = pytest.mark.slow  # quick, on one device: test_losses.py, test_distribution.py

WORKER = ROOT / "tests" / "helpers" / "replicas_worker.py"


def run_worker(replicas, out, *arguments):
    log = out.with_suffix(".log")
    running = start([WORKER, replicas, out, *arguments], environments(1)[0], log, out.parent)
    assert finish([running], timeout=3600) == [0], log.read_text()


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("replicas")
    by_replicas = {}
    for replicas in (1, 2, 4):
        out = folder / f"{replicas}.npz"
        run_worker(replicas, out)
        by_replicas[replicas] = dict(np.load(out))
    return by_replicas


@pytest.mark.parametrize("replicas", [2, 4])
def test_replicas_equal_one_device_on_the_same_global_batch(results, replicas):
    one, many = results[1], results[replicas]
    assert set(one) == set(many)
    for name, expected in one.items():
        exact = expected.dtype == np.float64  # of the model; projections and logits are float32
        tolerances = dict(rtol=1e-9, atol=1e-12) if exact else dict(rtol=2e-5, atol=2e-6)
        assert many[name].dtype == expected.dtype
        np.testing.assert_allclose(many[name], expected, **tolerances, err_msg=name)


def test_the_step_is_not_trivial(results):
    gradients = [value for name, value in results[1].items() if "gradient" in name]
    assert sum(np.abs(g).max() > 1e-4 for g in gradients) > 6


def test_negatives_are_counted_over_all_replicas(results):
    from helpers.replicas_worker import GROUPS

    expected = np.mean([sum(g != h for h in GROUPS) for g in GROUPS])
    assert expected < len(GROUPS) - 1
    for replicas in (1, 2, 4):
        assert results[replicas]["negative_pairs"] == pytest.approx(expected)


def test_unevenly_spread_labels_weigh_alike(results):
    from helpers.replicas_worker import LABELS, LOGITS

    seen = LABELS >= 0
    logs = LOGITS - np.log(np.exp(LOGITS).sum(1, keepdims=True))
    expected = -logs[seen, LABELS[seen]].mean()
    for replicas in (1, 2, 4):
        assert results[replicas]["supervised"][0] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("replicas", [1, 2, 4])
def test_each_projection_gets_the_gradient_of_the_whole_batch(results, replicas):
    """Also as a key of another replica's loss: the gather must not cut the gradient."""
    from helpers.replicas_worker import PROJECTIONS
    from helpers.slow_nt_xent import slow_nt_xent

    z, step = PROJECTIONS.astype(np.float64), 1e-6
    expected = np.empty_like(z)
    for index in np.ndindex(z.shape):
        up, down = z.copy(), z.copy()
        up[index] += step
        down[index] -= step
        expected[index] = (slow_nt_xent(*up, 0.4) - slow_nt_xent(*down, 0.4)) / (2 * step)
    assert results[replicas]["loss_alone"] == pytest.approx(slow_nt_xent(*z, 0.4), rel=2e-6)
    np.testing.assert_allclose(results[replicas]["projections_gradient"], expected, atol=1e-6)
    in_chunks = results[replicas]["loss_in_chunks"], results[replicas]["gradient_in_chunks"]
    assert in_chunks[0] == pytest.approx(results[replicas]["loss_alone"], rel=1e-6)
    np.testing.assert_allclose(in_chunks[1], expected, atol=1e-6)


def test_two_replicas_equal_the_reference_on_two_replicas(golden, tmp_path):
    run_worker(2, tmp_path / "out.npz", golden / "contrastive_loss_mirrored2.npz")
    actual = np.load(tmp_path / "out.npz")
    numbers = np.load(golden / "contrastive_loss_mirrored2.npz")
    for case in range(3):
        prefix = f"mirrored2_{case}"
        np.testing.assert_allclose(actual[f"loss{case}"], numbers[f"{prefix}/loss"], rtol=2e-6)
        gradient = numbers[f"{prefix}/grad_hidden"]
        error = np.abs(actual[f"gradient{case}"] - gradient).max()
        assert error <= 5e-6 * np.abs(gradient).max()
