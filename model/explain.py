"""Where in the ECG a finding comes from: attention per type, residual per lead, intervals.

An interval of a type is a run of steps that each hold at least PEAK times the attention an even
spread would give; its weight is its share of the type's attention. Its lead is the one whose
waveform moved the type's logit most there: |gradient x voltage|, summed over the interval
(Shrikumar et al., 2016). An interval of `anomaly` is such a run of the restoration residual, all
leads together; its lead is the one with the largest residual.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.ecg import LEADS_12
from model.findings import Interval
from model.resting.settings import STEP_S

Steps = NDArray[np.floating[Any]]

ANOMALY = "anomaly"
PEAK = 2.0
MAX_INTERVALS_PER_TYPE = 3
MAX_INTERVALS = 12
_MIN_WEIGHT = 0.02


@dataclass(frozen=True, eq=False)
class Evidence:
    """One finding's strongest window; its S steps are those that the ECG has.

    Attributes:
        code: a type, or ANOMALY.
        first_step: where the window starts in the ECG.
        weights: `(S,)`, at least 0.
        influence: `(12, S)`, how much each lead mattered at each step.
    """

    code: str
    first_step: int
    weights: Steps
    influence: Steps


def runs(weights: Steps) -> list[tuple[int, int]]:
    """Runs (first step, past the last) of `(S,)` at PEAK times the mean or more, heaviest first."""
    high = np.concatenate([[False], weights >= PEAK * weights.mean(), [False]])
    edges = np.flatnonzero(high[1:] != high[:-1])
    pairs = [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]
    return sorted(pairs, key=lambda run: -weights[run[0] : run[1]].sum())


def intervals(evidence: Sequence[Evidence]) -> tuple[Interval, ...]:
    """The stretches worth looking at, strongest first."""
    found = []
    for e in evidence:
        share = e.weights / max(float(e.weights.sum()), 1e-12)
        for first, past in runs(share)[:MAX_INTERVALS_PER_TYPE]:
            lead = int(np.argmax(e.influence[:, first:past].sum(axis=1)))
            start, end = e.first_step + first, e.first_step + past
            weight = float(share[first:past].sum())
            found.append(Interval(start * STEP_S, end * STEP_S, LEADS_12[lead], weight, e.code))
    worth = [interval for interval in found if interval.weight >= _MIN_WEIGHT]
    return tuple(sorted(worth, key=lambda i: -i.weight)[:MAX_INTERVALS])


def shared(attention: Steps, probabilities: NDArray[np.float64], starts: list[int]) -> Steps:
    """One map over the whole ECG from windows `(W, S)`, each weighted by its probability `(W,)`.

    It sums to 1 as the windows' own maps do.
    """
    whole = np.zeros(starts[-1] + attention.shape[1])
    for window, probability, start in zip(attention, probabilities, starts, strict=True):
        whole[start : start + len(window)] += window * probability
    share: Steps = whole / whole.sum()
    return share


def joined(residual_mv: Steps, starts: list[int]) -> Steps:
    """Windows `(W, 12, S)` side by side, `(12, S_whole)`; where two overlap the later one stays."""
    whole = np.zeros((residual_mv.shape[1], starts[-1] + residual_mv.shape[2]))
    for window, start in zip(residual_mv, starts, strict=True):
        whole[:, start : start + window.shape[1]] = window
    return whole
