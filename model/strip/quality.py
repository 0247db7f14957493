"""The quality gate of a strip: which lead can be read in which ten seconds, and why not.

Beside the checks of the resting gate (its limit on wander is wider here, as nobody measures ST),
beats must repeat, and two detectors that fail differently must find the same beats
(bSQI: Li, Mark, Clifford, Physiol Meas 29:15, 2008). The second one compares two moving averages
of the squared QRS band (Elgendi, PLoS ONE 8(9):e73557, 2013) and knows neither running heights nor
intervals. It takes what follows within 0.3 s for the same beat: of a faster heart the waves
themselves have to speak (`model.strip.waves`). A window whose every lead fails gets no answer, and
neither does one without a heart rate that a heart can have.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from model.beats import Array, Mask, Samples, detect_each_and_all, detect_r_peaks
from model.ec57 import WINDOW_S as MATCH_S
from model.ec57 import match_beats
from model.quality import (
    BASELINE_S,
    FLAT_RANGE_MV,
    FLAT_SHARE,
    MAX_HIGH_FREQUENCY_MV,
    MAX_MISSING_SHARE,
    MAX_OFFSET_MV,
    MIN_BEATS,
    block_means,
    filled,
    high_frequency_mv,
    repeatability_db,
    saturated,
    second_ranges_mv,
)
from model.signal import bandpass
from model.strip.waves import Places, fast_and_regular, no_qrs

WINDOW_S = 10.0
MAX_WANDER_MV = 6.0  # beats are found and told apart above it; NSTDB's wander at -6 dB exceeds it
# Stricter than for twelve leads, which bear each other out: electrode motion looks like beats to
# both detectors. Set on DS1's minutes 5-7, clean and with NSTDB noise: clean windows all pass.
MIN_AGREEMENT = 0.8  # of the beats that either detector found, both did
MIN_REPEATABILITY_DB = 6.0
MIN_RATE_PER_MIN, MAX_RATE_PER_MIN = 20.0, 300.0
# The first that applies is given.
LEAD_FAULTS = (
    "lead-missing-samples",
    "flat-line",
    "saturated",
    "lead-off",
    "baseline",
    "noise",
    "detectors-disagree",
)
WINDOW_FAULTS = ("no-readable-lead", "heart-rate-out-of-range")

_BAND_HZ = (8.0, 20.0)
_QRS_S, _BEAT_S = 0.097, 0.611
_OFFSET_SHARE = 0.08
_MERGE_S = 0.3


@dataclass(frozen=True, eq=False)
class StripQuality:
    """Verdicts on W windows; the last is longer than WINDOW_S, or the only one shorter.

    Attributes:
        starts: `(W,)` first samples.
        lead_faults: `(W, n_leads)` codes of LEAD_FAULTS, or empty where the lead can be read.
        window_faults: `(W,)` codes of WINDOW_FAULTS, or empty where there is an answer.
        agreement: `(W, n_leads)` share of beats that both detectors found, 0 to 1.
        n_samples: length of the strip.
        beats: samples of the R peaks that the readable leads show together.
    """

    starts: Samples
    lead_faults: NDArray[np.str_]
    window_faults: NDArray[np.str_]
    agreement: Array
    n_samples: int
    beats: Samples

    @property
    def answered(self) -> Mask:
        """`(W,)` windows that can be judged."""
        answered: Mask = np.equal(self.window_faults, "")
        return answered

    def at(self, samples: Samples) -> Samples:
        """Window of each sample, `(n,)`."""
        return np.searchsorted(self.starts, samples, side="right") - 1

    def readable(self, voltage_mv: Array) -> Array:
        """Copy `(n_leads, n_samples)` with NaN where a lead cannot be read."""
        shown = np.array(voltage_mv, np.float32)
        ends = np.append(self.starts[1:], self.n_samples)
        for window, lead in zip(*np.nonzero(self.lead_faults != ""), strict=True):
            shown[lead, self.starts[window] : ends[window]] = np.nan
        return shown


def assess_strip(voltage_mv: Array, sampling_rate_hz: float) -> StripQuality:
    """Judge `(n_leads, n_samples)` in windows of WINDOW_S.

    Raises:
        EcgError: as `detect_r_peaks`.
    """
    n_samples = voltage_mv.shape[1]
    peaks, together = detect_each_and_all(voltage_mv, sampling_rate_hz)
    starts = _starts(n_samples, sampling_rate_hz)
    agreement = np.stack(
        [
            _agreement(first, _second_opinion(row, sampling_rate_hz), starts, sampling_rate_hz)
            for first, row in zip(peaks, voltage_mv, strict=True)
        ],
        axis=1,
    )
    faults = _lead_faults(voltage_mv, starts, peaks, agreement, sampling_rate_hz)
    unjudged, nobody = np.full(len(starts), "", "<U32"), np.zeros(0, np.int64)
    quality = StripQuality(starts, faults, unjudged, agreement, n_samples, nobody)
    if (faults != "").any():
        together = detect_r_peaks(quality.readable(voltage_mv), sampling_rate_hz)
    return _with_window_faults(replace(quality, beats=together), sampling_rate_hz)


def _starts(n_samples: int, rate_hz: float) -> Samples:
    size = round(WINDOW_S * rate_hz)
    return np.arange(max(n_samples // size, 1), dtype=np.int64) * size


def _lead_faults(
    voltage_mv: Array, starts: Samples, peaks: list[Samples], agreement: Array, rate_hz: float
) -> NDArray[np.str_]:
    """The first fault of each window and lead; memory holds one window at a time."""
    faults = np.full(agreement.shape, "", "<U32")
    ends = np.append(starts[1:], voltage_mv.shape[1])
    for window, (first, last) in enumerate(zip(starts, ends, strict=True)):
        beats = [found[slice(*np.searchsorted(found, [first, last]))] - first for found in peaks]
        masks = _signal_faults(voltage_mv[:, first:last], beats, agreement[window], rate_hz)
        for code, mask in reversed(list(zip(LEAD_FAULTS, masks, strict=True))):
            faults[window, mask] = code
    return faults


def _signal_faults(
    voltage_mv: Array, beats: list[Samples], agreement: Array, rate_hz: float
) -> list[Mask]:
    """Masks `(n_leads,)` of LEAD_FAULTS of one window; `beats` and `agreement` by lead."""
    missing = np.isnan(voltage_mv)
    whole_mv = filled(voltage_mv, missing)
    grid_mv, grid_hz = block_means(whole_mv, rate_hz)
    baseline_mv = uniform_filter1d(grid_mv, round(BASELINE_S * grid_hz), axis=1, mode="nearest")
    ranges_mv = second_ranges_mv(grid_mv, min(round(grid_hz), grid_mv.shape[1]))
    on_grid = [np.round(found * (grid_hz / rate_hz)).astype(np.intp) for found in beats]
    rows = list(zip(grid_mv - baseline_mv, on_grid, strict=True))
    disagree = agreement < MIN_AGREEMENT
    for lead in np.flatnonzero(disagree):
        disagree[lead] = not fast_and_regular(*rows[lead], grid_hz)
    return [
        missing.mean(axis=1) > MAX_MISSING_SHARE,
        (ranges_mv < FLAT_RANGE_MV).mean(axis=1) > FLAT_SHARE,
        saturated(whole_mv),
        np.abs(np.median(grid_mv, axis=1)) > MAX_OFFSET_MV,
        np.ptp(baseline_mv, axis=1) > MAX_WANDER_MV,
        (high_frequency_mv(grid_mv) > MAX_HIGH_FREQUENCY_MV)
        | np.array([_unlike(*row, grid_hz) or no_qrs(*row, grid_hz) for row in rows]),
        disagree,
    ]


def _unlike(row_mv: Array, beats: Places, rate_hz: float) -> bool:
    """Whether one lead's beats do not repeat; too few to tell pass, the heart may be slow."""
    if len(beats) <= MIN_BEATS:
        return False
    return bool(MIN_REPEATABILITY_DB > repeatability_db(row_mv[None], beats, rate_hz)[0] > -np.inf)


def _with_window_faults(quality: StripQuality, rate_hz: float) -> StripQuality:
    """Judge the windows by the beats that the readable leads show together."""
    faults = quality.window_faults.copy()
    faults[~_rate_possible(quality.beats, quality, rate_hz)] = "heart-rate-out-of-range"
    faults[(quality.lead_faults != "").all(axis=1)] = "no-readable-lead"
    return replace(quality, window_faults=faults)


def _rate_possible(beats: Samples, quality: StripQuality, rate_hz: float) -> Mask:
    ends = np.append(quality.starts[1:], quality.n_samples)
    n_beats = np.searchsorted(beats, ends) - np.searchsorted(beats, quality.starts)
    per_min = n_beats / ((ends - quality.starts) / rate_hz) * 60
    possible: Mask = (per_min >= MIN_RATE_PER_MIN) & (per_min <= MAX_RATE_PER_MIN)
    return possible


def _agreement(first: Samples, second: Samples, starts: Samples, rate_hz: float) -> Array:
    """Beats that both found over beats that either found, for each window; 1 where none did."""
    both, _ = match_beats(first, second, round(MATCH_S * rate_hz))
    either = _count(first, starts) + _count(second, starts)
    agreed = _count(first[both], starts)
    return np.where(either > 0, agreed / np.maximum(either - agreed, 1), 1).astype(np.float32)


def _count(beats: Samples, starts: Samples) -> Samples:
    return np.bincount(np.searchsorted(starts, beats, side="right") - 1, minlength=len(starts))


def _second_opinion(row_mv: Array, rate_hz: float) -> Samples:
    """Beats of one lead `(n,)`: where energy over a QRS exceeds that over a beat, a QRS long."""
    grid_mv, grid_hz = block_means(filled(row_mv[None], np.isnan(row_mv)[None]), rate_hz)
    pad = min(round(grid_hz), grid_mv.shape[1] - 1)
    power = bandpass(2, *_BAND_HZ, grid_hz)(grid_mv[0], pad) ** 2
    qrs, beat = (uniform_filter1d(power, round(s * grid_hz)) for s in (_QRS_S, _BEAT_S))
    around = uniform_filter1d(power, round(WINDOW_S * grid_hz))
    above = qrs > beat + _OFFSET_SHARE * around
    edges = np.diff(above.astype(np.int8), prepend=0, append=0)
    begins, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    long_enough = ends - begins >= _QRS_S * grid_hz
    centres = ((begins + ends) / 2)[long_enough]
    centres = centres[np.diff(centres, prepend=-np.inf) > _MERGE_S * grid_hz]
    return np.round((centres + 0.5) * (rate_hz / grid_hz)).astype(np.int64)
