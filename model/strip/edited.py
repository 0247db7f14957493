"""Supraventricular beats made from normal ones: recordings whose time between beats is edited.

Few patients of DS1 have many supraventricular beats. An atrial premature beat looks like a normal
one that comes early, behind a P wave of another shape; so pieces of the rest between T and P are
taken out of regular recordings (premature beats, couplets, runs), and P waves are altered. The same
recordings get breathing and slow changes of pace too, where no beat is premature: that is normal.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter

from model.datasets.mitbih import BeatRecord
from model.findings import AAMI_CLASSES

_N, _S = AAMI_CLASSES.index("N"), AAMI_CLASSES.index("S")
_MAX_UNREST = 0.08  # median change of log RR: beyond, the rhythm is no sinus rhythm to edit
_P_BEFORE_S, _P_AFTER_S = 0.24, 0.06  # the P wave lies between these before R
_BLEND_S = 0.06
_MIN_RR_S = 0.3


def edited(record: BeatRecord, rng: np.random.Generator) -> BeatRecord | None:
    """A recording with supraventricular beats put in; None where the rhythm is irregular."""
    rr_s = np.diff(record.r_peaks) / record.sampling_rate_hz
    if len(rr_s) < 50 or np.median(np.abs(np.diff(np.log(rr_s)))) > _MAX_UNREST:
        return None
    factors, made = _plan(record.classes, rng)
    return _retimed(record, factors, made, rng)


def _plan(
    classes: NDArray[np.int64], rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """What each interval (by the beat that ends it) is multiplied with; which beats become S."""
    n = len(classes)
    breath = rng.uniform(0, 0.06) * np.sin(2 * np.pi * np.arange(n) / rng.uniform(4, 8))
    slow = np.cumsum(rng.normal(0, 0.01, n))
    slow = np.clip(slow - median_filter(slow, 301, mode="nearest"), -0.25, 0.25)
    factors = np.exp(breath + slow)
    made = np.zeros(n, np.bool_)
    plain = classes == _N
    k = 5
    while k < n - 5:
        k += int(rng.exponential(25)) + 4
        length = int(rng.choice(np.array([1, 1, 1, 2, 3, int(rng.integers(4, 60))])))
        if k + length + 2 >= n or not plain[k - 3 : k + length + 2].all():
            continue
        early, run = rng.uniform(0.5, 0.85), rng.uniform(0.5, 0.78)
        factors[k : k + length] = run * np.exp(rng.normal(0, 0.02, length))
        factors[k] = early if length == 1 else run * rng.uniform(0.85, 1.1)
        factors[k + length] = rng.uniform(0.95, 1.35)  # sinus node reset, or a pause
        made[k : k + length] = True
        k += length
    return factors, made


def _retimed(
    record: BeatRecord,
    factors: NDArray[np.float64],
    made: NDArray[np.bool_],
    rng: np.random.Generator,
) -> BeatRecord:
    """Put the beats at their new distances; a piece runs from before one P to before the next."""
    rate = record.sampling_rate_hz
    blend = round(_BLEND_S * rate)
    out: list[NDArray[np.float32]] = []
    peaks, end = [], 0
    starts = record.r_peaks - round(_P_BEFORE_S * rate)
    p_factor, in_run = 1.0, False
    for k in range(1, len(starts) - 1):
        first, last = max(int(starts[k]), 0), int(starts[k + 1])
        if last - first < 3 * blend:
            continue
        rr = record.r_peaks[k + 1] - record.r_peaks[k]
        least = max(_MIN_RR_S * rate, 3 * blend)
        wanted = int(max(rr * factors[k + 1], min(rr, least)))
        piece = record.voltage_mv[:, first:last].copy()
        if made[k]:
            p_factor = p_factor if in_run else rng.choice([-0.7, -0.3, 0.0, 0.4, 1.0, 1.5])
            _alter_p(piece, round((_P_BEFORE_S - _P_AFTER_S) * rate), p_factor)
        in_run = bool(made[k])
        out.append(_fitted(piece, record.voltage_mv[:, last : last + blend], wanted, blend))
        peaks.append(end + int(record.r_peaks[k]) - first)
        end += wanted
    kept = np.array(
        [k for k in range(1, len(starts) - 1) if starts[k + 1] - max(starts[k], 0) >= 3 * blend]
    )
    classes = np.where(made[kept], _S, record.classes[kept])
    return replace(
        record,
        voltage_mv=np.concatenate(out, axis=1),
        r_peaks=np.array(peaks, np.int64),
        classes=classes,
    )


def _alter_p(piece: NDArray[np.float32], length: int, factor: float) -> None:
    """Scale what rises above a line through the P wave's ends, in place."""
    p = piece[:, :length]
    line = np.linspace(p[:, 0], p[:, -1], length, axis=1)
    p[:] = line + np.float32(factor) * (p - line)


def _fitted(
    piece: NDArray[np.float32], following: NDArray[np.float32], wanted: int, blend: int
) -> NDArray[np.float32]:
    """Cut or stretch the end of a piece, and lead it over to where the next piece begins."""
    n = piece.shape[1]
    if wanted <= n:
        fitted = piece[:, :wanted].copy()
    else:
        # Rest between T and P is slow: its last third is stretched.
        at = np.arange(wanted, dtype=float)
        start = 2 * n // 3
        at[start:] = np.linspace(start, n - 1, wanted - start)
        left = np.minimum(at.astype(int), n - 2)
        share = (at - left).astype(np.float32)
        fitted = piece[:, left] * (1 - share) + piece[:, left + 1] * share
    # What is left of the T wave decays under the next P wave: a line closes the step.
    if following.shape[1]:
        step = following[:, :1] - fitted[:, -1:]
        ramp = np.linspace(0, 1, blend, dtype=np.float32)
        fitted[:, -blend:] += step * ramp
    return fitted
