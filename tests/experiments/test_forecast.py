"""What runs take is the sum of what was measured and of stated rules, by hand."""

import dataclasses

import pytest

from helpers.tiny_runs import BASE, FINETUNE
from simclr_med.experiments import forecast
from simclr_med.experiments.forecast import Cases, Kind, Lengths
from simclr_med.experiments.forecast_jobs import Job, State, group
from simclr_med.training import rehearsal

STEP, START, PER_STEP = 3.0, 7.0, 5.0  # seconds, seconds, images
PER_IMAGE = STEP / PER_STEP / 3
TRAIN, VALIDATION = 2 * (1 + 2 + 3 + 4), 1 + 2 + 3 + 4  # images of `tiny_runs.draw_folder`


def kind(jobs, states, builder):
    plan = rehearsal.make_plan(jobs[0].config, builder, 1)
    shown = rehearsal.Rehearsal(plan, {}, 1000, 10, START, (1.0, STEP, 9.0), PER_STEP, 5000, {})
    return Kind("kind", jobs, states, shown)


def row(jobs, states, builder, probes=()):
    found = forecast.rows([kind(jobs, states, builder)], list(probes), Lengths(1), Cases(), "none")
    return found[-1]


def test_a_pretraining_is_its_steps_and_two_encoders_on_all_images(tiny_data):
    config = BASE.replace(train_steps=10, checkpoint_steps=4, keep_hub_module_max=1)
    found = row([Job("a", config, tiny_data)], [State(False, 4)], tiny_data)
    images = 2 * (TRAIN + VALIDATION) + TRAIN  # probes; BatchNorm of the untrained encoder
    assert found.seconds == pytest.approx(6 * STEP + START + images * PER_IMAGE + START)
    assert found.disk == 3 * 1000 + 10  # checkpoints after 4, 8 and 10 steps, a SavedModel
    assert (found.runs, found.finished) == (1, 0)


def test_a_fine_tuning_is_judged_at_each_kept_checkpoint(tiny_data):
    config = FINETUNE.replace(train_steps=10, keep_checkpoint_max=2, selection_split="validation")
    config = config.replace(
        eval_split="train", max_bag_size=3, init_head="probe", label_fraction=0.5
    )
    job = Job("a", config, tiny_data, keeps=0)
    found = row([job], [State(False)], tiny_data)
    train, validation = 2 * (1 + 2 + 3 + 3), 1 + 2 + 3 + 3
    images = train / 2 + train + 2 * validation  # the probe of the head, evaluation, selection
    assert found.seconds == pytest.approx(10 * STEP + images * PER_IMAGE + 3 * START)
    assert found.disk == 0
    shifted = dataclasses.replace(job, elsewhere=((config.replace(eval_split="all"), tiny_data),))
    more = row([shifted], [State(False)], tiny_data).seconds - found.seconds
    assert more == pytest.approx((train + validation) * PER_IMAGE + START)


def test_a_finished_run_takes_nothing(tiny_data):
    found = row([Job("a", BASE, tiny_data)], [State(True)], tiny_data)
    assert (found.finished, found.seconds, found.disk) == (1, 0, 0)


def test_probes_of_one_encoder_share_a_pass(tiny_data):
    probes = [
        Job(f"{k}", FINETUNE, tiny_data, encoder=f"encoder {k // 2}", state=State(k == 3))
        for k in range(4)
    ]
    found = row([Job("a", BASE, tiny_data)], [State(True)], tiny_data, probes)
    assert (found.runs, found.finished) == (4, 1)
    assert found.seconds == pytest.approx(2 * (START + (TRAIN + VALIDATION) * PER_IMAGE))


def test_where_epochs_are_fixed_fewer_labels_make_fewer_steps(tiny_data):
    config = FINETUNE.replace(train_steps=0, train_epochs=3, train_batch_size=2)
    lengths = Lengths(1)
    assert lengths.steps(Job("a", config, tiny_data)) == 8 * 3 // 2 + 1
    assert lengths.steps(Job("a", config.replace(label_fraction=0.5), tiny_data)) == 4 * 3 // 2 + 1


def test_runs_whose_steps_cost_the_same_are_one_kind(tiny_data):
    alike = [BASE, BASE.replace(seed=4, learning_rate=9.0, temperature=1.0, train_steps=50)]
    others = [BASE.replace(image_size=40), BASE.replace(micle=True), FINETUNE]
    found = group([Job(str(k), c, tiny_data) for k, c in enumerate([*alike, *others])])
    assert {title: [job.name for job in jobs] for title, jobs in found.items()} == {
        "SimCLR pretraining (--image_size=34)": ["0", "1"],
        "SimCLR pretraining (--image_size=40)": ["2"],
        "MICLe pretraining": ["3"],
        "fine-tuning": ["4"],
    }
