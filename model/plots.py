"""A training run's curves as PNG; matplotlib without a display."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

mpl.use("Agg")


def training_curves(history: Sequence[Mapping[str, float]], path: Path) -> None:
    """Losses on the left, validation AUROC on the right, over epochs."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    epochs = [line["epoch"] for line in history]
    for axes, part, label in ((left, "loss_", "training loss"), (right, "auroc", "AUROC, fold 9")):
        for name in [name for name in history[0] if part in name]:
            axes.plot(epochs, [line[name] for line in history], label=name.replace("_", " "))
        _finish(axes, "epoch", label)
    figure.savefig(path, dpi=120)


def _finish(axes: Axes, x_label: str, y_label: str) -> None:
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.legend(fontsize="small")
    axes.grid(alpha=0.3)
