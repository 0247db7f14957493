import numpy as np
import pytest
from scipy.special import logit

from model.strip.af import AfEvidence
from model.strip.episodes import af_episodes, held, pauses, rate_episodes, runs


def beats(*stretches):
    """Beat times of stretches (number of intervals, interval in seconds), from half a second on."""
    intervals_s = np.concatenate([np.full(n, rr_s) for n, rr_s in stretches])
    return 0.5 + np.append(0.0, np.cumsum(intervals_s))


def evidence(*stretches, step_s=5.0):
    """Windows of 10 s, as many as each stretch (number, probability) says."""
    probability = np.concatenate([np.full(n, p) for n, p in stretches])
    start_s = np.arange(len(probability)) * step_s
    log_odds = np.stack([logit(probability), np.zeros(len(probability))], axis=1)
    return AfEvidence(start_s, start_s + 10.0, log_odds, np.zeros(0))


def test_hysteresis_holds_until_the_lower_limit():
    values = np.array([1, 3, 2, 2, 3, 1, 2, 1, 3])
    assert held(values >= 3, values >= 2) == [(1, 4), (8, 8)]


def test_a_steady_sinus_rhythm_has_no_rate_finding():
    assert rate_episodes(beats((40, 0.8)), 33.0) == []


@pytest.mark.parametrize(
    ("rr_s", "code", "rate"), [(1.5, "bradycardia", 40.0), (0.5, "tachycardia", 120.0)]
)
def test_one_episode_is_one_finding(rr_s, code, rate):
    times_s = beats((30, 0.8), (25, rr_s), (30, 0.8))
    (found,) = rate_episodes(times_s, float(times_s[-1]) + 0.5)
    assert (found.code, found.value) == (code, pytest.approx(rate))
    assert found.start_s == pytest.approx(24.5, abs=4 * rr_s)
    assert found.end_s == pytest.approx(24.5 + 25 * rr_s, abs=4 * rr_s)


def test_a_rate_that_wavers_around_the_limit_is_one_episode():
    times_s = beats((20, 0.58), (20, 0.61), (20, 0.58))  # 103, 98, 103 a minute
    assert [r.code for r in rate_episodes(times_s, 36.0)] == ["tachycardia"]
    times_s = beats((20, 0.58), (20, 0.64), (20, 0.58))  # 94 in between
    assert [r.code for r in rate_episodes(times_s, 37.0)] == ["tachycardia", "tachycardia"]


def test_a_short_burst_is_no_episode():
    times_s = beats((40, 0.8), (12, 0.5), (40, 0.8))
    assert rate_episodes(times_s, 71.0) == []


@pytest.mark.parametrize("duration_s", [5.0, 10.0])
def test_a_short_strip_can_be_an_episode(duration_s):
    times_s = np.arange(0.3, duration_s, 0.5)
    (found,) = rate_episodes(times_s, duration_s)
    assert found.value == pytest.approx(120)


def test_bigeminy_keeps_its_mean_rate():
    intervals_s = np.tile([0.5, 1.1], 20)
    times_s = np.cumsum(intervals_s)
    assert rate_episodes(times_s, 33.0) == []


@pytest.mark.parametrize("times_s", [[], [1.0]])
def test_no_interval_no_rate(times_s):
    assert rate_episodes(np.array(times_s), 10.0) == []


def test_pauses_between_before_and_after():
    found = pauses(np.array([3.5, 4.3, 7.2, 10.3]), 13.2)
    assert [(p.start_s, p.end_s) for p in found] == [(0.0, 3.5), (7.2, 10.3)]
    assert found[1].value == pytest.approx(3.1)
    assert pauses(np.zeros(0), 10.0) == []


def test_runs_are_three_of_a_kind_in_a_row():
    classes = tuple("NVVNVVVNSSSSVVN")
    found = runs(np.arange(len(classes)) * 0.5, classes)
    assert [(r.code, r.start_s, r.end_s, r.value) for r in found] == [
        ("ventricular-run", 2.0, 3.0, 3),
        ("supraventricular-run", 4.0, 5.5, 4),
    ]


def test_a_short_strip_is_fibrillation_as_a_whole_or_not_at_all():
    (found,) = af_episodes(evidence((2, 0.9), (1, 0.6)), 20.0, 0.7, 0.4)
    assert (found.start_s, found.end_s) == (0.0, 20.0)
    assert found.value > found.threshold == 0.7
    assert af_episodes(evidence((1, 0.9), (2, 0.1)), 20.0, 0.7, 0.4) == []


def test_an_episode_begins_and_ends_within_a_window_of_the_truth():
    (found,) = af_episodes(evidence((20, 0.01), (20, 0.99), (20, 0.01)), 305.0, 0.6, 0.4)
    assert found.start_s == pytest.approx(102.5, abs=10)
    assert found.end_s == pytest.approx(202.5, abs=10)


def test_shorter_than_thirty_seconds_is_no_episode():
    assert af_episodes(evidence((20, 0.01), (4, 0.99), (20, 0.01)), 225.0, 0.6, 0.4) == []


def test_a_short_interruption_does_not_end_an_episode():
    found = af_episodes(evidence((20, 0.99), (4, 0.01), (20, 0.99)), 225.0, 0.6, 0.4)
    assert [(r.start_s, r.end_s) for r in found] == [(0.0, 225.0)]
    found = af_episodes(evidence((20, 0.99), (12, 0.01), (20, 0.99)), 265.0, 0.6, 0.4)
    assert len(found) == 2


def test_without_windows_there_is_no_episode():
    assert af_episodes(evidence((0, 0.5)), 60.0, 0.5, 0.4) == []
