"""From any ECG to what the networks read: 12 leads, 100 Hz, no baseline wander, no guesses."""

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy import signal

from model.ecg import LEADS_12, Ecg

Samples = NDArray[np.float32]
Visible = NDArray[np.bool_]

RATE_HZ = 100
BASELINE_CUTOFF_HZ = (
    0.5  # zero phase; AHA/ACC/HRS 2007 part I allows up to 0.67 Hz without ST shift
)
_BLOCK = (
    40  # output samples made together: longer blocks multiply more zeros, shorter ones copy more
)
_BASELINE_PAD = 2 * RATE_HZ  # 2 s of odd reflection: one period of the cut-off

# Einthoven and Goldberger: each limb lead from a pair of others, in the order they are tried.
_LIMB_ARITHMETIC: dict[str, tuple[tuple[tuple[float, str], tuple[float, str]], ...]] = {
    "III": (((1.0, "II"), (-1.0, "I")),),
    "II": (((1.0, "I"), (1.0, "III")),),
    "I": (((1.0, "II"), (-1.0, "III")),),
    "aVR": (((-0.5, "I"), (-0.5, "II")),),
    "aVL": (((0.5, "I"), (-0.5, "III")),),
    "aVF": (((0.5, "II"), (0.5, "III")),),
}


@dataclass(frozen=True, eq=False)
class Prepared:
    """An ECG as the networks read it.

    Attributes:
        voltage_mv: `(12, n_steps)` at RATE_HZ in the order of LEADS_12; 0 where not visible.
        visible: `(12, n_steps)`; False where the sender had no value or the lead is missing.
    """

    voltage_mv: Samples
    visible: Visible


class ZeroPhase:
    """A filter that runs forth and back, so that nothing shifts.

    Gives what scipy's sosfiltfilt gives, which looks for the settled state anew each time: that
    takes longer than to filter an ECG.
    """

    def __init__(self, sections: NDArray[np.float64]) -> None:
        self._sections = sections
        self._settled = signal.sosfilt_zi(sections)

    def __call__(self, values: NDArray[np.floating], pad: int) -> NDArray[np.float64]:
        """Filter `(..., n)`; `pad` samples below n are reflected through either end."""
        n = values.shape[-1]
        before = 2 * values[..., :1] - values[..., pad:0:-1]
        after = 2 * values[..., -1:] - values[..., -2 : -pad - 2 : -1]
        forth = self._run(np.concatenate([before, values, after], axis=-1))
        return self._run(forth[..., ::-1])[..., ::-1][..., pad : pad + n]

    def _run(self, values: NDArray[np.floating]) -> NDArray[np.float64]:
        ones = (1,) * (values.ndim - 1)
        state = self._settled.reshape(-1, *ones, 2) * values[..., :1]
        filtered: NDArray[np.float64] = signal.sosfilt(self._sections, values, zi=state)[0]
        return filtered


_BASELINE = ZeroPhase(
    signal.butter(2, BASELINE_CUTOFF_HZ, "highpass", fs=RATE_HZ, output="sos"),
)


@lru_cache(maxsize=64)
def bandpass(order: int, low_hz: float, high_hz: float, rate_hz: float) -> ZeroPhase:
    """Return a Butterworth filter; designing it takes longer than filtering an ECG."""
    return ZeroPhase(signal.butter(order, (low_hz, high_hz), "bandpass", fs=rate_hz, output="sos"))


def prepare(ecg: Ecg, masked_leads: frozenset[str] = frozenset()) -> Prepared:
    """Resample, remove the baseline, complete the limb leads; `masked_leads` count as missing."""
    keep = [i for i, lead in enumerate(ecg.leads) if lead not in masked_leads]
    known = ~np.isnan(ecg.voltage_mv[keep])
    voltage = resample(bridge_gaps(ecg.voltage_mv[keep], known), ecg.sampling_rate_hz)
    visible = _resample_visible(known, voltage.shape[1], ecg.sampling_rate_hz)
    rows = dict(zip((ecg.leads[i] for i in keep), zip(voltage, visible, strict=True), strict=True))
    _complete_limb_leads(rows)
    prepared = Prepared(
        np.zeros((12, voltage.shape[1]), np.float32), np.zeros((12, voltage.shape[1]), np.bool_)
    )
    for lead, (samples, seen) in rows.items():
        prepared.voltage_mv[LEADS_12.index(lead)] = samples
        prepared.visible[LEADS_12.index(lead)] = seen
    filtered = remove_baseline(prepared.voltage_mv)
    return Prepared(np.where(prepared.visible, filtered, np.float32(0)), prepared.visible)


def resample(voltage_mv: Samples, rate_hz: float) -> Samples:
    """Bring `(..., n_samples)` at `rate_hz` to RATE_HZ by a polyphase filter (anti-aliased).

    The filter is that of scipy's `resample_poly`, several times faster: one matrix makes a block of
    output of a block of input. A line through both ends is taken off before and put back after, so
    that an offset makes neither a step at the ends nor a ripple between the filter's phases.
    """
    ratio = Fraction(RATE_HZ / rate_hz).limit_denominator(1_000)
    if ratio == 1:
        return voltage_mv.astype(np.float32, copy=False)
    matrix, reach = _resampling_matrix(ratio)
    n_in, n_out = len(matrix) - 2 * reach, matrix.shape[1]
    n = voltage_mv.shape[-1]
    total = math.ceil(n * ratio)
    first = voltage_mv[..., :1]
    slope = (voltage_mv[..., -1:] - first) / np.float32(max(n - 1, 1))
    blocks = math.ceil(total / n_out)
    padded = np.zeros((*voltage_mv.shape[:-1], blocks * n_in + 2 * reach), np.float32)
    padded[..., reach : reach + n] = voltage_mv - (first + slope * np.arange(n, dtype=np.float32))
    pieces = sliding_window_view(padded, len(matrix), axis=-1)[..., ::n_in, :] @ matrix
    level = pieces.reshape(*voltage_mv.shape[:-1], -1)[..., :total]
    line = first + slope * (np.arange(total) / float(ratio)).astype(np.float32)
    resampled: Samples = level + line
    return resampled


def remove_baseline(voltage_mv: Samples) -> Samples:
    """Take wander below BASELINE_CUTOFF_HZ out of `(..., n_steps)` at RATE_HZ, with zero phase."""
    pad = min(_BASELINE_PAD, voltage_mv.shape[-1] - 1)
    return _BASELINE(voltage_mv, pad).astype(np.float32)


def whole_steps(prepared: Prepared, stride: int) -> Prepared:
    """Fill up to a multiple of `stride` with samples that are not visible."""
    fill = ((0, 0), (0, -prepared.voltage_mv.shape[1] % stride))
    return Prepared(np.pad(prepared.voltage_mv, fill), np.pad(prepared.visible, fill))


def windows(prepared: Prepared, n_steps: int) -> list[tuple[int, Prepared]]:
    """Cut into pieces of `n_steps` as (first step, piece); the last one ends with the ECG.

    A shorter ECG becomes one piece, filled up with samples that are not visible.
    """
    total = prepared.voltage_mv.shape[1]
    if total < n_steps:
        return [(0, whole_steps(prepared, n_steps))]
    starts = [*range(0, total - n_steps, n_steps), total - n_steps]
    return [
        (s, Prepared(prepared.voltage_mv[:, s : s + n_steps], prepared.visible[:, s : s + n_steps]))
        for s in starts
    ]


@lru_cache(maxsize=32)
def _resampling_matrix(ratio: Fraction) -> tuple[Samples, int]:
    """Filter that makes a block of output, and how far it reads beyond its block on either side.

    The filter is scipy's: a Kaiser window (beta 5) of 20 periods of the lower rate. A block starts
    where input and output samples meet.
    """
    up, down = ratio.numerator, ratio.denominator
    half = 10 * max(up, down)
    taps = up * signal.firwin(2 * half + 1, 1 / max(up, down), window=("kaiser", 5.0))
    reach = half // up + 1
    meetings = math.ceil(_BLOCK / up)
    inputs = np.arange(-reach, meetings * down + reach)[:, None]
    tap = half + np.arange(meetings * up) * down - inputs * up
    inside = (tap >= 0) & (tap < len(taps))
    return np.where(inside, taps[np.where(inside, tap, 0)], 0).astype(np.float32), reach


def bridge_gaps(voltage_mv: Samples, known: Visible) -> Samples:
    """Join the ends of missing stretches by lines: they stay invisible, and filters do not ring."""
    if known.all():
        return voltage_mv
    bridged = np.zeros_like(voltage_mv)
    steps = np.arange(voltage_mv.shape[1])
    for row, seen, out in zip(voltage_mv, known, bridged, strict=True):
        if seen.any():
            out[:] = np.interp(steps, steps[seen], row[seen])
    return bridged


def _resample_visible(known: Visible, n_steps: int, rate_hz: float) -> Visible:
    if known.all():
        return np.ones((known.shape[0], n_steps), np.bool_)
    source = np.minimum((np.arange(n_steps) * rate_hz / RATE_HZ).astype(int), known.shape[1] - 1)
    return known[:, source]


def _complete_limb_leads(rows: dict[str, tuple[Samples, Visible]]) -> None:
    for lead, pairs in _LIMB_ARITHMETIC.items():
        for (a, first), (b, second) in pairs:
            if lead not in rows and first in rows and second in rows:
                samples = np.float32(a) * rows[first][0] + np.float32(b) * rows[second][0]
                rows[lead] = (samples, rows[first][1] & rows[second][1])
