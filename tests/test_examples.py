"""The examples in the docstrings of the public names are true (those of `load` are in test_api.py)."""

import doctest

import pytest

from simclr_med import losses, metrics, models, optim
from simclr_med.losses import contrastive
from simclr_med.metrics import exact
from simclr_med.optim import lars, schedule

PLACES = {
    losses.nt_xent: contrastive,
    optim.LARS: lars,
    optim.warmup_cosine: schedule,
    models.build_encoder: models,
    metrics.roc_auc: exact,
    metrics.average_precision: exact,
}


@pytest.mark.parametrize("public", list(PLACES), ids=lambda public: public.__name__)
def test_an_example(public):
    finder = doctest.DocTestFinder(recurse=False)
    (example,) = finder.find(public, public.__name__, globs=vars(PLACES[public]).copy())
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    runner.run(example)
    failed, tried = runner.summarize(verbose=False)[:2]
    assert failed == 0 and tried > 0


def test_lars_takes_the_name_that_simclr_s_code_has():
    assert optim.LARS(1.0, eeta=0.5).trust_coefficient == 0.5
    assert optim.LARS(1.0, trust_coefficient=0.5).get_config()["trust_coefficient"] == 0.5
