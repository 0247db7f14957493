"""Baselines without any network: the ECG's own median beat, principal components, ten features.

Everything is fitted on normal training ECGs; only `logistic` also sees abnormal ones.
"""

import numpy as np
from numpy.typing import NDArray

from model.anomaly import BEFORE, beat_positions
from model.baseline import BeatPca, median_beat
from model.calibration import fit_logistic
from model.signal import RATE_HZ

Array = NDArray[np.float32]
Scores = NDArray[np.float64]

_QRS = slice(BEFORE - 8, BEFORE + 10)  # samples of the median beat
_ST_T = slice(BEFORE + 14, BEFORE + 45)
_RIDGE = 1e-3
_SMALL = 1e-3


def median_beats(voltage_mv: Array) -> Array:
    """Of `(n, 12, T)`, `(n, 12, W)`."""
    return np.stack([median_beat(row) for row in voltage_mv])


def features(voltage_mv: Array) -> Scores:
    """Rate, regularity, likeness of beats, sizes of QRS and ST-T by region: `(n, 15)`."""
    return np.stack([_features(row) for row in voltage_mv])


def scores(
    training_mv: Array, normal: NDArray[np.bool_], report_mv: Array
) -> dict[str, tuple[Scores, Scores]]:
    """Each method's anomaly score of the training and of the reported ECGs; more is less normal."""
    beats = median_beats(training_mv), median_beats(report_mv)
    numbers = features(training_mv), features(report_mv)
    pca = BeatPca.fit(beats[0][normal])
    average = beats[0][normal].mean(axis=0)
    centre, spread = numbers[0][normal].mean(axis=0), numbers[0][normal].std(axis=0) + _SMALL
    z = (numbers[0] - centre) / spread, (numbers[1] - centre) / spread
    precision = np.linalg.inv(np.cov(z[0][normal].T) + _RIDGE * np.eye(z[0].shape[1])).astype(
        np.float64
    )
    # fit_logistic keeps weights above zero, so each direction is a score of its own.
    unlike = tuple(np.concatenate([each, -each, np.abs(each)], axis=1) for each in z)
    logistic = fit_logistic(~normal, unlike[0])
    return {
        "deviation from own template": (numbers[0][:, 3], numbers[1][:, 3]),
        "distance to the average normal beat": (_away(beats[0], average), _away(beats[1], average)),
        "median beat, PCA": (pca.misfit(beats[0]), pca.misfit(beats[1])),
        "features, Mahalanobis": (_mahalanobis(z[0], precision), _mahalanobis(z[1], precision)),
        "features, logistic (supervised)": (
            logistic.decision(unlike[0]),
            logistic.decision(unlike[1]),
        ),
    }


def _features(voltage_mv: Array) -> Scores:
    at = beat_positions(voltage_mv)
    intervals_s = np.diff(at) / RATE_HZ if len(at) > 1 else np.ones(1)
    beat = median_beat(voltage_mv)
    window = at[:, None] + np.arange(-BEFORE, beat.shape[1] - BEFORE)
    deviation = np.abs(voltage_mv[:, window] - beat[:, None]).sum(axis=(0, 2))
    size = np.abs(beat).sum() + _SMALL
    shape = [
        np.log(part.max(axis=1) - part.min(axis=1) + _SMALL).mean()
        for leads in (beat[:6], beat[6:9], beat[9:])
        for part in (leads[:, _QRS], leads[:, _ST_T])
    ]
    wide = np.abs(np.diff(beat, axis=1)).sum(axis=0)
    polarity = [beat[lead, _ST_T].mean() for lead in (0, 1, 10, 11)]
    return np.array(
        [
            np.log(np.median(intervals_s)),
            np.log(np.std(intervals_s) / np.mean(intervals_s) + _SMALL),
            np.log(np.min(intervals_s) / np.median(intervals_s)),
            np.log(deviation.max() / size + _SMALL),
            (wide > wide.max() / 4).mean(),
            *shape,
            *polarity,
        ],
        np.float64,
    )


def _away(beats: Array, average: Array) -> Scores:
    away = np.abs(beats - average).sum(axis=(1, 2), dtype=np.float64)
    share: Scores = away / (np.abs(beats).sum(axis=(1, 2), dtype=np.float64) + 1.0)
    return share


def _mahalanobis(z: Scores, precision: Scores) -> Scores:
    distance: Scores = np.sqrt(np.einsum("ni,ij,nj->n", z, precision, z))
    return distance
