"""The quality gate: which leads can be read, and whether the ECG can be scored at all.

Everything is measured on a grid of about 100 Hz (block means), where the network looks too, so
one set of limits serves every sampling rate. The central measure is repeatability: a heart
repeats its beat, noise and motion do not, and a disconnected lead shows no beat at all. The
limits were set on PTB-XL (folds 8 and 9, 100 Hz) and on MIT-BIH NSTDB noise added to it.

Not seen here: swapped arm electrodes, whose leads still add up, and swapped chest electrodes.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d
from scipy.signal import find_peaks

from model.ecg import Ecg
from model.findings import LeadFault, Quality

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]

MIN_DURATION_S = 5.0  # three beats, the fewest that can repeat, down to 40 beats a minute
# Where fewer of the leads that were sent are readable, the rest passed by chance as likely as not.
MIN_READABLE_SHARE = 0.5
GRID_RATE_HZ = 100.0

MAX_MISSING_SHARE = 0.05  # half a second in ten: less than one beat
# Amplifiers may add 0.03 mV of their own (IEC 60601-2-25, system noise). A quarter of the
# seconds at that level is more than any pause between beats; PTB-XL's quietest lead holds 0.09 mV.
FLAT_RANGE_MV, FLAT_SHARE = 0.03, 0.25
# Runs of one value at the lead's own extreme: 0.5 % is 50 ms in 10 s, longer than the rounded
# top of an R wave. The extreme must lie 0.5 mV off, or a quiet lead's coarse steps would count.
RAIL_SHARE, RAIL_DISTANCE_MV = 0.005, 0.5
MAX_OFFSET_MV = 5.0  # IEC 60601-2-25 signal range: beyond it only the electrode's own voltage
MAX_WANDER_MV = 3.0  # 3 cm of ECG paper; 99.5 % of PTB-XL's leads stay below 2.5 mV
BASELINE_S = 0.6  # moving average longer than QRS and most of a T wave
# Median |second difference| / 2 on the grid. White noise of sigma gives 0.67 * 1.22 sigma = 0.83
# sigma, so this is 0.12 mV rms, a trace half a millivolt thick; PTB-XL's worst lead has 0.05 mV.
MAX_HIGH_FREQUENCY_MV = 0.1
MIN_REPEATABILITY_DB = 2.0  # the beat holds 1.6 times the power of what differs between beats
QUIET_RANGE_MV = 0.2  # no repeating beat, and hardly anything else: an electrode hangs free

BEAT_BEFORE_S, BEAT_AFTER_S = 0.20, 0.30
MAX_LAG = 4  # a beat may resemble any of its next four: bigeminy repeats every second one
MIN_BEATS = 3
MIN_RATE_PER_MIN = 20.0
MIN_BEAT_INTERVAL_S = 0.25  # 240 a minute
MAX_REST_SHARE = 0.4  # slope between beats over slope in QRS; 99.5 % of PTB-XL lies below 0.27
# Residual of an Einthoven identity over the largest limb lead, both rms: leads of one amplifier
# stay below 0.01. Two swapped labels exceed it in 93 % of ECGs and more; III and aVF, which look
# alike, in half.
MAX_EINTHOVEN_RESIDUAL = 0.4
# Sums that are zero at every moment.
EINTHOVEN = {
    "III": (("I", 1.0), ("II", -1.0), ("III", 1.0)),
    "aVR": (("I", 0.5), ("II", 0.5), ("aVR", 1.0)),
    "aVL": (("I", -1.0), ("II", 0.5), ("aVL", 1.0)),
    "aVF": (("I", 0.5), ("II", -1.0), ("aVF", 1.0)),
    "augmented": (("aVR", 1.0), ("aVL", 1.0), ("aVF", 1.0)),
}


def assess_quality(ecg: Ecg) -> Quality:
    """Judge one ECG; a lead that fails is masked, an ECG that fails is unscorable.

    One lead may be all there is; which findings so few can carry is the model's affair.

    Lead faults, the first that applies: `lead-missing-samples`, `flat-line`, `saturated`,
    `lead-off`, `baseline`, `noise`. Reasons for the whole ECG: `too-short`, `too-few-leads`,
    `no-qrs`, `limb-leads-inconsistent`.
    """
    if ecg.duration_s < MIN_DURATION_S:
        return Quality("unscorable", ("too-short",))
    missing = np.isnan(ecg.voltage_mv)
    voltage_mv = filled(ecg.voltage_mv, missing)
    grid_mv, rate_hz = block_means(voltage_mv, ecg.sampling_rate_hz)
    baseline_mv = uniform_filter1d(grid_mv, round(BASELINE_S * rate_hz), axis=1, mode="nearest")
    detail_mv = grid_mv - baseline_mv
    ranges_mv = second_ranges_mv(grid_mv, round(rate_hz))

    dead = {
        "lead-missing-samples": missing.mean(axis=1) > MAX_MISSING_SHARE,
        "flat-line": (ranges_mv < FLAT_RANGE_MV).mean(axis=1) > FLAT_SHARE,
        "saturated": saturated(voltage_mv),
        "lead-off": np.abs(np.median(grid_mv, axis=1)) > MAX_OFFSET_MV,
    }
    alive = ~np.logical_or.reduce(list(dead.values()))
    if not alive.any():
        return Quality("unscorable", ("too-few-leads",), _faults(ecg.leads, dead))

    beats, rest_share = _beats(grid_mv[alive], rate_hz)
    unrepeated = repeatability_db(detail_mv, beats, rate_hz) < MIN_REPEATABILITY_DB
    quiet = np.median(ranges_mv, axis=1) < QUIET_RANGE_MV
    faults = {
        **dead,
        "lead-off": dead["lead-off"] | (unrepeated & quiet),
        "baseline": np.ptp(baseline_mv, axis=1) > MAX_WANDER_MV,
        "noise": unrepeated | (high_frequency_mv(grid_mv) > MAX_HIGH_FREQUENCY_MV),
    }
    usable = ~np.logical_or.reduce(list(faults.values()))

    reasons = []
    if usable.mean() < MIN_READABLE_SHARE:
        reasons.append("too-few-leads")
    if rest_share > MAX_REST_SHARE or len(beats) < MIN_RATE_PER_MIN / 60 * ecg.duration_s:
        reasons.append("no-qrs")
    if _inconsistent(detail_mv[usable], [n for n, ok in zip(ecg.leads, usable, strict=True) if ok]):
        reasons.append("limb-leads-inconsistent")
    return _verdict(tuple(reasons), _faults(ecg.leads, faults))


def _verdict(reasons: tuple[str, ...], faults: tuple[LeadFault, ...]) -> Quality:
    if reasons:
        return Quality("unscorable", reasons, faults)
    return Quality("limited" if faults else "good", (), faults)


def _faults(leads: tuple[str, ...], faults: dict[str, Mask]) -> tuple[LeadFault, ...]:
    first = [next((why for why, mask in faults.items() if mask[i]), "") for i in range(len(leads))]
    return tuple(LeadFault(lead, why) for lead, why in zip(leads, first, strict=True) if why)


def filled(voltage_mv: Array, missing: Mask) -> Array:
    """Put each lead's median where it has no value, so that gaps add no slope of their own."""
    if not missing.any():
        return voltage_mv
    empty = missing.all(axis=1)
    level = np.zeros(len(voltage_mv), np.float32)
    level[~empty] = np.nanmedian(voltage_mv[~empty], axis=1)
    filled: Array = np.where(missing, level[:, None], voltage_mv)
    return filled


def block_means(voltage_mv: Array, rate_hz: float) -> tuple[Array, float]:
    """Average blocks of samples down to 67-150 Hz."""
    size = max(1, round(rate_hz / GRID_RATE_HZ))
    if size == 1:
        return voltage_mv, rate_hz
    whole = voltage_mv.shape[1] // size * size
    total = voltage_mv[:, 0:whole:size].copy()
    for k in range(1, size):
        total += voltage_mv[:, k:whole:size]
    total /= size
    return total, rate_hz / size


def second_ranges_mv(grid_mv: Array, n_second: int) -> Array:
    """Peak-to-peak of every whole second, `(n_leads, n_seconds)`."""
    n_seconds = grid_mv.shape[1] // n_second
    seconds = grid_mv[:, : n_seconds * n_second].reshape(len(grid_mv), n_seconds, n_second)
    ranges: Array = np.ptp(seconds, axis=2)
    return ranges


def saturated(voltage_mv: Array) -> Mask:
    """Which leads lie at one extreme for long, far off their middle, `(n_leads,)`."""
    clipped = np.zeros(len(voltage_mv), bool)
    middle = np.median(voltage_mv[:, ::5], axis=1, keepdims=True)
    for rail in (voltage_mv.max(axis=1, keepdims=True), voltage_mv.min(axis=1, keepdims=True)):
        at_rail = voltage_mv == rail
        in_run = (at_rail[:, 1:] & at_rail[:, :-1]).mean(axis=1) > RAIL_SHARE
        clipped |= in_run & (np.abs(rail - middle)[:, 0] > RAIL_DISTANCE_MV)
    return clipped


def high_frequency_mv(grid_mv: Array) -> Array:
    """Median bend between neighbours on the grid, `(n_leads,)`: mains, muscle, a loose contact."""
    bend = np.abs(grid_mv[:, 1:-1] - (grid_mv[:, :-2] + grid_mv[:, 2:]) / 2)
    level: Array = np.median(bend, axis=1)
    return level


def _beats(grid_mv: Array, rate_hz: float) -> tuple[NDArray[np.intp], float]:
    """Find QRS complexes where the leads together are steepest.

    Returns:
        Positions on the grid, and the slope between beats as a share of the slope in QRS.
    """
    slope = np.abs(np.diff(grid_mv, axis=1))
    # One spike must not outweigh the other leads: each lead's slope ends at six times its rms.
    scale = 3 * np.sqrt((slope**2).mean(axis=1, keepdims=True)) + 1e-3
    energy = uniform_filter1d(np.minimum(slope / scale, 2).mean(axis=0), round(0.09 * rate_hz))
    steepest = len(energy) // 50
    qrs, rest = np.partition(energy, -steepest)[-steepest], np.median(energy)
    height = rest + 0.4 * (qrs - rest)
    distance = max(1, round(MIN_BEAT_INTERVAL_S * rate_hz))
    peaks, _ = find_peaks(energy, height=height, distance=distance)
    return peaks, float(rest / qrs) if qrs > 0 else 1.0


def repeatability_db(detail_mv: Array, beats: NDArray[np.intp], rate_hz: float) -> Array:
    """Power of the typical beat over half the power by which it differs from its likest neighbour.

    That half is the noise power, as two beats carry independent noise. `-inf` without beats.
    """
    before, after = round(BEAT_BEFORE_S * rate_hz), round(BEAT_AFTER_S * rate_hz)
    inside = beats[(beats >= before) & (beats < detail_mv.shape[1] - after)]
    if len(inside) < MIN_BEATS:
        return np.full(len(detail_mv), -np.inf, np.float32)
    windows = detail_mv[:, inside[:, None] + np.arange(-before, after)]
    windows -= windows.mean(axis=2, keepdims=True)
    difference = np.full(windows.shape[:2], np.inf, np.float32)
    for lag in range(1, min(MAX_LAG, len(inside) - 1) + 1):
        power = np.square(windows[:, lag:] - windows[:, :-lag]).mean(axis=2)
        np.minimum(difference[:, lag:], power, out=difference[:, lag:])
        np.minimum(difference[:, :-lag], power, out=difference[:, :-lag])
    noise = np.median(difference, axis=1) / 2
    beat = np.median(np.square(windows).mean(axis=2), axis=1) - noise
    ratio_db: Array = 10 * np.log10(np.maximum(beat, 1e-6) / (noise + 1e-6))
    return ratio_db


def _inconsistent(detail_mv: Array, leads: list[str]) -> bool:
    """Whether some identity of Einthoven's triangle fails among these leads."""
    rows = dict(zip(leads, detail_mv, strict=True))
    limb = [rows[name] for name in ("I", "II", "III", "aVR", "aVL", "aVF") if name in rows]
    largest = max((_rms(row) for row in limb), default=0.0)
    for terms in EINTHOVEN.values():
        if all(name in rows for name, _ in terms):
            rest = sum((factor * rows[name] for name, factor in terms), np.zeros(1, np.float32))
            if _rms(rest) > MAX_EINTHOVEN_RESIDUAL * largest:
                return True
    return False


def _rms(values: Array) -> float:
    return float(np.sqrt(np.dot(values, values) / len(values)))
