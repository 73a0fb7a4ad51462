"""What runs take is the sum of what was measured and of stated rules, by hand."""

import dataclasses

import numpy as np
import pytest

from helpers.tiny_runs import BASE, FINETUNE
from simclr_med.data import cases as data_cases
from simclr_med.experiments import forecast, forecast_data
from simclr_med.experiments.forecast import Kind
from simclr_med.experiments.forecast_data import Cases, Fits, Lengths
from simclr_med.experiments.forecast_jobs import Job, State, group
from simclr_med.training import rehearsal

STEP, START, PER_STEP = 3.0, 7.0, 5.0  # seconds, seconds, images
FIT = 11.0  # seconds a case
PER_IMAGE = STEP / PER_STEP / 3
TRAIN, VALIDATION = 2 * (1 + 2 + 3 + 4), 1 + 2 + 3 + 4  # images of `tiny_runs.draw_folder`


def kind(jobs, states, builder):
    plan = rehearsal.make_plan(jobs[0].config, builder, 1)
    shown = rehearsal.Rehearsal(plan, {}, 1000, 10, START, (1.0, STEP, 9.0), PER_STEP, 5000, {}, 4)
    return Kind("kind", jobs, states, shown)


@pytest.fixture(autouse=True)
def fit(monkeypatch):
    """A fit takes `FIT` seconds a case."""
    monkeypatch.setattr(forecast_data, "_time_of_fit", lambda read, some, width: len(some) * FIT)


def row(jobs, states, builder, probes=()):
    kinds, cases = [kind(jobs, states, builder)], Cases()
    rows = forecast.rows(kinds, list(probes), Lengths(1), cases, Fits(cases), "none")
    return rows[-1]


def test_a_pretraining_is_its_steps_and_two_encoders_on_all_images(tiny_data):
    config = BASE.replace(train_steps=10, checkpoint_steps=4, keep_hub_module_max=1)
    cost = row([Job("a", config, tiny_data)], [State(False, 4)], tiny_data)
    images = 2 * (TRAIN + VALIDATION) + TRAIN  # probes; BatchNorm of the untrained encoder
    starts = 1 + 2 + 1  # the training, two encoders, a SavedModel
    expected = 6 * STEP + starts * START + images * PER_IMAGE + 2 * 8 * FIT
    assert cost.seconds == pytest.approx(expected)
    assert cost.disk == 3 * 1000 + 10  # checkpoints after 4, 8 and 10 steps, a SavedModel
    assert (cost.runs, cost.finished) == (1, 0)


def test_a_fine_tuning_is_judged_at_each_kept_checkpoint(tiny_data):
    config = FINETUNE.replace(train_steps=10, keep_checkpoint_max=2, selection_split="validation")
    config = config.replace(
        eval_split="train", max_bag_size=3, init_head="probe", label_fraction=0.5
    )
    job = Job("a", config, tiny_data, keeps=0)
    cost = row([job], [State(False)], tiny_data)
    train, validation = 2 * (1 + 2 + 3 + 3), 1 + 2 + 3 + 3
    images = train / 2 + train + 2 * validation  # the probe of the head, evaluation, selection
    assert cost.seconds == pytest.approx(10 * STEP + images * PER_IMAGE + 3 * START + 4 * FIT)
    assert cost.disk == 0
    shifted = dataclasses.replace(job, elsewhere=((config.replace(eval_split="all"), tiny_data),))
    more = row([shifted], [State(False)], tiny_data).seconds - cost.seconds
    assert more == pytest.approx((train + validation) * PER_IMAGE + START)


def test_a_finished_run_takes_nothing(tiny_data):
    cost = row([Job("a", BASE, tiny_data)], [State(True)], tiny_data)
    assert (cost.finished, cost.seconds, cost.disk) == (1, 0, 0)


def test_probes_of_one_encoder_share_a_pass(tiny_data):
    probes = [
        Job(f"{k}", FINETUNE, tiny_data, encoder=f"encoder {k // 2}", state=State(k == 3))
        for k in range(4)
    ]
    cost = row([Job("a", BASE, tiny_data)], [State(True)], tiny_data, probes)
    assert (cost.runs, cost.finished) == (4, 1)
    passes = 2 * (START + (TRAIN + VALIDATION) * PER_IMAGE)
    assert cost.seconds == pytest.approx(passes + 3 * 8 * FIT)


def test_where_epochs_are_fixed_fewer_labels_make_fewer_steps(tiny_data):
    config = FINETUNE.replace(train_steps=0, train_epochs=3, train_batch_size=2)
    lengths = Lengths(1)
    assert lengths.steps(Job("a", config, tiny_data)) == 8 * 3 // 2 + 1
    assert lengths.steps(Job("a", config.replace(label_fraction=0.5), tiny_data)) == 4 * 3 // 2 + 1


def test_runs_whose_steps_cost_the_same_are_one_kind(tiny_data):
    alike = [BASE, BASE.replace(seed=4, learning_rate=9.0, temperature=1.0, train_steps=50)]
    different = [BASE.replace(image_size=40), BASE.replace(micle=True), FINETUNE]
    groups = group([Job(str(k), c, tiny_data) for k, c in enumerate([*alike, *different])])
    assert {title: [job.name for job in jobs] for title, jobs in groups.items()} == {
        "SimCLR pretraining (--image_size=34)": ["0", "1"],
        "SimCLR pretraining (--image_size=40)": ["2"],
        "MICLe pretraining": ["3"],
        "fine-tuning": ["4"],
    }


def test_a_fit_is_timed_on_all_kinds_of_labels(monkeypatch):
    monkeypatch.undo()
    rng = np.random.default_rng(0)
    patients, counts = np.arange(40).astype(str), np.ones(40, int)
    for labels in (rng.integers(0, 3, 40), rng.integers(0, 2, (40, 2)).astype(float)):
        cases = data_cases.Cases(patients, patients, labels, counts)
        assert forecast_data._time_of_fit(cases, np.arange(30), 5) > 0
