"""What a line of progress says: losses per direction, beside what chance gives."""

import pytest

from simclr_med import run_folder
from simclr_med.run_folder import log

CONTRASTIVE = {
    "contrast_loss": 9.56,
    "contrast_acc": 0.044,
    "contrast_entropy": 4.7,
    "contrast_chance_loss": 9.688,
    "contrast_chance_acc": 0.0156,
}
LABELS = {"supervised_loss": 0.5, "supervised_acc": 0.75, "total_loss": 0.6}


@pytest.mark.parametrize(
    ("metrics", "text"),
    [
        (CONTRASTIVE, "loss 4.780 (chance 4.844) accuracy 0.044 (chance 0.016)"),
        (
            CONTRASTIVE | LABELS,
            "loss 4.780 (chance 4.844) accuracy 0.044 (chance 0.016) labels: loss 0.500 accuracy 0.750",
        ),
        (LABELS, "loss 0.500 accuracy 0.750"),
        ({}, ""),
    ],
)
def test_a_loss_is_shown_beside_chance(metrics, text):
    assert log.progress(metrics) == text


def test_the_terminal_says_it(tmp_path, capsys):
    run = run_folder.RunLog(str(tmp_path), 0, 4, images_per_step=2)
    run.show(4, CONTRASTIVE)
    run.close()
    assert capsys.readouterr().out.startswith("step 4/4  loss 4.780 (chance 4.844) accuracy 0.044")
