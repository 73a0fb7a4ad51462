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


@pytest.mark.parametrize(
    ("width", "total", "words"),
    [
        (80, 300, "loss 4.78 (chance 4.84) accuracy 0.044 (0.016)"),
        (80, 9999, "loss 4.78 (chance 4.84) accuracy 0.044 (0.016)"),
        (100, 300, "loss 4.780 (chance 4.844) accuracy 0.044 (chance 0.016)"),
        (160, 300, "accuracy 0.044 (chance 0.016) labels: loss 0.500 accuracy 0.750"),
    ],
)
def test_the_bar_has_steps_loss_and_accuracy_beside_chance_at_every_width(
    tmp_path, monkeypatch, width, total, words
):
    monkeypatch.setattr(log.sys.stdout, "isatty", lambda: True, raising=False)
    run = run_folder.RunLog(str(tmp_path), 0, total, images_per_step=2)
    monkeypatch.setattr(run, "_bar", bar := _bar_of(width))
    run._task = bar.add_task("training", total=total)
    run.show(120, CONTRASTIVE | LABELS)
    bar.console.print(bar.get_renderable())
    line = bar.console.file.getvalue()
    assert f"120/{total}" in line and "ETA" in line and words in line
    assert max(map(len, line.splitlines())) <= width


def _bar_of(width):
    """Returns the bar on a terminal of that width, without colours."""
    bar = log._progress_bar()
    bar.live.console = rich.console.Console(
        file=io.StringIO(), force_terminal=True, width=width, color_system=None
    )
    return bar
