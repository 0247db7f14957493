"""Where the beats are: R peaks in any leads at any rate.

Each lead's energy in the QRS band is divided by its own running height, so that neither gain nor
polarity nor the choice of leads matters; the leads are averaged, each by how far its QRS stands
out. Peaks of that one curve are beats where they pass a threshold between the running heights of
beats and of what lies between them (the two levels of Pan and Tompkins, IEEE Trans Biomed Eng
32:230, 1985, here with the future known too). Missing beats are sought again with a lower one.

All parameters were chosen on MIT-BIH DS1 and its paced records. Long recordings are read in pieces.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter, percentile_filter, uniform_filter1d
from scipy.signal import find_peaks

from model.errors import EcgError
from model.signal import bandpass, bridge_gaps

Array = NDArray[np.float32]
Curve = NDArray[np.float64]
Samples = NDArray[np.int64]
Mask = NDArray[np.bool_]

MIN_RATE_HZ, MAX_RATE_HZ = 100.0, 1_000.0
MIN_RR_S = 0.2  # absolute refractory period of the ventricles: 300 beats a minute

_GRID_HZ = 125.0  # block means down to 100-250 Hz: QRS holds little above 40 Hz
_PIECE_S, _MARGIN_S = 600.0, 20.0  # the margin is longer than anything that looks around

_BAND_HZ = (6.0, 25.0)
_ENERGY_S = 0.06  # a narrow QRS; a broad one is still one hump
_SLOPE_HZ = 20.0  # where voltage and slope weigh the same

_BLOCK_S, _BLOCKS = 1.2, 9  # a block holds a beat at 50 a minute; about ten seconds around
_HEIGHT_PERCENTILE = 50  # of the blocks' maxima
_MIN_HEIGHT_MV = 0.03  # energy of the smallest QRS worth the name; noise of amplifiers lies below
_MIN_RELATIVE_HEIGHT = 0.3  # of the piece's typical height: a pause is not filled with its noise
_MIN_TOGETHER = 0.5  # of the height that every lead's beats have
_MAX_LEAD_SHARE = 1.2  # no artefact speaks louder than a beat
_MAX_PROMINENCE = 10.0  # height over rest of a lead without noise

_CANDIDATE, _CLEAR = 0.12, 0.35  # of the running height
_PASSES, _MIN_BEATS = 3, 4  # levels of fewer beats say nothing
_LEVEL_BEATS = 15
_BEAT_PERCENTILE = 40
_THRESHOLD, _SECOND_THRESHOLD = 0.40, 0.25  # of the way from rest to beats
_T_WAVE_S, _T_WAVE_HEIGHT = 0.36, 0.70  # after a beat, and of its height: a T wave
_LONG_RR, _RR_BEATS, _SEARCHES = 1.66, 9, 3  # a gap to search, in running median intervals
_SEARCH_AFTER_S, _SEARCH_BEFORE_S = 0.36, 0.36
_PEAK_S = 0.08


def detect_r_peaks(voltage_mv: Array, sampling_rate_hz: float) -> Samples:
    """Find the beats of `(n_leads, n_samples)` in millivolts; NaN where there is no value.

    Returns:
        Samples of the R peaks (or of the largest wave of QRS), ascending, `(n_beats,)`.

    Raises:
        EcgError: `samples-malformed`, or `rate-out-of-range` outside 100-1000 Hz.
    """
    return _detected(voltage_mv, sampling_rate_hz, [slice(None)])[0]


def detect_each_and_all(
    voltage_mv: Array, sampling_rate_hz: float
) -> tuple[list[Samples], Samples]:
    """As `detect_r_peaks` of each lead alone, and of all leads; what both need is made once."""
    n_leads = len(voltage_mv)
    groups = [slice(lead, lead + 1) for lead in range(n_leads)]
    if n_leads > 1:
        groups.append(slice(None))
    found = _detected(voltage_mv, sampling_rate_hz, groups)
    return found[:n_leads], found[-1]


def _detected(voltage_mv: Array, rate_hz: float, groups: Sequence[slice]) -> list[Samples]:
    """R peaks by group of leads."""
    if voltage_mv.ndim != 2 or 0 in voltage_mv.shape:
        raise EcgError("samples-malformed", "voltage_mv must be (n_leads, n_samples), not empty")
    if not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
        raise EcgError("rate-out-of-range", f"{rate_hz:g} Hz")
    size = int(rate_hz // _GRID_HZ) or 1
    n_samples, grid_hz = voltage_mv.shape[1], rate_hz / size
    by_piece = []
    for first, last in _pieces(n_samples, rate_hz, size):
        found = _grid_peaks(*_grid(voltage_mv[:, first:last], size), grid_hz, groups)
        by_piece.append([(peaks + 0.5) * size - 0.5 + first for peaks in found])
    by_group = zip(*by_piece, strict=True)
    return [_joined([*pieces], n_samples, rate_hz, size) for pieces in by_group]


def _pieces(n_samples: int, rate_hz: float, size: int) -> Iterator[tuple[int, int]]:
    """First and last sample of overlapping pieces, on whole blocks."""
    step, margin = (round(seconds * rate_hz / size) * size for seconds in (_PIECE_S, _MARGIN_S))
    for first in range(0, max(n_samples - margin, 1), step):
        yield max(first - margin, 0), min(first + step + margin, n_samples)


def _joined(found: list[Curve], n_samples: int, rate_hz: float, size: int) -> Samples:
    """Take each piece's beats from the middle of one overlap to the middle of the next."""
    pieces = list(_pieces(n_samples, rate_hz, size))
    cuts = [0.0, *((b[0] + a[1]) / 2 for a, b in pairwise(pieces)), np.inf]
    kept = [
        peaks[(peaks >= low) & (peaks < high)]
        for peaks, (low, high) in zip(found, pairwise(cuts), strict=True)
    ]
    peaks = np.clip(np.round(np.concatenate(kept)), 0, n_samples - 1).astype(np.int64)
    # A peak at the cut may have been placed on either side of it, by either piece.
    return peaks[np.diff(peaks, prepend=-n_samples) >= MIN_RR_S * rate_hz / 2]


def _grid(voltage_mv: Array, size: int) -> tuple[Array, Mask]:
    """Means of blocks of `size` samples, gaps filled by lines, and where all samples are known."""
    known = ~np.isnan(voltage_mv)
    short = ((0, 0), (0, -voltage_mv.shape[1] % size))
    filled = np.pad(bridge_gaps(voltage_mv, known), short, mode="edge")
    # Sums of slices: numpy's own reduction over so short an axis takes several times longer.
    total = sum((filled[:, k::size] for k in range(1, size)), filled[:, ::size])
    known = np.pad(known, short, mode="edge")
    whole = np.logical_and.reduce([known[:, k::size] for k in range(size)])
    return total / np.float32(size), whole


def _grid_peaks(
    grid_mv: Array, known: Mask, grid_hz: float, groups: Sequence[slice]
) -> list[Curve]:
    """R peaks of one piece `(n_leads, n)`, by group of leads, as positions on its grid."""
    if grid_mv.shape[1] < MIN_RR_S * grid_hz:
        return [np.zeros(0) for _ in groups]
    pad = min(round(grid_hz), grid_mv.shape[1] - 1)
    qrs_mv = bandpass(2, *_BAND_HZ, grid_hz)(grid_mv, pad)
    energy_mv = _energy(qrs_mv, grid_hz)
    height_mv = _running_height(energy_mv, grid_hz, least=_MIN_HEIGHT_MV)
    prominence = _prominence(energy_mv, height_mv, known, grid_hz)
    energy = np.minimum(energy_mv / height_mv, _MAX_LEAD_SHARE)
    wave = np.abs(qrs_mv) / height_mv
    return [_peaks_among(energy[g], wave[g], prominence[g], grid_hz) for g in groups]


def _peaks_among(energy: Curve, wave: Curve, prominence: Curve, grid_hz: float) -> Curve:
    """R peaks that some leads `(n_leads, n)` show together, between steps of the grid too."""
    weight = prominence / np.maximum(prominence.sum(axis=0), 1e-9)
    energy = (energy * weight).sum(axis=0)
    energy = energy / _running_height(energy[None], grid_hz, least=_MIN_TOGETHER)[0]
    candidates, _ = find_peaks(energy, height=_CANDIDATE, distance=round(MIN_RR_S * grid_hz))
    beats = candidates[_beats_among(candidates / grid_hz, energy[candidates])]
    return _largest_wave((wave * weight).sum(axis=0), beats, grid_hz)


def _energy(qrs_mv: Curve, grid_hz: float) -> Curve:
    """Root of the mean of squared voltage and slope over a QRS, in millivolts."""
    slope_mv = np.gradient(qrs_mv, axis=1) * (grid_hz / (2 * np.pi * _SLOPE_HZ))
    mean = uniform_filter1d(qrs_mv**2 + slope_mv**2, round(_ENERGY_S * grid_hz), axis=1)
    energy: Curve = np.sqrt(np.maximum(mean, 0))
    return energy


def _prominence(energy_mv: Curve, height_mv: Curve, known: Mask, grid_hz: float) -> Curve:
    """What each lead counts at each moment beside others: how far QRS stands out of it."""
    rest_mv = _running(np.median(_blocks(energy_mv, grid_hz), axis=2), energy_mv.shape[1], 50)
    prominence = np.minimum(height_mv / np.maximum(rest_mv, 1e-6), _MAX_PROMINENCE)
    prominence[height_mv <= _MIN_HEIGHT_MV] = 1e-6
    prominence *= known
    return prominence


def _running_height(curve: Curve, grid_hz: float, *, least: float) -> Curve:
    """Height of the beats around each moment, `(n_leads, n)`; not far below the usual one."""
    height = _running(_blocks(curve, grid_hz).max(axis=2), curve.shape[1], _HEIGHT_PERCENTILE)
    usual = np.median(height, axis=1, keepdims=True)
    floored: Curve = np.maximum(height, np.maximum(_MIN_RELATIVE_HEIGHT * usual, least))
    return floored


def _blocks(curve: Curve, grid_hz: float) -> Curve:
    """`(n_leads, n_blocks, n_block)`: whole blocks; what is left at the end joins none."""
    size = min(round(_BLOCK_S * grid_hz), curve.shape[1])
    n_blocks = curve.shape[1] // size
    return curve[:, : n_blocks * size].reshape(len(curve), n_blocks, size)


def _running(of_blocks: Curve, n: int, percentile: float) -> Curve:
    """Percentile over neighbouring blocks `(n_leads, n_blocks)`, as lines through `n` moments."""
    width = min(_BLOCKS, of_blocks.shape[1])
    smooth = percentile_filter(of_blocks, percentile, size=(1, width), mode="nearest")
    centres = (np.arange(smooth.shape[1]) + 0.5) * (n / smooth.shape[1])
    return np.stack([np.interp(np.arange(n), centres, row) for row in smooth])


def _beats_among(times_s: Curve, heights: Curve) -> Mask:
    """Which candidates are beats, by two running levels, T waves left out, gaps searched again."""
    beats = _without_t_waves(times_s, heights, heights > _CLEAR)
    for _ in range(_PASSES):
        if beats.sum() >= _MIN_BEATS:
            clear = heights > _threshold(times_s, heights, beats, _THRESHOLD)
            beats = _without_t_waves(times_s, heights, clear)
    if beats.sum() >= _MIN_BEATS:
        possible = heights > _threshold(times_s, heights, beats, _SECOND_THRESHOLD)
        beats = _gaps_filled(times_s, heights, beats, possible)
    return beats


def _threshold(times_s: Curve, heights: Curve, beats: Mask, share: float) -> Curve:
    """A share of the way from the running height of what is no beat to that of beats."""
    chosen = np.flatnonzero(beats)
    between = np.maximum.reduceat(np.where(beats, 0, heights), chosen)
    width = min(_LEVEL_BEATS, len(chosen))
    beat = percentile_filter(heights[chosen], _BEAT_PERCENTILE, size=width, mode="nearest")
    rest = np.minimum(median_filter(between, size=width, mode="nearest"), beat)
    threshold: Curve = np.interp(times_s, times_s[chosen], rest + share * (beat - rest))
    return threshold


def _without_t_waves(times_s: Curve, heights: Curve, beats: Mask) -> Mask:
    """Drop what follows a beat closely and stands clearly lower."""
    chosen = np.flatnonzero(beats)
    close = np.diff(times_s[chosen]) < _T_WAVE_S
    lower = heights[chosen][1:] < _T_WAVE_HEIGHT * heights[chosen][:-1]
    kept = beats.copy()
    kept[chosen[1:][close & lower]] = False
    return kept


def _gaps_filled(times_s: Curve, heights: Curve, beats: Mask, possible: Mask) -> Mask:
    """Add the highest possible beat of every long gap, and again in what remains of it."""
    beats = beats.copy()
    for _ in range(_SEARCHES):
        chosen = np.flatnonzero(beats)
        rr_s = np.diff(times_s[chosen])
        usual_s = median_filter(rr_s, size=min(_RR_BEATS, len(rr_s)), mode="nearest")
        found = [
            _highest_inside(times_s, heights, possible, chosen[k], chosen[k + 1])
            for k in np.flatnonzero(rr_s > _LONG_RR * usual_s)
        ]
        added = [candidate for candidate in found if candidate >= 0]
        if not added:
            break
        beats[added] = True
    return beats


def _highest_inside(times_s: Curve, heights: Curve, possible: Mask, left: int, right: int) -> int:
    """Index of the highest possible beat well inside a gap; -1 if there is none."""
    inside = np.arange(left + 1, right)
    late = times_s[inside] - times_s[left] > _SEARCH_AFTER_S
    early = times_s[right] - times_s[inside] > _SEARCH_BEFORE_S
    inside = inside[possible[inside] & late & early]
    return int(inside[heights[inside].argmax()]) if len(inside) else -1


def _largest_wave(size: Curve, beats: Samples, grid_hz: float) -> Curve:
    """Move each beat to the top of the largest wave of its QRS, between steps."""
    if len(beats) == 0:
        return np.zeros(0)
    reach = round(_PEAK_S * grid_hz)
    around = np.clip(beats[:, None] + np.arange(-reach, reach + 1), 0, len(size) - 1)
    peaks = around[np.arange(len(beats)), size[around].argmax(axis=1)]
    before, at, after = (size[np.clip(peaks + k, 0, len(size) - 1)] for k in (-1, 0, 1))
    # Top of the parabola through the three.
    bend = np.minimum(before - 2 * at + after, -1e-12)
    shifted: Curve = peaks + np.clip((before - after) / (2 * bend), -0.5, 0.5)
    return shifted
