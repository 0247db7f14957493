"""What the beat network reads: each beat's shape beside the patient's usual one, and its timing.

Everything is relative to the same patient: voltages are divided by the height of the usual QRS in
that lead, intervals by the usual interval around the beat. The usual beat (the template) is the
median of beats that come on time and look alike; each stretch of about five minutes has its own.
"""

from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.ndimage import median_filter

from model.signal import RATE_HZ, bridge_gaps, remove_baseline, resample

Array = NDArray[np.float32]
Times = NDArray[np.float64]
Mask = NDArray[np.bool_]

REACH = 40  # samples on either side of the R peak: 0.4 s
WINDOW = 2 * REACH
BLOCK_S = 300.0
_MARGIN_S = 4.0  # filters settle in it

_SHIFT = 3  # samples a beat may be moved to lie on the template
_P = slice(REACH - 24, REACH - 7)
_QRS = slice(REACH - 8, REACH + 9)
_T = slice(REACH + 12, WINDOW)
_PARTS = (_P, _QRS, _T)
_FLOOR_MV = 0.05  # no QRS is smaller; keeps an empty lead from being blown up
_CLIP = 4.0  # QRS heights
_ON_TIME = 0.12  # log ratio to the usual interval
_ALIKE = 0.9
_MIN_REGULAR = 5

_RR_BEATS = 21  # around each beat, for the usual interval
_CONTEXT_BEATS = 33  # likewise, for irregularity
_LONG_BEATS = 151  # likewise, for what is usual when a run is longer than _RR_BEATS
_RUN_BEATS = 40  # before and after each, for how a run began and ended
_MIN_RR_S, _MAX_RR_S, _TYPICAL_RR_S = 0.2, 3.0, 0.8

N_RHYTHM, N_TRAITS = 21, 16


class BeatInputs(NamedTuple):
    """n beats in L leads.

    Attributes:
        shapes: `(n, L, 2, WINDOW)` the beat, and what is left of it without the template.
        traits: `(n, L, N_TRAITS)` likeness to the template and to other beats, by region.
        rhythm: `(n, N_RHYTHM)` intervals, and how irregular they are around.
        known: `(n, L)` whether the lead shows the beat; of a lead that does not, nothing counts.
    """

    shapes: Array
    traits: Array
    rhythm: Array
    known: Mask


def beat_inputs(
    voltage_mv: Array, sampling_rate_hz: float, beat_times_s: Times, block_s: float = BLOCK_S
) -> BeatInputs:
    """Describe the beats at `(n,)` ascending times in `(L, n_samples)`; NaN where nothing is known.

    Needs memory for one block's samples at a time beside what it returns.
    """
    rhythm = rhythm_inputs(beat_times_s)
    on_time = (np.abs(rhythm[:, 0]) < _ON_TIME) & (np.abs(rhythm[:, 1]) < _ON_TIME)
    duration_s = voltage_mv.shape[1] / sampling_rate_hz
    n, n_leads = len(beat_times_s), len(voltage_mv)
    shapes = np.zeros((n, n_leads, 2, WINDOW), np.float32)
    traits = np.zeros((n, n_leads, N_TRAITS), np.float32)
    n_blocks = max(1, round(duration_s / block_s))
    edges_s = np.linspace(0, duration_s, n_blocks + 1)
    edges = [0, *np.searchsorted(beat_times_s, edges_s[1:-1]), n]
    for first, last, start_s, end_s in zip(
        edges[:-1], edges[1:], edges_s[:-1], edges_s[1:], strict=True
    ):
        if first < last:
            traces_mv, offset_s = _traces(voltage_mv, sampling_rate_hz, start_s, end_s)
            at = (beat_times_s[first:last] - offset_s) * RATE_HZ
            described = _lead_inputs(traces_mv, at, on_time[first:last])
            shapes[first:last], traits[first:last] = (np.swapaxes(d, 0, 1) for d in described)
    at = np.clip(beat_times_s * sampling_rate_hz, 0, voltage_mv.shape[1] - 1).astype(np.int64)
    return BeatInputs(shapes, traits, rhythm, ~np.isnan(voltage_mv[:, at]).T)


def rhythm_inputs(beat_times_s: Times) -> Array:
    """`(n, N_RHYTHM)`: log ratios of intervals; one that is not there counts as usual."""
    n = len(beat_times_s)
    if n < 3:
        return np.zeros((n, N_RHYTHM), np.float32)
    rr = np.log(np.clip(np.diff(beat_times_s), _MIN_RR_S, _MAX_RR_S))
    usual_rr = median_filter(rr, min(_RR_BEATS, len(rr)), mode="nearest")
    change = np.abs(np.diff(rr, prepend=rr[0]))
    width = min(_CONTEXT_BEATS, len(rr))
    unrest = median_filter(change, width, mode="nearest")
    jumps = _running_mean((change > 0.1).astype(float), width)
    spread = median_filter(np.abs(rr - usual_rr), width, mode="nearest")
    recent = _trailing_median(rr)
    usual = np.append(usual_rr, usual_rr[-1])
    before = np.append(usual_rr[0], rr)
    after = np.append(rr, usual_rr[-1])
    before_that, after_that = np.append(usual[0], before[:-1]), np.append(after[1:], usual[-1])
    both = np.log((np.exp(before) + np.exp(after)) / 2)
    early = before - usual
    context = [np.append(v, v[-1]) for v in (unrest, jumps, spread)]
    columns = [
        early,
        after - usual,
        before - after,
        before - before_that,
        after - after_that,
        before_that - usual,
        after_that - usual,
        before - np.append(usual[0], recent),
        before - np.median(rr),
        both - usual,
        usual - np.log(_TYPICAL_RR_S),
        5 * context[0],
        2 * context[1],
        5 * context[2],
        np.tanh(early / (3 * context[2] + 0.06)),
        np.full(n, 5 * np.median(change)),
        *_run_inputs(rr, before, after),
    ]
    clipped: Array = np.clip(np.column_stack(columns), -3, 3).astype(np.float32)
    return clipped


def _run_inputs(rr: Times, before: Times, after: Times) -> list[Times]:
    """Pace against what is usual over minutes, and the steps by which it came and will go.

    A run of supraventricular beats begins and ends at once; sinus tachycardia takes its time.
    """
    long = median_filter(rr, min(_LONG_BEATS, len(rr)), mode="nearest")
    long = np.append(long, long[-1])
    padded = np.pad(rr, (5, 2), mode="edge")
    ahead = np.median(sliding_window_view(padded, 3)[5:], axis=1)
    behind = np.median(sliding_window_view(padded, 5)[: len(rr)], axis=1)
    step = ahead - behind
    drop = np.minimum(np.append(0.0, step), 0)
    reach = _RUN_BEATS
    began = sliding_window_view(np.pad(drop, (reach, 0)), reach + 1).min(axis=1)
    rise = np.maximum(np.append(step, 0.0), 0)
    ends = sliding_window_view(np.pad(rise, (0, reach)), reach + 1).max(axis=1)
    pace = (before + after) / 2 - long
    fast = np.maximum(-pace, 0)
    return [before - long, pace, 2 * began, 2 * ends, 4 * np.sqrt(fast * np.abs(began))]


def _traces(voltage_mv: Array, rate_hz: float, start_s: float, end_s: float) -> tuple[Array, float]:
    """A stretch of all leads at RATE_HZ without baseline, and when it begins."""
    first = max(int((start_s - _MARGIN_S) * rate_hz), 0)
    last = int((end_s + _MARGIN_S) * rate_hz) + 1
    piece = voltage_mv[:, first:last]
    bridged = bridge_gaps(piece, ~np.isnan(piece))
    return remove_baseline(resample(bridged, rate_hz)), first / rate_hz


def _lead_inputs(traces_mv: Array, at: Times, on_time: Mask) -> tuple[Array, Array]:
    """Shapes `(L, k, 2, WINDOW)` and traits `(L, k, N_TRAITS)` of the beats in each lead."""
    regular = on_time if on_time.sum() >= _MIN_REGULAR else np.ones(len(at), bool)
    template_mv, _ = _templates(_cut(traces_mv, at), regular)
    beats_mv = _cut(traces_mv, at + _shifts(traces_mv, at, template_mv))
    template_mv, usual = _templates(beats_mv, regular)
    height_mv = np.ptp(template_mv[..., _QRS], axis=2, keepdims=True) + np.float32(_FLOOR_MV)
    beats, template = beats_mv / height_mv, template_mv / height_mv
    rest = beats - template
    shapes = np.clip(np.stack([beats, rest], axis=2), -_CLIP, _CLIP)
    return shapes, _traits(beats, rest, template, usual, height_mv[..., 0])


def _traits(beats: Array, rest: Array, template: Array, usual: Mask, height_mv: Array) -> Array:
    """`(L, k, N_TRAITS)` of `(L, k, WINDOW)`, templates `(L, 1, WINDOW)`, heights `(L, 1)`."""
    qrs, usual_qrs = _unit(beats[..., _QRS]), _unit(template[..., _QRS])
    p_likeness = _likeness(_unit(beats[..., _P]), _unit(template[..., _P]))
    off = np.stack([_rms(rest[..., part]) for part in _PARTS])
    noise = _medians(off, usual) + np.float32(0.01)
    alike = np.stack([_share_alike(*of_lead) for of_lead in zip(qrs, usual, strict=True)])
    neighbour = np.sum(qrs[:, 1:] * qrs[:, :-1], axis=2)
    width, usual_width = _qrs_width(beats), _qrs_width(template)
    size, usual_size = (np.ptp(of[..., _QRS], axis=2) + 0.05 for of in (beats, template))
    one = np.ones((len(beats), 1))
    columns = [
        _likeness(qrs, usual_qrs),
        p_likeness,
        _likeness(_unit(beats[..., _T]), _unit(template[..., _T])),
        *np.log((off + 0.01) / noise),
        np.log(size / usual_size),
        width / usual_width - 1,
        width * 10,
        np.concatenate([one, neighbour], axis=1),
        np.concatenate([neighbour, one], axis=1),
        alike[..., 0],
        alike[..., 1],
        np.ptp(template[..., _P], axis=2) * 3,
        _medians(p_likeness, usual),
        np.log(noise[0] * height_mv / _FLOOR_MV),
    ]
    traits = np.stack(np.broadcast_arrays(*columns), axis=2)
    clipped: Array = np.clip(traits, -4, 4).astype(np.float32)
    return clipped


def _templates(beats_mv: Array, regular: Mask) -> tuple[Array, Mask]:
    """Medians `(L, 1, WINDOW)` of the regular beats that look alike, and which those are."""
    first = np.median(beats_mv[:, regular], axis=1, keepdims=True)
    likeness = _likeness(_unit(beats_mv[..., _QRS]), _unit(first[..., _QRS]))
    typical = np.median(likeness[:, regular], axis=1, keepdims=True)
    usual = regular & (likeness >= typical - np.float32(0.05))
    medians = [np.median(rows[which], axis=0) for rows, which in zip(beats_mv, usual, strict=True)]
    return np.stack(medians)[:, None], usual


def _shifts(traces_mv: Array, at: Times, template_mv: Array) -> Times:
    """By how many samples each beat's QRS lies off the lead's template, `(L, k)`."""
    wide = _cut(traces_mv, at, REACH + _SHIFT)
    length = _QRS.stop - _QRS.start
    around = wide[..., _QRS.start : _QRS.stop + 2 * _SHIFT]
    views = sliding_window_view(around, length, axis=2)
    likeness = _likeness(_unit(views), _unit(template_mv[..., _QRS])[:, None])
    best = np.clip(likeness.argmax(axis=2), 1, 2 * _SHIFT - 1)
    before, here, after = (
        np.take_along_axis(likeness, best[..., None] + d, axis=2)[..., 0] for d in (-1, 0, 1)
    )
    bend = np.minimum(before - 2 * here + after, -1e-6)
    shifts: Times = best - _SHIFT + np.clip((before - after) / (2 * bend), -1, 1)
    return shifts


def _cut(traces_mv: Array, at: Times, reach: int = REACH) -> Array:
    """`(L, k, 2 * reach)` around fractional positions, each about its own median; ends go on.

    Positions are `(k,)`, or `(L, k)` where they differ by lead.
    """
    last = traces_mv.shape[1] - 1
    grid = np.clip(at[..., None] + np.arange(-reach, reach), 0, last)
    left = np.minimum(grid.astype(np.int64), max(last - 1, 0))
    share = (grid - left).astype(np.float32)
    lead = np.arange(len(traces_mv))[:, None, None]
    cut: Array = traces_mv[lead, left] * (1 - share)
    cut += traces_mv[lead, np.minimum(left + 1, last)] * share
    cut -= np.median(cut, axis=2, keepdims=True)
    return cut


def _medians(values: Array, usual: Mask) -> Array:
    """`(..., L, 1)` of `(..., L, k)` over the usual beats `(L, k)`, which differ by lead."""
    medians = [np.median(values[..., lead, which], axis=-1) for lead, which in enumerate(usual)]
    return np.stack(medians, axis=-1)[..., None]


def _share_alike(qrs: Array, usual: Mask) -> Array:
    """What share of all beats and of the usual ones each beat of a lead resembles, `(k, 2)`."""
    alike = qrs @ qrs.T > _ALIKE
    return np.column_stack([alike.mean(axis=1), alike[:, usual].mean(axis=1)])


def _likeness(units: Array, template: Array) -> Array:
    """Correlations `(...)` of `(..., n)` that `_unit` made."""
    likeness: Array = np.sum(units * template, axis=-1)
    return likeness


def _unit(rows: Array) -> Array:
    centred: Array = rows - rows.mean(axis=-1, keepdims=True)
    centred /= np.sqrt(np.sum(np.square(centred), axis=-1, keepdims=True)) + np.float32(1e-6)
    return centred


def _rms(rows: Array) -> Array:
    rms: Array = np.sqrt(np.mean(np.square(rows), axis=-1))
    return rms


def _qrs_width(beats: Array) -> Array:
    """Spread of the slope's energy around its centre in +-0.15 s, in tenths of a second."""
    slope = np.square(np.diff(beats[..., REACH - 15 : REACH + 16], axis=-1)) + 1e-9
    where = np.arange(slope.shape[-1]) / RATE_HZ
    share = slope / slope.sum(axis=-1, keepdims=True)
    centre = share @ where
    width: Array = np.sqrt(np.maximum(share @ where**2 - centre**2, 1e-6)).astype(np.float32)
    return width


def _running_mean(values: Times, width: int) -> Times:
    """Mean over `width` neighbours; the ends go on."""
    half = width // 2
    padded = np.pad(values, (half, width - 1 - half), mode="edge")
    mean: Times = np.convolve(padded, np.ones(width) / width, mode="valid")
    return mean


def _trailing_median(rr: Times, width: int = 8) -> Times:
    """Median of up to `width` intervals before each; the first stands for itself."""
    padded = np.pad(rr, (width, 0), mode="edge")
    trailing: Times = np.median(sliding_window_view(padded, width)[: len(rr)], axis=1)
    return trailing
