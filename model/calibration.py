"""From a network's logits to probabilities, and from probabilities to named operating points."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from model.metrics import Labels, Scores

MIN_SENSITIVITY_SCREENING = 0.95
MAX_FALSE_POSITIVE_RATE_SPECIFIC = 0.05
_RIDGE = 1e-3  # on standardised scores: keeps separable data from infinite slopes


def calibrates(patients: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Of validation patients `(n,)`, those on whom everything is fitted: even numbers."""
    chosen: NDArray[np.bool_] = patients % 2 == 0
    return chosen


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold, and what it did on the patients it was chosen on."""

    threshold: float
    sensitivity: float
    false_positive_rate: float


@dataclass(frozen=True)
class Logistic:
    """`expit(weights . scores + intercept)`; with one weight, Platt's calibration (1999)."""

    weights: tuple[float, ...]
    intercept: float

    def __call__(self, scores: Scores) -> Scores:
        """Probabilities `(n,)` of `(n, k)` scores."""
        probabilities: Scores = expit(self.decision(scores))
        return probabilities

    def decision(self, scores: Scores) -> Scores:
        """Log odds `(n,)` of `(n, k)` scores."""
        odds: Scores = scores @ np.array(self.weights) + self.intercept
        return odds


def fit_logistic(labels: Labels, scores: Scores) -> Logistic:
    """Maximum likelihood for `(n,)` labels and `(n, k)` scores, weights not below zero.

    More of any score never lowers the probability, so a calibrated ranking is the network's own.
    """
    mean, spread = scores.mean(axis=0), scores.std(axis=0) + 1e-12
    z = (scores - mean) / spread

    def loss(beta: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        odds = z @ beta[1:] + beta[0]
        value = np.mean(np.logaddexp(0, odds) - labels * odds) + _RIDGE * np.sum(beta[1:] ** 2)
        error = (expit(odds) - labels) / len(labels)
        slope = np.concatenate([[error.sum()], z.T @ error + 2 * _RIDGE * beta[1:]])
        return float(value), slope

    k = scores.shape[1]
    bounds = [(None, None), *[(0.0, None)] * k]
    beta = minimize(loss, np.zeros(k + 1), jac=True, method="L-BFGS-B", bounds=bounds).x
    weights = beta[1:] / spread
    return Logistic(tuple(float(w) for w in weights), float(beta[0] - weights @ mean))


def operating_points(labels: Labels, probabilities: Scores) -> dict[str, OperatingPoint]:
    """Three thresholds by name.

    `screening`: the highest with a sensitivity of at least 0.95. `specific`: the lowest with a
    false-positive rate of at most 0.05. `balanced`: the largest sum of sensitivity and
    specificity (Youden, 1950).
    """
    thresholds = np.unique(probabilities)
    above_positive = _share_at_or_above(probabilities[labels], thresholds)
    above_negative = _share_at_or_above(probabilities[~labels], thresholds)
    sensitive = np.flatnonzero(above_positive >= MIN_SENSITIVITY_SCREENING)
    specific = np.flatnonzero(above_negative <= MAX_FALSE_POSITIVE_RATE_SPECIFIC)
    chosen = {
        "screening": int(sensitive[-1]),
        "balanced": int(np.argmax(above_positive - above_negative)),
        "specific": int(specific[0]) if len(specific) else len(thresholds) - 1,
    }
    return {
        name: OperatingPoint(
            float(thresholds[i]), float(above_positive[i]), float(above_negative[i])
        )
        for name, i in chosen.items()
    }


def _share_at_or_above(values: Scores, thresholds: Scores) -> Scores:
    below = np.searchsorted(np.sort(values), thresholds, side="left")
    return 1.0 - below / max(len(values), 1)
