"""Each flag that shows in a training run, changed alone, changes its weights, metrics or files."""

import pytest

from helpers.effects import CHANGES, Effects

pytestmark = [pytest.mark.slow, pytest.mark.one_stack]
MINE = {name: change for name, change in CHANGES.items() if change[0] == "training"}


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
