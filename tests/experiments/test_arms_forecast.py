"""What a study of an arms file is said to take."""

import pytest

from simclr_med.config import Config, ModelConfig
from simclr_med.experiments import arms_forecast
from simclr_med.experiments.forecast_jobs import Job

# As torchvision's, but for SimCLR's projection shortcut of the first group.
RESNET18 = 11_176_512 + 64 * 64 + 2 * 64


@pytest.mark.parametrize(
    ("options", "operations", "weights"),
    [
        # torchvision's table: 1.81 and 4.09 billion multiply-adds, with a classifier of 1,000 classes.
        ({"resnet_depth": 18}, 2 * (1.814e9 - 512e3 + 64 * 64 * 56 * 56), RESNET18),
        pytest.param(
            *({"resnet_depth": 50}, 2 * (4.089e9 - 2048e3), 23_508_032),
            marks=(pytest.mark.slow, pytest.mark.one_stack),
        ),
    ],
)
def test_operations_and_weights_of_an_encoder(options, operations, weights):
    counted, size = arms_forecast.size_of(ModelConfig(**options), 224)
    assert counted == pytest.approx(operations, rel=0.01)
    assert size == weights


def test_disk_of_what_is_kept():
    config = Config().replace(resnet_depth=18, optimizer="adam", keep_checkpoint_max=5)
    size = RESNET18 * 4
    assert arms_forecast._disk(Job("", config, None)) == 5 * 3 * size
    momentum = config.replace(optimizer="momentum")
    assert arms_forecast._disk(Job("", momentum, None, keeps=1)) == 2 * size
    assert arms_forecast._disk(Job("", config, None, keeps=0)) == 0
    assert arms_forecast._disk(Job("", config, None, encoder="probed")) == 0
