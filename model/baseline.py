"""The baseline every anomaly figure stands beside: no network, only the median beat and PCA.

Beats are found by the slope of all leads together, averaged by their median, and compared with the
principal components of normal ECGs' median beats: what the components cannot express is the score.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d
from scipy.signal import find_peaks

from model.signal import RATE_HZ

Array = NDArray[np.float32]

BEFORE, AFTER = 25, 45  # samples at 100 Hz: P wave to end of T
N_COMPONENTS = 20
_MIN_RR = RATE_HZ // 4  # 240 beats a minute
_INTEGRATION = 12  # samples: a QRS


def median_beat(voltage_mv: Array) -> Array:
    """Median beat of `(12, n)` at 100 Hz, `(12, BEFORE + AFTER)`; zeros when no beat is found."""
    slope = uniform_filter1d(np.abs(np.diff(voltage_mv, axis=1)).sum(axis=0), _INTEGRATION)
    height = 0.4 * np.percentile(slope, 98)
    peaks, _ = find_peaks(slope, height=height, distance=_MIN_RR)
    inside = [p for p in peaks if BEFORE <= p <= voltage_mv.shape[1] - AFTER]
    if not inside:
        return np.zeros((voltage_mv.shape[0], BEFORE + AFTER), np.float32)
    beats = np.stack([voltage_mv[:, p - BEFORE : p + AFTER] for p in inside])
    middle: Array = np.median(beats, axis=0).astype(np.float32)
    return middle


@dataclass(frozen=True, eq=False)
class BeatPca:
    """Normal median beats: their `mean` `(12 * W,)` and `components` `(k, 12 * W)`."""

    mean: Array
    components: Array

    @classmethod
    def fit(cls, beats: Array) -> Self:
        """From normal ECGs' median beats `(n, 12, W)`."""
        flat = beats.reshape(len(beats), -1)
        mean = flat.mean(axis=0)
        _, _, axes = np.linalg.svd(flat - mean, full_matrices=False)
        return cls(mean, axes[:N_COMPONENTS])

    def misfit(self, beats: Array) -> NDArray[np.float64]:
        """Share of `(n, 12, W)` that the components cannot express, by absolute values."""
        flat = beats.reshape(len(beats), -1)
        away = flat - self.mean
        rest = away - away @ self.components.T @ self.components
        share: NDArray[np.float64] = np.abs(rest).sum(axis=1, dtype=np.float64) / np.maximum(
            np.abs(flat).sum(axis=1, dtype=np.float64), 1e-6
        )
        return share
