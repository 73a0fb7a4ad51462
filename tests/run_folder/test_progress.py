"""What a line of progress says: losses per direction, beside what chance gives."""

import io

import pytest
import rich.console

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


def test_a_line_is_the_mean_of_the_steps_since_the_line_before(tmp_path, capsys, monkeypatch):
    seconds = iter([100.0, 101.0, 102.0, 110.0, 111.0])
    monkeypatch.setattr(log.time, "monotonic", lambda: next(seconds))
    run = run_folder.RunLog(str(tmp_path), 10, 16, images_per_step=2)
    for step, loss in ((11, 9.0), (12, 1.0), (14, 2.0), (15, 6.0), (16, 7.0)):
        run.show(step, {"supervised_loss": loss, "supervised_acc": loss / 10})
    run.close()
    lines = [line.split("  ")[:2] for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        ["step 11/16", "loss 9.000 accuracy 0.900"],
        ["step 15/16", "loss 2.750 accuracy 0.275"],  # (1 + 2 x 2 + 6) / 4
        ["step 16/16", "loss 7.000 accuracy 0.700"],
    ]


def test_a_narrow_terminal_cuts_the_text_and_keeps_the_steps_and_the_loss():
    for width in (80, 160):
        console = rich.console.Console(file=io.StringIO(), force_terminal=True, width=width)
        bar = log._progress_bar()
        task = bar.add_task("", total=300, completed=120)
        bar.update(task, description=log.progress(CONTRASTIVE | LABELS) + "  1.20 steps/s")
        console.print(bar.get_renderable())
        line = console.file.getvalue()
        assert "120/300" in line and "ETA" in line and "loss 4.780 (chance 4.844)" in line
        assert ("steps/s" in line) == (width == 160)
