"""Four classes a strip, as in the PhysioNet/CinC Challenge of 2017, and how well they are told.

The class of a strip, the first rule that applies:
1. `~`: the strip's quality gate answers for less than half of its windows.
2. `A`: the probability of fibrillation over the strip reaches the AF threshold.
3. `O`: the probability of another departure from sinus rhythm reaches its threshold, or there is a
   rhythm finding (bradycardia, tachycardia, a pause, a run). Single ectopic beats are what the
   probability was taught; their classes count only in runs.
4. `N`: otherwise.
Both thresholds are those with the highest F1 on fold 8 of PTB-XL, leads I and II.

Score: mean F1 of N, A and O (Clifford et al., Comput Cardiol 44, 2017); over all four beside it.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
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
from model.metrics import bootstrap
from model.strip.af import AfModel
from model.strip.quality import assess_strip
from model.strip.rhythm import RhythmReading, read_rhythm

mpl.use("Agg")

Array = NDArray[np.float32]
Labels = NDArray[np.int64]
Json = dict[str, Any]

SCORED = ("N", "A", "O")
MIN_ANSWERED_SHARE = 0.5


class ReadsBeats(Protocol):
    """What is needed of a strip detector: its AF model, and beats with classes."""

    @property
    def af(self) -> AfModel:
        """The AF model of its bundle."""

    def read(self, voltage_mv: Array, sampling_rate_hz: float) -> "ClassedBeats":
        """Read `(n_leads, n_samples)`."""


class ClassedBeats(Protocol):
    """Beats of a strip."""

    @property
    def r_peaks(self) -> NDArray[np.int64]:
        """Samples, ascending, `(n_beats,)`."""

    @property
    def names(self) -> tuple[str, ...]:
        """AAMI class of each."""


@dataclass(frozen=True, eq=False)
class RPeaks:
    """R peaks alone: every beat counts as normal."""

    r_peaks: NDArray[np.int64]

    @property
    def names(self) -> tuple[str, ...]:
        """N for each."""
        return ("N",) * len(self.r_peaks)


@dataclass(frozen=True, eq=False)
class RPeakReader:
    """Reads rhythms without a network for beats; no runs are told."""

    af: AfModel

    def read(self, voltage_mv: Array, sampling_rate_hz: float) -> RPeaks:
        """Detect `(n_leads, n_samples)`'s beats."""
        return RPeaks(detect_r_peaks(voltage_mv, sampling_rate_hz))


def rhythm_class(detector: ReadsBeats, ecg: Ecg) -> str:
    """One of CLASSES."""
    quality = assess_strip(ecg.voltage_mv, ecg.sampling_rate_hz)
    if quality.answered.mean() < MIN_ANSWERED_SHARE:
        return "~"
    reading = rhythm_of(detector, ecg.voltage_mv, ecg.leads, ecg.sampling_rate_hz)
    return class_of(reading, detector.af)


def rhythm_of(
    detector: ReadsBeats, voltage_mv: Array, leads: tuple[str, ...], sampling_rate_hz: float
) -> RhythmReading:
    """Read beats and rhythm of `(n_leads, n_samples)`, whatever its length."""
    beats = detector.read(voltage_mv, sampling_rate_hz)
    return read_rhythm(
        detector.af,
        voltage_mv,
        leads,
        sampling_rate_hz,
        beat_times_s=beats.r_peaks / sampling_rate_hz,
        aami_classes=beats.names,
    )


def class_of(reading: RhythmReading, model: AfModel) -> str:
    """Rules 2 to 4."""
    if reading.af_probability >= model.threshold:
        return "A"
    if reading.other_probability >= model.other_threshold or reading.rhythms:
        return "O"
    return "N"


def evaluate_cinc2017(
    detector: ReadsBeats, folder: Path, on_ecg: Callable[[], None] = lambda: None
) -> Json:
    """Measure a detector on a folder in the challenge's layout.

    Raises:
        DatasetError: `dataset-missing`, `dataset-altered`.
    """
    data = cinc2017.load(folder)
    told = []
    for record in data.records:
        told.append(rhythm_class(detector, data.ecg(record)))
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
