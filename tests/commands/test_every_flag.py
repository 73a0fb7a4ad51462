"""Each flag, changed alone, changes something that a run shows: no option without an effect.

What is compared: results and files of an evaluation, the calls that the command makes, and so on; see
helpers/effects.py. The flags that show in a training run are in test_every_training_flag.py.
"""

import pytest

from helpers.effects import CHANGES, Effects
from simclr_med.config import FIELDS

MINE = {name: change for name, change in CHANGES.items() if change[0] != "training"}


def test_every_flag_is_tried():
    assert list(CHANGES) == list(FIELDS)


@pytest.fixture(scope="module")
def effects(tmp_path_factory):
    return Effects(tmp_path_factory.mktemp("effects"))


@pytest.mark.parametrize("how", sorted({how for how, _, _ in MINE.values()}))
def test_the_same_configuration_shows_the_same(effects, how):
    one, other = effects.of_the_same(how)
    assert one == other


@pytest.mark.parametrize("name", MINE)
def test_a_changed_flag_changes_what_a_run_shows(effects, name):
    one, other = effects.of_a_change(name)
    assert one != other
