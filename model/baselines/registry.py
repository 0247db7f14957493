"""The baselines by name; each one trains or fits, and scores the training and reported ECGs."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import nn

from model.anomaly import AFTER, BEFORE, beat_positions
from model.baselines import learning, template
from model.baselines.convolutional import ConvolutionalAutoencoder
from model.baselines.learning import Cut, Plan
from model.baselines.recurrent import LstmAutoencoder
from model.baselines.xresnet import XResNet1d101
from model.datasets.ptbxl import TYPES, PtbXl, millivolts
from model.resting.settings import WINDOW
from model.signal import remove_baseline

Array = NDArray[np.float32]
Scores = NDArray[np.float64]

_CROP_HOP = 125  # samples: half a crop of xresnet
MIN_SIZE_MV = 0.005  # mean voltage below which there is nothing to restore


class Outcome(NamedTuple):
    """What a baseline says.

    Attributes:
        training, report: anomaly scores `(n,)` by name; more is less normal.
        logits: `(n, 6 + 71)` of the reported ECGs' types and statements, for classifiers.
    """

    training: Mapping[str, Scores]
    report: Mapping[str, Scores]
    logits: Array | None = None


Baseline = Callable[[PtbXl, PtbXl, Plan], Outcome]


def filtered_mv(data: PtbXl) -> Array:
    """`(n, 12, 1000)` as the resting network reads it."""
    return remove_baseline(millivolts(data.voltage_uv))


def without_network(training: PtbXl, report: PtbXl, _plan: Plan) -> Outcome:
    """Median beat, principal components, features."""
    both = template.scores(filtered_mv(training), training.normal, filtered_mv(report))
    return Outcome(
        {name: pair[0] for name, pair in both.items()},
        {name: pair[1] for name, pair in both.items()},
    )


def convolutional(training: PtbXl, report: PtbXl, plan: Plan) -> Outcome:
    """Restores whole ECGs."""
    network = learning.seeded(ConvolutionalAutoencoder, plan)
    cut = learning.random_crop(WINDOW)
    _fit_on_normals(network, training, plan, cut)
    return Outcome(
        _errors_of_ecgs(network, filtered_mv(training)),
        _errors_of_ecgs(network, filtered_mv(report)),
    )


def lstm(training: PtbXl, report: PtbXl, plan: Plan) -> Outcome:
    """Restores beat by beat."""
    network = learning.seeded(LstmAutoencoder, plan)
    _fit_on_normals(network, training, plan, learning.random_beat)
    return Outcome(
        _errors_of_beats(network, filtered_mv(training)),
        _errors_of_beats(network, filtered_mv(report)),
    )


def xresnet1d101(training: PtbXl, report: PtbXl, plan: Plan) -> Outcome:
    """Types and statements at once; the anomaly score is the evidence against NORM."""
    network = learning.seeded(lambda: XResNet1d101(len(TYPES) + training.statements.shape[1]), plan)
    targets = np.concatenate([training.types, training.statements], axis=1).astype(np.float32)
    window = XResNet1d101.window
    learning.fit(
        network,
        filtered_mv(training),
        targets,
        plan,
        cut=learning.random_crop(window),
        loss=learning.label_loss,
    )
    logits = [
        np.mean(learning.by_windows(network, filtered_mv(data), window, _CROP_HOP), axis=0)
        for data in (training, report)
    ]
    against = [{"against NORM": -each[:, 0].astype(np.float64)} for each in logits]
    return Outcome(against[0], against[1], logits[1])


def _fit_on_normals(network: nn.Module, training: PtbXl, plan: Plan, cut: Cut) -> None:
    normals = filtered_mv(training.rows(np.flatnonzero(training.normal)))
    unused = np.zeros((len(normals), 0), np.float32)
    learning.fit(network, normals, unused, plan, cut=cut, loss=learning.restoration_loss)


def _errors_of_ecgs(network: nn.Module, voltage_mv: Array) -> dict[str, Scores]:
    restored = learning.by_windows(network, voltage_mv, WINDOW, WINDOW)[0]
    error, size = np.abs(voltage_mv - restored), np.abs(voltage_mv)
    return _scores(error.mean(axis=(1, 2)), size.mean(axis=(1, 2)))


def _errors_of_beats(network: nn.Module, voltage_mv: Array) -> dict[str, Scores]:
    """Mean error over each ECG's own beats."""
    at = [beat_positions(row) for row in voltage_mv]
    counts = np.array([len(each) for each in at])
    beats = np.stack(
        [
            row[:, p - BEFORE : p + AFTER]
            for row, each in zip(voltage_mv, at, strict=True)
            for p in each
        ]
    )
    restored = learning.by_windows(network, beats, beats.shape[2], beats.shape[2])[0]
    starts = np.cumsum(counts) - counts
    error, size = (
        np.add.reduceat(np.abs(part).mean(axis=(1, 2)), starts) / counts
        for part in (beats - restored, beats)
    )
    return _scores(error, size)


def _scores(error_mv: Array, size_mv: Array) -> dict[str, Scores]:
    """Two scores: the plain mean error, and its share of the ECG's own mean size."""
    error, size = error_mv.astype(np.float64), size_mv.astype(np.float64)
    return {"absolute error": error, "relative error": error / np.maximum(size, MIN_SIZE_MV)}


BASELINES: Mapping[str, Baseline] = {
    "template": without_network,
    "convolutional": convolutional,
    "lstm": lstm,
    "xresnet1d101": xresnet1d101,
}
