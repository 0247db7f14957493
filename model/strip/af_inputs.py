"""What the AF network reads of one lead: a sequence of beats, and what no beat shows alone.

A beat brings its own samples, from before the P wave to the T wave, and how its RR intervals
compare with the window's others: irregularity (differences, prematurity), and recurrence, the share
of other intervals that resemble it, which is what sample entropy counts (Lake and Moorman, Am J
Physiol 300:H319, 2011). Beside the beats stand the averaged beat (is there a P wave that repeats?),
the spread around it, and the spectrum of what is left when the averaged beat is taken out at every
R peak (f waves have 4 to 9 Hz: Bollmann et al., Europace 8:911, 2006).
"""

from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from model.signal import RATE_HZ

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]

BEFORE, AFTER = 50, 40  # samples around the R peak: P wave and half of the pause before, T after
MAX_BEATS = 48  # 240 a minute for 10 s, and some
MIN_BEATS = 3  # two intervals, the fewest that can differ

_QRS = slice(BEFORE - 8, BEFORE + 9)  # 170 ms
_TYPICAL_RR_S = 0.8
_LIKE = (0.03, 0.06, 0.12)  # two intervals are alike when their log ratio is below
_LIKE_PAIR = 0.10
_TYPICAL_CORRELATION = 0.7  # with the median QRS: below, the beat does not shape the average
_SPECTRUM_N = 128  # samples a spectrum: 0.78 Hz a line
_SPECTRUM_LINES = slice(2, 20)  # 1.6 to 14.8 Hz
_HANNING = np.hanning(_SPECTRUM_N)
_FLOOR_MV = 0.02
_CLIP = 4.0  # QRS heights: artefacts beyond say no more

N_RHYTHM = 14
N_WINDOW = 2 * (BEFORE + AFTER) + (_SPECTRUM_LINES.stop - _SPECTRUM_LINES.start) + 3


class AfInputs(NamedTuple):
    """What the network reads of n windows, K beats at most.

    Attributes:
        segments: `(n, K, BEFORE + AFTER)` samples around each R peak over the height of QRS.
        rhythm: `(n, K, N_RHYTHM)` intervals and likeness of each beat.
        window: `(n, N_WINDOW)` averaged beat, spread, spectrum, level.
        present: `(n, K)` which beats exist.
    """

    segments: Array
    rhythm: Array
    window: Array
    present: Mask


def window_inputs(trace_mv: Array, peaks: NDArray[np.int64]) -> AfInputs:
    """Describe one window of a lead, `(n_samples,)`, or of L, `(L, n_samples)`, with its R peaks.

    At RATE_HZ, without baseline. Beats beyond MAX_BEATS are left out. The result has a row a lead
    and K = the number of beats.
    """
    traces_mv, peaks = np.atleast_2d(trace_mv), peaks[:MAX_BEATS]
    segments_mv = _segments(traces_mv, peaks)
    qrs_mv = segments_mv[..., _QRS]
    likeness = _correlations(qrs_mv, np.median(qrs_mv, axis=1, keepdims=True))
    usual = np.median(likeness, axis=1, keepdims=True)
    typical = likeness > np.minimum(usual, np.float32(_TYPICAL_CORRELATION))
    typical |= ~typical.any(axis=1, keepdims=True)
    chosen = [rows[which] for rows, which in zip(segments_mv, typical, strict=True)]
    mean_mv, spread_mv = (np.stack([of(c, axis=0) for c in chosen]) for of in (np.mean, np.std))
    sizes_mv = np.ptp(qrs_mv, axis=2)
    height_mv = np.median(sizes_mv, axis=1, keepdims=True) + np.float32(_FLOOR_MV)
    residual_mv = _without_beats(traces_mv, peaks, mean_mv)
    intervals_s = np.diff(peaks) / RATE_HZ
    timing = _interval_features(intervals_s)
    pace, count = np.log(np.median(intervals_s) / _TYPICAL_RR_S), len(peaks) / MAX_BEATS
    rhythm = np.concatenate(
        [
            np.broadcast_to(timing, (len(traces_mv), *timing.shape)),
            likeness[..., None],
            np.log(sizes_mv / height_mv + 0.1)[..., None],
        ],
        axis=2,
    )
    window = np.concatenate(
        [
            mean_mv / height_mv,
            spread_mv / height_mv,
            _spectrum(residual_mv / height_mv),
            np.log(height_mv),
            np.tile([pace, count], (len(traces_mv), 1)),
        ],
        axis=1,
    )
    return AfInputs(
        segments=np.clip(segments_mv / height_mv[..., None], -_CLIP, _CLIP).astype(np.float32),
        rhythm=rhythm.astype(np.float32),
        window=np.clip(window, -10, 10).astype(np.float32),
        present=np.ones(likeness.shape, np.bool_),
    )


def stacked(parts: list[AfInputs]) -> AfInputs:
    """Windows as one batch, filled up to the longest with absent beats."""
    longest = max(part.present.shape[1] for part in parts)

    def padded(array: NDArray[np.generic]) -> NDArray[np.generic]:
        filled = np.zeros((len(array), longest, *array.shape[2:]), array.dtype)
        filled[:, : array.shape[1]] = array
        return filled

    return AfInputs(
        segments=np.concatenate([padded(p.segments) for p in parts]),
        rhythm=np.concatenate([padded(p.rhythm) for p in parts]),
        window=np.concatenate([p.window for p in parts]),
        present=np.concatenate([padded(p.present) for p in parts]),
    )


def _segments(traces_mv: Array, peaks: NDArray[np.int64]) -> Array:
    """`(L, n_beats, BEFORE + AFTER)`, each around its own median; ends repeat their last value."""
    around = np.clip(peaks[:, None] + np.arange(-BEFORE, AFTER), 0, traces_mv.shape[1] - 1)
    segments: Array = traces_mv[:, around]
    return segments - np.median(segments, axis=2, keepdims=True)


def _correlations(beats: Array, template: Array) -> Array:
    """`(L, n_beats)` of `(L, n_beats, n)` with `(L, 1, n)`."""
    beats = beats - beats.mean(axis=2, keepdims=True)
    template = template - template.mean(axis=2, keepdims=True)
    norm = np.linalg.norm(beats, axis=2) * np.linalg.norm(template, axis=2)
    correlations: Array = np.sum(beats * template, axis=2) / (norm + 1e-6)
    return correlations


def _interval_features(intervals_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """`(n_beats, N_RHYTHM - 2)` of `(n_beats - 1,)`; an interval that is not there counts as 0."""
    log_rr = np.log(np.maximum(intervals_s, 0.2) / np.median(intervals_s))
    before, after = np.append(0.0, log_rr), np.append(log_rr, 0.0)
    inner = np.ones(len(before), bool)
    inner[[0, -1]] = False
    change = np.where(inner, after - before, 0.0)
    apart = np.abs(log_rr[:, None] - log_rr)
    n_others = max(len(log_rr) - 1, 1)
    alike = [np.append(0.0, (apart < limit).sum(axis=1) - 1) / n_others for limit in _LIKE]
    pair = np.maximum(apart[:-1, :-1], apart[1:, 1:]) < _LIKE_PAIR
    pairs_alike = np.zeros(len(before))
    pairs_alike[1:-1] = (pair.sum(axis=1) - 1) / max(len(log_rr) - 2, 1)
    both = np.where(inner, np.log((np.exp(before) + np.exp(after)) / 2), 0.0)
    change_s = np.abs(np.diff(intervals_s, prepend=intervals_s[0], append=intervals_s[-1]))
    level = np.full(len(before), np.log(np.median(intervals_s) / _TYPICAL_RR_S))
    step = np.minimum(change_s, 1.0) * 5
    irregularity = [level, before, after, change, np.abs(change)]
    return np.column_stack([*irregularity, *alike, pairs_alike, both, step, inner])


def _without_beats(traces_mv: Array, peaks: NDArray[np.int64], beat_mv: Array) -> Array:
    """Take the averaged beat out at every R peak; where beats overlap, the later one's P counts."""
    n_leads, n = traces_mv.shape
    expected = np.zeros((n_leads, n + BEFORE + AFTER), np.float32)
    half_way = np.append((peaks[:-1] + peaks[1:] + 1) // 2, n)
    start = 0
    for peak, end in zip(peaks, half_way, strict=True):
        first, last = max(start, peak - BEFORE), min(end, peak + AFTER)
        expected[:, first:last] = beat_mv[:, first - peak + BEFORE : last - peak + BEFORE]
        start = end
    return traces_mv - expected[:, :n]


def _spectrum(residual: Array) -> Array:
    """Log power of residuals `(L, n)` in lines of 0.78 Hz: the median over stretches."""
    if residual.shape[1] < _SPECTRUM_N:
        residual = np.pad(residual, ((0, 0), (0, _SPECTRUM_N - residual.shape[1])))
    pieces = sliding_window_view(residual, _SPECTRUM_N, axis=1)[:, :: _SPECTRUM_N // 2]
    pieces = (pieces - pieces.mean(axis=2, keepdims=True)) * _HANNING
    power = np.abs(np.fft.rfft(pieces, axis=2)) ** 2 / _SPECTRUM_N
    lines: Array = np.log(np.median(power, axis=1)[:, _SPECTRUM_LINES] + 1e-5)
    return lines
