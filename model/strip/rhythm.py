"""The rhythm of a strip: findings, heart rate, and a weight a beat for what they rest on."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.findings import RhythmFinding
from model.signal import RATE_HZ
from model.strip.af import AfEvidence, AfModel, lead_traces
from model.strip.episodes import af_episodes, pauses, rate_episodes, runs

Array = NDArray[np.float32]
Scores = NDArray[np.float64]

# A gap is no pause where for a second the recorder gave nothing or one value over and over, or
# where something as steep as half a QRS stands in it: a beat that was missed, or noise that may
# hide one.
_LOST_S = 1.0
_MAX_SLOPE = 0.5
_QRS_REACH_S = 0.08
_GAP_INSET_S = 0.15


@dataclass(frozen=True, eq=False)
class RhythmReading:
    """What the beats' order says of a strip.

    Attributes:
        heart_rate_bpm: from the median interval; None with fewer than two beats.
        rhythms: in order of time.
        attention: `(n_beats,)` sums to 1: what the findings rest on, or, where there are none,
            which beats the AF network looked at.
        af: the evidence for fibrillation over time.
        af_probability: of the strip as a whole, calibrated.
        other_probability: of another departure from sinus rhythm, calibrated.
    """

    heart_rate_bpm: float | None
    rhythms: tuple[RhythmFinding, ...]
    attention: tuple[float, ...]
    af: AfEvidence
    af_probability: float
    other_probability: float


def read_rhythm(
    model: AfModel,
    voltage_mv: Array,
    leads: tuple[str, ...],
    sampling_rate_hz: float,
    *,
    beat_times_s: Scores,
    aami_classes: tuple[str, ...],
) -> RhythmReading:
    """Read a strip `(n_leads, n_samples)`, NaN where nothing was recorded.

    `beat_times_s` `(n_beats,)` ascending, with a class each. Leads that the quality gate masked
    are left out by the caller. No supraventricular run is told inside AF, where no beat is
    premature.
    """
    duration_s = voltage_mv.shape[1] / sampling_rate_hz
    traces = lead_traces(voltage_mv, leads, sampling_rate_hz)
    evidence = model.read(traces, beat_times_s)
    fibrillation = af_episodes(evidence, duration_s, model.threshold, model.release)
    found = [
        *fibrillation,
        *rate_episodes(beat_times_s, duration_s),
        *(
            gap
            for gap in pauses(beat_times_s, duration_s)
            if _recorded(gap, voltage_mv, sampling_rate_hz)
            and _quiet(gap, traces.voltage_mv, beat_times_s)
        ),
        *(
            run
            for run in runs(beat_times_s, aami_classes)
            if run.code != "supraventricular-run" or not _overlaps(run, fibrillation)
        ),
    ]
    rhythms = tuple(sorted(found, key=lambda r: (r.start_s, r.code)))
    intervals_s = np.diff(beat_times_s)
    return RhythmReading(
        heart_rate_bpm=float(60 / np.median(intervals_s)) if len(intervals_s) else None,
        rhythms=rhythms,
        attention=tuple(_attention(rhythms, evidence, beat_times_s).tolist()),
        af=evidence,
        af_probability=evidence.probabilities["AF"],
        other_probability=evidence.probabilities["other"],
    )


def _attention(
    rhythms: tuple[RhythmFinding, ...], evidence: AfEvidence, beat_times_s: Scores
) -> Scores:
    """Each finding shares one weight out among its beats: AF by the network's attention."""
    if not len(beat_times_s):
        return np.zeros(0)
    total = np.zeros(len(beat_times_s))
    for rhythm in rhythms:
        inside = (beat_times_s >= rhythm.start_s) & (beat_times_s <= rhythm.end_s)
        share = evidence.attention * inside if rhythm.code == "AF" else inside.astype(float)
        total += share / max(share.sum(), np.finfo(float).tiny)
    if not total.any():
        total = evidence.attention if evidence.attention.any() else np.ones(len(beat_times_s))
    attention: Scores = total / total.sum()
    return attention


def _overlaps(rhythm: RhythmFinding, others: list[RhythmFinding]) -> bool:
    return any(o.start_s <= rhythm.end_s and rhythm.start_s <= o.end_s for o in others)


def _recorded(gap: RhythmFinding, voltage_mv: Array, sampling_rate_hz: float) -> bool:
    """Whether some lead was recording all through the gap."""
    first, last = round(gap.start_s * sampling_rate_hz), round(gap.end_s * sampling_rate_hz)
    moves = np.abs(np.diff(voltage_mv[:, first:last], axis=1)) > 0  # False beside NaN
    still = [np.diff(np.flatnonzero(row), prepend=-1, append=len(row)).max() for row in moves]
    return bool(min(still) < _LOST_S * sampling_rate_hz)


def _quiet(gap: RhythmFinding, traces_mv: Array, beat_times_s: Scores) -> bool:
    """Whether in most leads nothing in the gap is as steep as a beat."""
    slope = np.abs(np.diff(traces_mv, axis=1))
    reach = round(_QRS_REACH_S * RATE_HZ)
    n = slope.shape[1]
    beats = np.clip(np.round(beat_times_s * RATE_HZ).astype(int), reach, max(n - reach, reach))
    window = np.minimum(beats[:, None] + np.arange(-reach, reach), n - 1)
    steepness = np.median(slope[:, window].max(axis=2), axis=1)
    first = round((gap.start_s + _GAP_INSET_S) * RATE_HZ)
    last = round((gap.end_s - _GAP_INSET_S) * RATE_HZ)
    return bool(np.median(slope[:, first:last].max(axis=1) / (steepness + 1e-6)) < _MAX_SLOPE)
