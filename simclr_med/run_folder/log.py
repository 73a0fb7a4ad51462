"""metrics.jsonl and TensorBoard events of a run, and its progress on the terminal."""

from __future__ import annotations

import datetime
import json
import os
import sys
import time

import rich.progress
import rich.table
import tensorflow as tf

from simclr_med.run_folder import gfile
from simclr_med.run_folder.files import write_atomically
from simclr_med.run_folder.folder import plain, read_metrics
from simclr_med.transient import retried

_SECONDS_BETWEEN_LINES = 5.0
_NARROW = 100  # columns, below which the bar has room for one word "chance"


class RunLog:
    """Writes metrics.jsonl and TensorBoard events, and shows progress on the terminal.

    Args:
      model_dir: the run's folder.
      start_step: step of the checkpoint that was restored; lines of later steps are discarded.
      total_steps: of the whole run.
      images_per_step: views that pass the network in a step, on average.
    """

    def __init__(self, model_dir: str, start_step: int, total_steps: int, images_per_step: float):
        self._path = os.path.join(model_dir, "metrics.jsonl")
        rows = [row for row in read_metrics(model_dir) if row["step"] <= start_step]
        write_atomically(self._path, "".join(json.dumps(row) + "\n" for row in rows))
        events = os.path.join(model_dir, "events")
        self._events = retried(lambda: tf.summary.create_file_writer(events), f"Writing {events}")
        self._images_per_step = images_per_step
        self._total_steps = total_steps
        self._start: tuple[float, int] | None = None
        self._last_line = 0.0
        self._reached, self._since_line = start_step, 0
        self._sums: dict[str, float] = {}
        self._bar = _progress_bar() if sys.stdout.isatty() else None
        if self._bar:
            self._bar.start()
            self._task = self._bar.add_task("training", total=total_steps, completed=start_step)

    def show(self, step: int, metrics: dict[str, float]) -> None:
        """Moves the progress bar, or prints a line every few seconds where there is no terminal.

        Args:
          step: that was reached.
          metrics: means of the steps since the last call; shown are those of all since the last line.
        """
        num_steps, self._reached = step - self._reached, step
        self._since_line += num_steps
        for name, value in metrics.items():
            self._sums[name] = self._sums.get(name, 0.0) + num_steps * value
        now = time.monotonic()
        if self._start is None:  # what came before was tracing and compiling: no measure of speed
            self._start = (now, step)
        rate = (step - self._start[1]) / max(now - self._start[0], 1e-9)
        means = {k: total / self._since_line for k, total in self._sums.items()}
        words = progress(means, short=bool(self._bar and self._bar.console.width < _NARROW))
        if rate:
            words += f"  {rate:.2f} steps/s {rate * self._images_per_step:.0f} images/s"
        is_due = now - self._last_line > _SECONDS_BETWEEN_LINES or step == self._total_steps
        if self._bar:
            self._bar.update(self._task, completed=step, description=words)
        elif is_due:
            if rate:
                words += f"  ETA {clock((self._total_steps - step) / rate)}"
            print(f"step {step}/{self._total_steps}  {words}", flush=True)
        if is_due:
            self._last_line, self._since_line, self._sums = now, 0, {}

    def write(self, step: int, metrics: dict[str, float]) -> None:
        """Appends a line to metrics.jsonl and scalars to the TensorBoard events.

        Args:
          step: global step.
          metrics: {name: mean since the last line}.
        """
        gfile.append(self._path, json.dumps(plain({"step": step, **metrics})) + "\n")
        with self._events.as_default(step=step):
            for name, value in metrics.items():
                tf.summary.scalar(f"train/{name}", value)
        retried(self._events.flush, f"Writing TensorBoard events of {self._path}")

    def hyperparameters(self, values: dict[str, bool | int | float | str]) -> None:
        """Writes values that TensorBoard's HParams tab compares runs by; "" for None."""
        from tensorboard.plugins.hparams import api  # a second to import, and this alone needs it

        with self._events.as_default(step=0):
            api.hparams({name: "" if v is None else v for name, v in values.items()})

    def picture(self, name: str, image: tf.Tensor, step: int) -> None:
        """Adds an image, uint8 [H, W, 3], to the TensorBoard events."""
        with self._events.as_default(step=step):
            tf.summary.image(name, image[tf.newaxis])

    def close(self) -> None:
        """Ends the progress bar and flushes what is written."""
        if self._bar:
            self._bar.stop()
        self._events.close()


def write_evaluation(model_dir: str, name: str, step: int, values: dict[str, float]) -> None:
    """Adds the metrics of an evaluation to the run's TensorBoard events, as NAME/METRIC.

    Args:
      model_dir: of the run.
      name: "eval", or "eval_NAME" of --eval_name.
      step: of the checkpoint.
      values: {metric: value}; NaN is left out.
    """
    events = os.path.join(model_dir, "events")
    writer = retried(lambda: tf.summary.create_file_writer(events), f"Writing {events}")
    with writer.as_default(step=step):
        for metric, value in values.items():
            if value == value:
                tf.summary.scalar(f"{name}/{metric}", value)
    retried(writer.close, f"Writing {events}")


def progress(metrics: dict[str, float], short: bool = False) -> str:
    """Returns the losses and accuracies of a step as text, the contrastive ones beside chance.

    "loss 4.312 (chance 4.844) accuracy 0.203 (chance 0.016)": a loss that is high because there are
    many negatives is not read as divergence. Of `contrast_loss`, a sum over both directions, the text
    has half, the paper's loss. Of a head that is trained beside the encoder: "labels: loss 0.5 ...".

    Args:
      metrics: of a step, or means of some.
      short: "loss 4.31 (chance 4.84) accuracy 0.203 (0.016)", for narrow terminals.
    """
    parts = []
    if "contrast_loss" in metrics:
        for key, name, directions in (("loss", "loss", 2), ("acc", "accuracy", 1)):
            digits = 2 if short and key == "loss" else 3
            text = f"{name} {metrics[f'contrast_{key}'] / directions:.{digits}f}"
            if (chance := metrics.get(f"contrast_chance_{key}")) is not None:
                word = "" if short and key == "acc" else "chance "
                text += f" ({word}{chance / directions:.{digits}f})"
            parts.append(text)
    if "supervised_loss" in metrics:
        start = "labels: " if parts else ""
        parts.append(f"{start}loss {metrics['supervised_loss']:.3f}")
        parts.append(f"accuracy {metrics['supervised_acc']:.3f}")
    return " ".join(parts)


def _progress_bar() -> rich.progress.Progress:
    return rich.progress.Progress(
        rich.progress.BarColumn(bar_width=10),
        rich.progress.MofNCompleteColumn(),
        rich.progress.TextColumn("ETA"),
        rich.progress.TimeRemainingColumn(),
        # What a narrow terminal has no room for is cut off here, and not from the columns before.
        rich.progress.TextColumn(
            "{task.description}",
            table_column=rich.table.Column(ratio=1, no_wrap=True, overflow="ellipsis"),
        ),
        refresh_per_second=2,
        expand=True,
    )


def clock(seconds: float) -> str:
    """Returns H:MM:SS, with as many hours as it takes."""
    return str(datetime.timedelta(seconds=round(seconds)))
