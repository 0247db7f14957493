"""Figures as PNG files; matplotlib without a display."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from model import metrics
from model.datasets.ptbxl import TYPES, PtbXl
from model.detector import Opinion

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


def roc_curves(data: PtbXl, opinion: Opinion, path: Path) -> None:
    """One ROC curve a type, and the anomaly score's."""
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.subplots()
    for i, code in enumerate(TYPES):
        axes.plot(*metrics.roc_curve(data.types[:, i], opinion.types[:, i]), label=code)
    axes.plot(*metrics.roc_curve(~data.normal, opinion.anomaly), "k--", label="anomaly")
    _finish(axes, "false-positive rate", "sensitivity")
    figure.savefig(path, dpi=120)


def reliability(data: PtbXl, opinion: Opinion, path: Path) -> None:
    """Observed share over mean probability, one line a type."""
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8)
    for i, code in enumerate(TYPES):
        curve = metrics.calibration_curve(data.types[:, i], opinion.types[:, i])
        axes.plot([p for p, _, _ in curve], [s for _, s, _ in curve], marker="o", label=code)
    _finish(axes, "calibrated probability", "observed share")
    figure.savefig(path, dpi=120)


def _finish(axes: Axes, x_label: str, y_label: str) -> None:
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.legend(fontsize="small")
    axes.grid(alpha=0.3)
