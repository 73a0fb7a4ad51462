"""curves.png: how training went."""

from __future__ import annotations

from matplotlib.figure import Figure

from simclr_med.run_folder.files import writing

_PANELS = (
    ("contrast_loss", "contrastive loss (a + b)"),
    ("contrast_acc", "contrastive accuracy"),
    ("supervised_loss", "supervised loss"),
    ("supervised_acc", "supervised accuracy"),
    ("learning_rate", "learning rate"),
)


def save(path: str, rows: list[dict[str, float]]) -> None:
    """Writes one panel for each metric that the rows of metrics.jsonl hold."""
    panels = [(key, title) for key, title in _PANELS if rows and key in rows[-1]]
    if not panels:
        return
    figure = Figure(figsize=(3.6 * len(panels), 3))
    axes = figure.subplots(1, len(panels), squeeze=False)
    for axis, (key, title) in zip(axes[0], panels):
        axis.plot([row["step"] for row in rows], [row[key] for row in rows], color="tab:blue")
        axis.set(title=title, xlabel="step")
        axis.grid(alpha=0.3)
    figure.tight_layout()
    with writing(path) as file:
        figure.savefig(file, dpi=100)
