"""Four classes a strip, as in the PhysioNet/CinC Challenge of 2017, and how well they are told.

The class of a strip, the first rule that applies:
1. `~`: the quality gate can read no lead, or finds no QRS.
2. `A`: the probability of fibrillation over the strip reaches the AF threshold.
3. `O`: the probability of another departure from sinus rhythm reaches its threshold, or there is a
   rhythm finding (bradycardia, tachycardia, a pause, a run).
4. `N`: otherwise.
Both thresholds are those with the highest F1 on fold 8 of PTB-XL, leads I and II.

Score: mean F1 of N, A and O (Clifford et al., Comput Cardiol 44, 2017); over all four beside it.
"""

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from model.beats import detect_r_peaks
from model.datasets import cinc2017
from model.datasets.cinc2017 import CLASSES
from model.ecg import Ecg
from model.findings import Quality
from model.metrics import bootstrap
from model.quality import assess_quality
from model.strip.af import AfModel
from model.strip.rhythm import RhythmReading, read_rhythm

mpl.use("Agg")

Labels = NDArray[np.int64]
Json = dict[str, Any]

SCORED = ("N", "A", "O")


class TellsRhythmClass(Protocol):
    """Whatever gives a strip one of CLASSES."""

    def rhythm_class(self, ecg: Ecg) -> str:
        """One of CLASSES."""


class RhythmDetector:
    """The rhythm rules alone: R peaks, no classes of beats."""

    def __init__(self, model: AfModel) -> None:
        self._model = model

    def read(self, ecg: Ecg) -> RhythmReading:
        """Read every lead; each beat counts as normal."""
        return self.read_samples(ecg.voltage_mv, ecg.leads, ecg.sampling_rate_hz)

    def read_samples(
        self, voltage_mv: NDArray[np.float32], leads: tuple[str, ...], sampling_rate_hz: float
    ) -> RhythmReading:
        """Read `(n_leads, n_samples)` of any length."""
        peaks = detect_r_peaks(voltage_mv, sampling_rate_hz)
        return read_rhythm(
            self._model,
            voltage_mv,
            leads,
            sampling_rate_hz,
            beat_times_s=peaks / sampling_rate_hz,
            aami_classes=("N",) * len(peaks),
        )

    def rhythm_class(self, ecg: Ecg) -> str:
        """One of CLASSES."""
        quality = assess_quality(ecg)
        if not readable(quality, ecg.leads):
            return "~"
        return class_of(self.read(ecg), self._model)


def readable(quality: Quality, leads: tuple[str, ...]) -> bool:
    """Whether a rhythm can be told; the gate asks for more leads than that takes."""
    masked = {fault.lead for fault in quality.lead_faults}
    return not set(quality.reasons) - {"too-few-leads"} and bool(set(leads) - masked)


def class_of(reading: RhythmReading, model: AfModel) -> str:
    """Rules 2 to 4."""
    if reading.af_probability >= model.threshold:
        return "A"
    if reading.other_probability >= model.other_threshold or reading.rhythms:
        return "O"
    return "N"


def evaluate_cinc2017(
    detector: TellsRhythmClass, folder: Path, on_ecg: Callable[[], None] = lambda: None
) -> Json:
    """Measure a detector on a folder in the challenge's layout.

    Raises:
        DatasetError: `dataset-missing`, `dataset-altered`.
    """
    data = cinc2017.load(folder)
    told = []
    for record in data.records:
        told.append(detector.rhythm_class(data.ecg(record)))
        on_ecg()
    return {"table": data.table, **figures(data.labels, tuple(told))}


def figures(labels: tuple[str, ...], told: tuple[str, ...], groups: Labels | None = None) -> Json:
    """F1 of each class, scores, accuracy with the majority's, confusion.

    `groups` are the persons, for the intervals; without them every strip is another person's.
    """
    true = np.array([CLASSES.index(label) for label in labels])
    said = np.array([CLASSES.index(label) for label in told])
    people = np.arange(len(true)) if groups is None else groups

    def estimate(statistic: Callable[[Labels, Labels], float]) -> Json:
        return asdict(bootstrap(people, lambda rows: statistic(true[rows], said[rows])))

    return {
        "strips": {name: int((true == i).sum()) for i, name in enumerate(CLASSES)},
        "f1": {CLASSES[i]: estimate(partial(f1, which=i)) for i in np.union1d(true, said)},
        "score_n_a_o": estimate(partial(mean_f1, which=SCORED)),
        "score_all_four": estimate(partial(mean_f1, which=CLASSES)),
        "accuracy": estimate(lambda t, s: float((t == s).mean())),
        "majority": float(np.bincount(true).max() / len(true)),
        "confusion": {
            name: dict(zip(CLASSES, row.tolist(), strict=True))
            for name, row in zip(CLASSES, confusion(true, said), strict=True)
        },
    }


def confusion(true: Labels, said: Labels) -> Labels:
    """Counts `(4, 4)`, a row a true class."""
    counts = np.zeros((len(CLASSES), len(CLASSES)), np.int64)
    np.add.at(counts, (true, said), 1)
    return counts


def f1(true: Labels, said: Labels, which: int) -> float:
    """NaN where the class is neither there nor told."""
    both = (true == which).sum() + (said == which).sum()
    return float(2 * ((true == which) & (said == which)).sum() / both) if both else float("nan")


def mean_f1(true: Labels, said: Labels, which: tuple[str, ...]) -> float:
    """Mean over the classes that are there or told."""
    each = np.array([f1(true, said, CLASSES.index(name)) for name in which])
    known = each[~np.isnan(each)]
    return float(known.mean()) if len(known) else float("nan")


def plot_confusion(measured: Json, path: Path) -> None:
    """Counts, and shaded by each row's share."""
    counts = np.array([list(row.values()) for row in measured["confusion"].values()])
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = Figure(figsize=(4.6, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        colour = "white" if share[row, column] > 0.5 else "black"
        axes.text(column, row, f"{count}", ha="center", va="center", color=colour)
    axes.set_xticks(range(len(CLASSES)), CLASSES)
    axes.set_yticks(range(len(CLASSES)), CLASSES)
    axes.set_xlabel("told")
    axes.set_ylabel("label")
    score = measured["score_n_a_o"]["value"]
    axes.set_title(f"{counts.sum()} strips, mean F1 of N, A and O {score:.3f}", fontsize="medium")
    figure.savefig(path, dpi=120)
