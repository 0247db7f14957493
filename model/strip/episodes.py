"""Episodes of rhythm from beat times and classes: one episode, one finding.

Limits and where they come from:
- bradycardia below 50, tachycardia above 100 beats a minute (ACC/AHA/HRS guidelines on bradycardia,
  2018, and on supraventricular tachycardia, 2015). The rate is the median of eight intervals, as in
  a monitor's rate meter, so a single ectopic beat moves it little; an episode ends 5 a minute past
  its limit and lasts 10 s, the length of the resting ECG on which rates are told, or half of a
  shorter strip.
- pause: no beat for 3 s (ACC/AHA/HRS 2018, sinus pause).
- run: three or more consecutive ventricular or supraventricular ectopic beats (ANSI/AAMI EC57).
- AF: 30 s, or the whole of a shorter strip (ESC guidelines 2020 on atrial fibrillation, 3.2);
  interruptions shorter than that do not end it (own choice: the same length on either side).
"""

from itertools import groupby, pairwise

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.special import expit

from model.findings import RhythmFinding
from model.strip.af import AfEvidence

Scores = NDArray[np.float64]
Mask = NDArray[np.bool_]

BRADYCARDIA_BPM, TACHYCARDIA_BPM = 50.0, 100.0
RATE_HYSTERESIS_BPM = 5.0
RATE_INTERVALS = 8
MIN_RATE_EPISODE_S = 10.0
PAUSE_S = 3.0
RUN_BEATS = 3
MIN_AF_S = 30.0
RUN_CODES = {"V": "ventricular-run", "S": "supraventricular-run"}

_SMOOTHED_WINDOWS = 3


def held(enter: Mask, stay: Mask) -> list[tuple[int, int]]:
    """Stretches (first, last) that hold at least one `enter` and nothing but `stay`."""
    stretches = []
    for steady, group in groupby(range(len(stay)), key=lambda i: bool(stay[i] | enter[i])):
        indices = list(group)
        if steady and enter[indices].any():
            stretches.append((indices[0], indices[-1]))
    return stretches


def rate_episodes(beat_times_s: Scores, duration_s: float) -> list[RhythmFinding]:
    """Bradycardia and tachycardia; `value` is the slowest or fastest median of eight intervals."""
    rate_bpm = _rates_bpm(beat_times_s)
    shortest_s = min(MIN_RATE_EPISODE_S, duration_s / 2)
    found = []
    for code, limit, sign in (
        ("bradycardia", BRADYCARDIA_BPM, -1),
        ("tachycardia", TACHYCARDIA_BPM, 1),
    ):
        beyond = sign * (rate_bpm - limit)
        for first, last in held(beyond > 0, beyond > -RATE_HYSTERESIS_BPM):
            start_s, end_s = float(beat_times_s[first]), float(beat_times_s[last + 1])
            if end_s - start_s >= shortest_s:
                extreme = float(limit + sign * beyond[first : last + 1].max())
                found.append(RhythmFinding(code, start_s, end_s, extreme, limit))
    return found


def pauses(beat_times_s: Scores, duration_s: float) -> list[RhythmFinding]:
    """Stretches of PAUSE_S and more without a beat, also before the first and after the last.

    Without any beat there is nothing to say: that is the quality gate's business.
    """
    if not len(beat_times_s):
        return []
    edges = [0.0, *beat_times_s.tolist(), duration_s]
    return [
        RhythmFinding("pause", start_s, end_s, end_s - start_s, PAUSE_S)
        for start_s, end_s in pairwise(edges)
        if end_s - start_s >= PAUSE_S
    ]


def runs(beat_times_s: Scores, aami_classes: tuple[str, ...]) -> list[RhythmFinding]:
    """Consecutive V, consecutive S; `value` counts the beats."""
    found, at = [], 0
    for aami_class, group in groupby(aami_classes):
        n_beats = len(list(group))
        if aami_class in RUN_CODES and n_beats >= RUN_BEATS:
            start_s, end_s = beat_times_s[at], beat_times_s[at + n_beats - 1]
            code = RUN_CODES[aami_class]
            found.append(RhythmFinding(code, float(start_s), float(end_s), n_beats, RUN_BEATS))
        at += n_beats
    return found


def af_episodes(
    evidence: AfEvidence, duration_s: float, threshold: float, release: float
) -> list[RhythmFinding]:
    """Episodes of fibrillation or flutter.

    `value` is the probability over a strip of up to MIN_AF_S, else the highest that three windows
    in a row (20 s) have together.
    """
    log_odds = evidence.log_odds[:, 0]
    if not len(log_odds):
        return []
    if duration_s <= MIN_AF_S:
        probability = float(expit(log_odds.mean()))
        whole = RhythmFinding("AF", 0.0, duration_s, probability, threshold)
        return [whole] if probability >= threshold else []
    smooth = expit(_moving_mean(log_odds, _SMOOTHED_WINDOWS))
    start_s, end_s = _cells(evidence, duration_s)
    stretches = _bridged(held(smooth >= threshold, smooth >= release), start_s, end_s)
    return [
        RhythmFinding("AF", float(start_s[first]), float(end_s[last]), highest, threshold)
        for first, last in stretches
        if end_s[last] - start_s[first] >= MIN_AF_S
        for highest in [float(smooth[first : last + 1].max())]
    ]


def _rates_bpm(beat_times_s: Scores) -> Scores:
    """Median rate around each interval, `(n_beats - 1,)`; pauses count as what they are."""
    intervals_s = np.diff(beat_times_s)
    width = min(RATE_INTERVALS, len(intervals_s))
    if width == 0:
        return np.zeros(0)
    padded = np.pad(intervals_s, (width // 2, width - 1 - width // 2), mode="reflect")
    rates: Scores = 60 / np.median(sliding_window_view(padded, width), axis=1)
    return rates


def _moving_mean(values: Scores, width: int) -> Scores:
    padded = np.pad(values, width // 2, mode="edge")
    mean: Scores = sliding_window_view(padded, width).mean(axis=1)
    return mean


def _cells(evidence: AfEvidence, duration_s: float) -> tuple[Scores, Scores]:
    """The stretch that each window stands for: to half way to its neighbours, at most its own."""
    middle = (evidence.start_s + evidence.end_s) / 2
    between = (middle[1:] + middle[:-1]) / 2
    start_s = np.maximum(np.append(0.0, between), evidence.start_s)
    end_s = np.minimum(np.append(between, duration_s), evidence.end_s)
    return start_s, end_s


def _bridged(
    stretches: list[tuple[int, int]], start_s: Scores, end_s: Scores
) -> list[tuple[int, int]]:
    """Join stretches with less than MIN_AF_S between them."""
    joined: list[tuple[int, int]] = []
    for first, last in stretches:
        if joined and start_s[first] - end_s[joined[-1][1]] < MIN_AF_S:
            joined[-1] = (joined[-1][0], last)
        else:
            joined.append((first, last))
    return joined
