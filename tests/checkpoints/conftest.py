import pytest

from simclr_med.models import bit, resnet


@pytest.fixture
def small(monkeypatch):
    """ResNets of few blocks: each kind of block, stem and shortcut is still there."""
    monkeypatch.setitem(resnet.BLOCKS_PER_GROUP, 18, (1, 2))
    monkeypatch.setitem(resnet.BLOCKS_PER_GROUP, 34, (2, 2))
    monkeypatch.setitem(resnet.BLOCKS_PER_GROUP, 50, (1, 2))
    monkeypatch.setitem(resnet.BLOCKS_PER_GROUP, 101, (2, 1))
    monkeypatch.setitem(bit.UNITS_PER_GROUP, 50, (1, 2))
    monkeypatch.setitem(bit.UNITS_PER_GROUP, 101, (2, 1))
