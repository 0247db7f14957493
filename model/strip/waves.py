"""What the waves of one lead are: QRS complexes or not, and those of a fast, regular heart.

Both are asked of ten seconds without baseline, where the beats are known. All limits were chosen
on made strips and MIT-BIH DS1; what they do is in STRIP_CARD.md.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from model.quality import MIN_BEATS

Array = NDArray[np.float32]
Places = NDArray[np.intp]

# QRS holds little above 30 Hz (Thakor et al., IEEE Trans Biomed Eng 31:702, 1984): of the power
# around R at most 17 % in the readable leads of DS1, 12 % in 99 of 100 of PTB-XL's, and more than
# 35 % in 2 of 39,000 of them. A pulse of a few milliseconds holds half.
_QRS_TOP_HZ, _MAX_SHARE_ABOVE, _MAX_FAST_SHARE_ABOVE = 30.0, 0.35, 0.1
_AROUND_R_S = 0.1
# The edges of a square wave go up and down by turns. DS1's bigeminies stay above -0.92.
_MIRRORED = -0.97

# 273 to 188 a minute. From 195 on the other detector loses too many beats, and RR is not even.
_FAST_RR_S = 0.22, 0.32
_MAX_SPREAD = 0.1  # from the tenth to the ninetieth percentile of RR, over its median
_MIN_REPEATED_DB = 8.0  # the mean beat, R to R, over what differs from it
# Slope over the length of a QRS, over that of QRS itself. A tremor swings all the time: its median
# is more. So fast a heart never rests either, T follows at once: between pulses it is less.
_QRS_S = 0.09
_MAX_MEDIAN_SLOPE, _MIN_SLOPE = 0.5, 0.05
_STEPS = 32  # of one beat


def no_qrs(row_mv: Array, beats: Places, rate_hz: float) -> bool:
    """Whether the beats `(n_beats,)` of a row `(n,)` are spikes, or mirror images by turns.

    Too few beats to tell are neither.
    """
    waves = _around_r(row_mv, beats, rate_hz)
    if len(waves) < MIN_BEATS:
        return False
    size = np.sqrt(np.square(waves).sum(axis=1)) + 1e-6
    likeness = (waves[1:] * waves[:-1]).sum(axis=1) / (size[1:] * size[:-1])
    mirrored = 2 * np.count_nonzero(likeness < _MIRRORED) > len(likeness)
    return bool(mirrored or _share_above(waves, rate_hz) > _MAX_SHARE_ABOVE)


def fast_and_regular(row_mv: Array, beats: Places, rate_hz: float) -> bool:
    """Whether the beats `(n_beats,)` of a row `(n,)` are those of a heart though RR is short.

    They are if RR is regular, if all beats are alike from R to R, and if QRS stands out of each,
    but neither as a spike nor alone.
    """
    rr = np.diff(beats)
    if len(rr) < MIN_BEATS:
        return False
    early, usual, late = np.percentile(rr, [10, 50, 90])
    shortest, longest = _FAST_RR_S
    if not shortest < usual / rate_hz < longest or late - early > _MAX_SPREAD * usual:
        return False
    cycles = _cycles(row_mv, beats)
    mean = cycles.mean(axis=0)
    if np.square(mean).mean() < 10 ** (_MIN_REPEATED_DB / 10) * np.square(cycles - mean).mean():
        return False
    slope = np.abs(np.diff(mean, append=mean[0]))
    slope = uniform_filter1d(slope, round(_QRS_S * rate_hz / usual * _STEPS), mode="wrap")
    stands_out = np.median(slope) < _MAX_MEDIAN_SLOPE * slope.max()
    alone = slope.min() < _MIN_SLOPE * slope.max()
    spike = _share_above(_around_r(row_mv, beats, rate_hz), rate_hz) > _MAX_FAST_SHARE_ABOVE
    return bool(stands_out and not alone and not spike)


def _around_r(row_mv: Array, beats: Places, rate_hz: float) -> Array:
    """`(n, n_around)` around their means; beats at the ends are left out."""
    reach = round(_AROUND_R_S * rate_hz)
    inside = beats[(beats >= reach) & (beats < len(row_mv) - reach)]
    waves = row_mv[inside[:, None] + np.arange(-reach, reach + 1)]
    centred: Array = waves - waves.mean(axis=1, keepdims=True)
    return centred


def _share_above(waves: Array, rate_hz: float) -> float:
    """Share of the power of `(n, n_around)` that lies above what QRS holds."""
    power = np.square(np.abs(np.fft.rfft(waves))).sum(axis=0)
    first = int(_QRS_TOP_HZ * waves.shape[1] / rate_hz) + 1
    return float(power[first:].sum() / max(power.sum(), 1e-9))


def _cycles(row_mv: Array, beats: Places) -> NDArray[np.float64]:
    """Each beat from R to R in _STEPS steps around its mean, `(n_beats - 1, _STEPS)`."""
    at = beats[:-1, None] + np.diff(beats)[:, None] * np.arange(_STEPS) / _STEPS
    cycles = np.interp(at, np.arange(len(row_mv)), row_mv)
    centred: NDArray[np.float64] = cycles - cycles.mean(axis=1, keepdims=True)
    return centred
