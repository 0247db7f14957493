"""One evaluation's figures as PNG files, each readable on its own in print."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from model import metrics
from model.datasets.cases import NO, YES
from model.datasets.ptbxl import TYPES
from model.figures import BASELINE, known
from model.scoring import Scored

mpl.use("Agg")

Json = Mapping[str, Any]
Corner = Literal["upper left", "lower left", "lower right"]

DPI = 200
# Okabe and Ito's colours, which stay apart for colour-blind readers.
COLOURS = {
    "NORM": "#000000",
    "MI": "#D55E00",
    "STTC": "#E69F00",
    "CD": "#0072B2",
    "HYP": "#009E73",
    "ARR": "#CC79A7",
}
_VIEW_COLOURS = ("#0072B2", "#009E73", "#E69F00", "#999999")


def write_plots(figures: Json, scored: Scored, fresh: Scored, folder: Path) -> list[Path]:
    """Write every picture that these figures allow; return their paths.

    Args:
        figures: of `model.evaluate.report`.
        scored: the scorable ECGs.
        fresh: those of them that nothing was calibrated on.
        folder: is made where it is missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    drawn = {"roc": roc(scored, figures), "anomaly": anomaly_roc(scored, figures)}
    if calibrated := figures["not_calibrated_on"]:
        drawn["reliability"] = reliability(fresh, calibrated)
        drawn["confusion"] = co_flags(calibrated["confusion"])
        drawn["two-by-two"] = two_by_two(calibrated["confusion"])
    if figures["lead_subsets"]:
        drawn["leads"] = leads(figures["lead_subsets"])
    if any(
        "macro_auroc_types" in group for of in figures["groups"].values() for group in of.values()
    ):
        drawn["groups"] = groups(figures["groups"])
    for name, figure in drawn.items():
        figure.savefig(folder / f"{name}.png", dpi=DPI)
    return [folder / f"{name}.png" for name in drawn]


def roc(scored: Scored, figures: Json) -> Figure:
    """One ROC curve a type that can be measured."""
    figure, axes = _square()
    for code in figures["ranking"]["types_measured"]:
        k = TYPES.index(code)
        rows = known(scored.cases.types[:, k])
        labels = scored.cases.types[rows, k] == YES
        label = f"{code}  {_interval(figures['ranking']['auroc'][code])}"
        curve = metrics.roc_curve(labels, scored.opinion.types[rows, k])
        axes.plot(*curve, color=COLOURS[code], label=label, linewidth=1.4)
    _roc_axes(axes, "Types: AUROC (95 % interval)")
    return figure


def anomaly_roc(scored: Scored, figures: Json) -> Figure:
    """Normal against abnormal: each view of anomaly, and all together."""
    figure, axes = _square()
    rows = known(scored.cases.normal)
    abnormal = scored.cases.normal[rows] == NO
    views = [name for name in figures["anomaly"] if name != BASELINE]
    for i, name in enumerate(views):
        curve = metrics.roc_curve(abnormal, scored.opinion.views[rows, i])
        label = f"{name}  {_interval(figures['anomaly'][name]['auroc'])}"
        axes.plot(*curve, color=_VIEW_COLOURS[i], label=label, linewidth=1.4)
    curve = metrics.roc_curve(abnormal, scored.opinion.anomaly[rows])
    axes.plot(*curve, color="black", label="all together", linewidth=1.8)
    _roc_axes(axes, "Normal against abnormal: AUROC (95 % interval)")
    return figure


def reliability(fresh: Scored, calibrated: Json) -> Figure:
    """Observed share over mean probability in tenths, and how many ECGs stand behind each point."""
    figure = Figure(figsize=(4.6, 5.6), layout="constrained")
    axes, below = figure.subplots(2, 1, height_ratios=(4, 1), sharex=True)
    axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8)
    for code, error in calibrated["calibration_error"].items():
        k = TYPES.index(code)
        rows = known(fresh.cases.types[:, k])
        curve = metrics.calibration_curve(
            fresh.cases.types[rows, k] == YES, fresh.opinion.types[rows, k]
        )
        means, shares, sizes = map(np.array, zip(*curve, strict=True))
        style = {"color": COLOURS[code], "marker": "o", "markersize": 3.5, "linewidth": 1.2}
        axes.plot(means, shares, label=f"{code}  {error:.3f}", **style)
        below.plot(means, sizes, **style)
    axes.set_aspect("equal")
    axes.set(ylabel="observed share", xlim=(0, 1), ylim=(0, 1))
    below.set(xlabel="calibrated probability", ylabel="ECGs", yscale="log")
    _legend(axes, "Expected calibration error", "upper left")
    _grid(axes)
    _grid(below)
    return figure


def co_flags(confusion: Json) -> Figure:
    """Share of the ECGs of each truth that is flagged for each type."""
    share = confusion["flagged_share"]
    truths = [truth for truth in share if share[truth]["ecgs"]]
    table = np.array([[share[truth][code] for code in TYPES] for truth in truths])
    figure = Figure(figsize=(5.6, 5.0), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(table, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (y, x), value in np.ndenumerate(table):
        colour = "white" if value > 0.55 else "black"
        axes.text(x, y, f"{value:.2f}", ha="center", va="center", color=colour, fontsize=9)
    axes.set_xticks(range(len(TYPES)), TYPES)
    axes.set_yticks(range(len(truths)), [f"{t} (n={share[t]['ecgs']})" for t in truths])
    axes.set(xlabel=f"flagged at {confusion['operating_point']}", ylabel="labelled")
    figure.colorbar(image, ax=axes, label="share of the row's ECGs", shrink=0.8)
    return figure


def two_by_two(confusion: Json) -> Figure:
    """The four counts of each type."""
    counts = confusion["two_by_two"]
    figure = Figure(figsize=(7.2, 2.5 * -(-max(len(counts), 1) // 3)), layout="constrained")
    grid = figure.subplots(-(-max(len(counts), 1) // 3), 3, squeeze=False)
    for axes in grid.flat[len(counts) :]:
        axes.set_axis_off()
    for axes, (code, found) in zip(grid.flat, counts.items(), strict=False):
        _four_counts(axes, code, found)
    figure.suptitle(f"Counts at {confusion['operating_point']}; colour: share of the row", size=9)
    return figure


def leads(subsets: Json) -> Figure:
    """AUROC of each type over the sets of leads; hollow where the finding is withheld."""
    figure = Figure(figsize=(6.6, 4.2), layout="constrained")
    axes = figure.subplots()
    names = [name for name in subsets if subsets[name]["ecgs"]]
    x = np.arange(len(names))
    for code in TYPES:
        values = np.array([subsets[name]["auroc"][code] for name in names], float)
        axes.plot(x, values, color=COLOURS[code], linewidth=1.2, label=code)
        for here, name in zip(x, names, strict=True):
            face = "white" if code in subsets[name]["withheld"] else COLOURS[code]
            axes.plot(
                here,
                values[here],
                "o",
                markeredgecolor=COLOURS[code],
                markerfacecolor=face,
                markersize=5,
            )
    axes.set_xticks(x, [_lead_label(name, subsets[name]["leads"]) for name in names], fontsize=7)
    axes.set(xlabel="leads", ylabel="AUROC")
    _legend(axes, "hollow: withheld", "lower left")
    _grid(axes)
    return figure


def groups(found: Json) -> Figure:
    """Macro AUROC of the types with its interval, by age, sex, site and device."""
    lines = [
        (f"{name}: {value} (n={figures['ecgs']})", figures["macro_auroc_types"])
        for name, values in found.items()
        for value, figures in values.items()
        if figures.get("macro_auroc_types", {}).get("value") is not None
        and not np.isnan(figures["macro_auroc_types"]["value"])
    ]
    figure = Figure(figsize=(6.4, 0.8 + 0.24 * max(len(lines), 1)), layout="constrained")
    axes = figure.subplots()
    for y, (_, estimate) in enumerate(lines):
        axes.plot([estimate["low"], estimate["high"]], [y, y], color="#0072B2", linewidth=1.4)
        axes.plot(estimate["value"], y, "o", color="#0072B2", markersize=4)
    axes.set_yticks(range(len(lines)), [name for name, _ in lines], fontsize=7)
    axes.invert_yaxis()
    axes.set_xlabel("macro AUROC of the types (95 % interval)")
    _grid(axes)
    return figure


def _four_counts(axes: Axes, code: str, found: Json) -> None:
    table = np.array(
        [
            [found["true_positive"], found["false_negative"]],
            [found["false_positive"], found["true_negative"]],
        ]
    )
    share = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for (y, x), count in np.ndenumerate(table):
        colour = "white" if share[y, x] > 0.55 else "black"
        text = f"{count}\n{100 * share[y, x]:.0f} %"
        axes.text(x, y, text, ha="center", va="center", color=colour, fontsize=8)
    axes.set_xticks([0, 1], ["flagged", "not"], fontsize=7)
    axes.set_yticks([0, 1], [code, f"no {code}"], fontsize=7)


def _lead_label(name: str, leads: tuple[str, ...]) -> str:
    if len(leads) == 12:
        return "12"
    return (
        f"{len(leads)}\nlimb"
        if name == "6"
        else f"{len(leads)}\n"
        + " ".join(leads).replace("II V1 V2 V4", "II V1\nV2 V4").replace("II III V2", "II\nIII V2")
    )


def _square() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(4.6, 4.8), layout="constrained")
    return figure, figure.subplots()


def _roc_axes(axes: Axes, title: str) -> None:
    axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8)
    axes.set_aspect("equal")
    axes.set(xlabel="false-positive rate", ylabel="sensitivity", xlim=(0, 1), ylim=(0, 1))
    _legend(axes, title, "lower right")
    _grid(axes)


def _legend(axes: Axes, title: str, place: Corner) -> None:
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=7, title=title, title_fontsize=7, loc=place)


def _grid(axes: Axes) -> None:
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def _interval(estimate: Json) -> str:
    return f"{estimate['value']:.3f} ({estimate['low']:.3f}-{estimate['high']:.3f})"
