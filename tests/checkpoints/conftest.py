import pytest

from helpers import encoders


@pytest.fixture(scope="module")
def small():
    """Encoders of few blocks: each kind of block, stem and shortcut is still there."""
    with pytest.MonkeyPatch.context() as patch:
        deeper = dict(resnet34=(2, 2), resnet101=(2, 1), bit101=(2, 1))
        encoders.shorten(patch, (1, 2), **deeper)
        yield
