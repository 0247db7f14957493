"""Figures of merit, in numpy; labels are bool `(n,)`, scores float `(n,)` unless said otherwise."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

Labels = NDArray[np.bool_]
Scores = NDArray[np.float64]
Rows = NDArray[np.int64]
Weights = NDArray[np.float64]

_CALIBRATION_BINS = 10


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval; NaN where it does not exist."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class AtThreshold:
    """What a threshold does; `majority` is the accuracy of always saying the commoner answer."""

    sensitivity: float
    specificity: float
    positive_predictive_value: float
    f1: float
    accuracy: float
    majority: float


def auroc(labels: Labels, scores: Scores) -> float:
    """Area under the ROC curve, ties counted half (Mann-Whitney); NaN when one class is absent."""
    n_positive = int(labels.sum())
    n_negative = len(labels) - n_positive
    if n_positive == 0 or n_negative == 0:
        return float("nan")
    rank_sum = float(rankdata(scores)[labels].sum())
    return (rank_sum - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative)


def macro_auroc(labels: Labels, scores: Scores) -> float:
    """Mean of the columns' AUROC, `(n, k)` each; columns with one class only are left out."""
    each = [auroc(labels[:, k], scores[:, k]) for k in range(labels.shape[1])]
    known = [value for value in each if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")


def average_precision(labels: Labels, scores: Scores) -> float:
    """Mean precision over the recalls as the threshold falls, equal scores taken together."""
    if not labels.any():
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    last_of_ties = np.append(np.diff(scores[order]) != 0, True)
    hits = np.cumsum(labels[order])[last_of_ties]
    precision = hits / (np.flatnonzero(last_of_ties) + 1)
    return float(np.sum(np.diff(hits, prepend=0) * precision) / labels.sum())


def roc_curve(labels: Labels, scores: Scores) -> tuple[Scores, Scores]:
    """False-positive rates and sensitivities from the highest threshold to the lowest."""
    order = np.argsort(-scores, kind="stable")
    last_of_ties = np.append(np.diff(scores[order]) != 0, True)
    hits = np.cumsum(labels[order])[last_of_ties]
    alarms = np.cumsum(~labels[order])[last_of_ties]
    start = np.zeros(1)
    return (
        np.concatenate([start, alarms / max((~labels).sum(), 1)]),
        np.concatenate([start, hits / max(labels.sum(), 1)]),
    )


def at_threshold(
    labels: Labels, scores: Scores, threshold: float, weights: Weights | None = None
) -> AtThreshold:
    """Count what lies at or above the threshold; NaN where nothing was to be counted."""
    flagged, weight = scores >= threshold, np.ones(len(labels)) if weights is None else weights
    hits, alarms = float(weight[flagged & labels].sum()), float(weight[flagged & ~labels].sum())
    positive, negative = float(weight[labels].sum()), float(weight[~labels].sum())
    return AtThreshold(
        sensitivity=_ratio(hits, positive),
        specificity=_ratio(negative - alarms, negative),
        positive_predictive_value=_ratio(hits, hits + alarms),
        f1=_ratio(2 * hits, positive + hits + alarms),
        accuracy=_ratio(hits + negative - alarms, positive + negative),
        majority=_ratio(max(positive, negative), positive + negative),
    )


def calibration_curve(labels: Labels, probabilities: Scores) -> list[tuple[float, float, int]]:
    """Mean probability, observed share and size of each filled tenth of [0, 1]."""
    bins = np.minimum((probabilities * _CALIBRATION_BINS).astype(int), _CALIBRATION_BINS - 1)
    return [
        (float(probabilities[bins == b].mean()), float(labels[bins == b].mean()), int(count))
        for b, count in enumerate(np.bincount(bins, minlength=_CALIBRATION_BINS))
        if count
    ]


def expected_calibration_error(labels: Labels, probabilities: Scores) -> float:
    """Mean distance of the calibration curve from the diagonal, weighted by size."""
    curve = calibration_curve(labels, probabilities)
    return sum(abs(mean - share) * size for mean, share, size in curve) / len(labels)


def bootstrap(
    patients: NDArray[Any],
    statistic: Callable[[Rows], float],
    *,
    n_draws: int = 500,
    seed: int = 0,
) -> Estimate:
    """Estimate a statistic of rows with a percentile interval over patients drawn with replacement.

    A patient drawn twice brings all of their ECGs twice, so that repeated ECGs of one patient do
    not pass for independent ones.
    """
    order = np.argsort(patients, kind="stable")
    _, first, size = np.unique(patients[order], return_index=True, return_counts=True)
    rows_of = np.split(order, first[1:])
    generator = np.random.default_rng(seed)
    draws = [
        statistic(
            np.concatenate([rows_of[p] for p in generator.integers(len(size), size=len(size))])
        )
        for _ in range(n_draws)
    ]
    low, high = np.nanpercentile(draws, [2.5, 97.5])
    return Estimate(statistic(np.arange(len(patients))), float(low), float(high))


def bootstrap_weights(
    patients: NDArray[Any],
    statistic: Callable[[Weights], Scores],
    *,
    n_draws: int = 500,
    seed: int = 0,
) -> list[Estimate]:
    """As `bootstrap`, for several figures at once, of rows that count as often as they were drawn.

    Args:
        patients: `(n,)`.
        statistic: figures `(k,)` of weights `(n,)`.
        n_draws: how many draws.
        seed: of the draws.
    """
    _, patient = np.unique(patients, return_inverse=True)
    n_patients = int(patient.max()) + 1
    generator = np.random.default_rng(seed)
    draws = np.stack(
        [
            statistic(np.bincount(drawn, minlength=n_patients)[patient].astype(np.float64))
            for drawn in (generator.integers(n_patients, size=n_patients) for _ in range(n_draws))
        ]
    )
    whole = statistic(np.ones(len(patient)))
    with warnings.catch_warnings(action="ignore", category=RuntimeWarning):  # nothing but NaN
        low, high = np.nanpercentile(draws, [2.5, 97.5], axis=0)
    return [Estimate(*map(float, figure)) for figure in zip(whole, low, high, strict=True)]


class Ranking:
    """Labels and scores sorted once, so that figures of weighted rows `(n,)` are cheap."""

    def __init__(self, labels: Labels, scores: Scores) -> None:
        self._order = np.argsort(-scores, kind="stable")
        ordered = scores[self._order]
        self._first = np.flatnonzero(np.append(True, np.diff(ordered) != 0)[: len(ordered)])
        self._labels = labels[self._order]

    def auroc(self, weights: Weights) -> float:
        """As `auroc`."""
        hits, alarms = self._ties(weights)
        if hits.sum() == 0 or alarms.sum() == 0:
            return float("nan")
        below = alarms.sum() - np.cumsum(alarms)
        return float((hits * (below + alarms / 2)).sum() / (hits.sum() * alarms.sum()))

    def average_precision(self, weights: Weights) -> float:
        """As `average_precision`."""
        hits, alarms = self._ties(weights)
        if hits.sum() == 0:
            return float("nan")
        above = np.cumsum(hits)
        flagged = np.maximum(above + np.cumsum(alarms), 1e-12)
        return float((hits * above / flagged).sum() / hits.sum())

    def _ties(self, weights: Weights) -> tuple[Weights, Weights]:
        """Weight of the positives and of the negatives at each score, the highest first."""
        ordered = weights[self._order]
        if not len(ordered):
            return ordered, ordered
        hits = np.add.reduceat(ordered * self._labels, self._first)
        return hits, np.add.reduceat(ordered, self._first) - hits


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")
