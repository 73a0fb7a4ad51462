"""Figures as they were saved, so that a test can read lines and texts out of them."""

from matplotlib.figure import Figure


def saved_figures(monkeypatch) -> list[Figure]:
    """Returns a list that gets every figure which is saved from now on."""
    figures: list[Figure] = []
    save = Figure.savefig

    def kept(self, *args, **kwargs):
        figures.append(self)
        return save(self, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", kept)
    return figures
