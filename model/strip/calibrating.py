"""Calibration and decision of beats, from predictions on patients that were not trained on."""

from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax

from model.findings import AAMI_CLASSES
from model.strip.card import BeatCalibration, PerClass

Scores = NDArray[np.float64]
Classes = NDArray[np.int64]

_N, _S, _V, _F, _Q = range(len(AAMI_CLASSES))
_RIDGE = 1e-2  # on offsets: hardly any F and Q beats to fit them on
_S_OFFSETS = np.arange(-2.0, 2.01, 0.25)
_V_OFFSETS = np.arange(-1.5, 1.51, 0.25)


def fit_calibration(raw: Scores, classes: Classes) -> BeatCalibration:
    """From averaged log probabilities `(n, 5)` and classes `(n,)`."""
    slope, offsets = _scaled(raw, classes)
    calibrated = log_softmax(slope * raw + offsets, axis=1)
    return BeatCalibration(
        slope=slope, offsets=_per_class(offsets), decision=_decision(calibrated, classes)
    )


def _scaled(raw: Scores, classes: Classes) -> tuple[float, Scores]:
    """Slope and offsets of least negative log likelihood (vector scaling, one slope)."""
    rows, k = np.arange(len(raw)), raw.shape[1]
    told = np.eye(k)[classes]

    def loss(theta: Scores) -> tuple[float, Scores]:
        log_p = log_softmax(theta[0] * raw + theta[1:], axis=1)
        error = (np.exp(log_p) - told) / len(raw)
        value = -log_p[rows, classes].mean() + _RIDGE * np.sum(theta[1:] ** 2)
        slope = np.concatenate([[np.sum(error * raw)], error.sum(axis=0) + 2 * _RIDGE * theta[1:]])
        return float(value), slope

    bounds = [(0.05, 5.0), *[(-3.0, 3.0)] * k]
    theta = minimize(loss, np.r_[1.0, np.zeros(k)], jac=True, method="L-BFGS-B", bounds=bounds).x
    return float(theta[0]), theta[1:]


def _decision(calibrated: Scores, classes: Classes) -> PerClass:
    """Offsets of S and V with the largest accuracy plus mean F1 of both."""
    best = max(
        product(_S_OFFSETS, _V_OFFSETS),
        key=lambda pair: _merit(calibrated + np.array([0, *pair, 0, 0]), classes),
    )
    return (0.0, float(best[0]), float(best[1]), 0.0, 0.0)


def _merit(scores: Scores, classes: Classes) -> float:
    told = scores.argmax(axis=1)
    supraventricular = _f1(told == _S, classes == _S, classes == _Q)
    ventricular = _f1(told == _V, classes == _V, (classes == _F) | (classes == _Q))
    return float(np.mean(told == classes) + (supraventricular + ventricular) / 2)


def _f1(told: NDArray[np.bool_], true: NDArray[np.bool_], no_alarm: NDArray[np.bool_]) -> float:
    """EC57: what is `no_alarm` counts for nothing when it is told."""
    hits = int((told & true).sum())
    alarms = int((told & ~true & ~no_alarm).sum())
    return 2 * hits / max(int(true.sum()) + hits + alarms, 1)


def _per_class(offsets: Scores) -> PerClass:
    normal, supra, ventricular, fusion, other = (float(o - offsets[0]) for o in offsets)
    return (normal, supra, ventricular, fusion, other)
