"""Packets to windows: what joins, what stays apart, what came twice or late."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.ecg import Ecg
from model.stitch import (
    IDLE_S,
    STRIDE_S,
    Span,
    core_of,
    is_closed,
    is_packet,
    phase_of,
    stitch,
    window_for,
    windows_in,
)

T0 = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
RATE = 250.0
SECOND = 250
NO_PHASE = timedelta(0)
# A minute of lead II and V1 that never repeats, in steps of 5 uV.
STEPS = np.arange(60 * SECOND) % 3001
SIGNAL = (np.stack([STEPS, STEPS[::-1]]) * 0.005).astype(np.float32)


def at(seconds):
    return T0 + timedelta(seconds=seconds)


def packet(second, *, seconds=1.0, jitter_s=0.0, leads=("II", "V1"), signal=SIGNAL):
    rows = [("II", "V1").index(lead) for lead in leads]
    first = round(second * RATE)
    piece = signal[rows, first : first + round(seconds * RATE)]
    return Ecg(piece, leads, RATE, at(second + jitter_s), (0.005,) * len(leads))


TEN = [packet(s) for s in range(10)]


def test_ten_packets_make_a_window():
    window = stitch(TEN, T0, 10)
    assert window.ecg.leads == ("II", "V1")
    np.testing.assert_array_equal(window.ecg.voltage_mv, SIGNAL[:, : 10 * SECOND])
    assert (window.ecg.start, window.ecg.sampling_rate_hz) == (T0, RATE)
    assert window.ecg.resolution_mv == (0.005, 0.005)
    assert (window.share, window.overlapping) == (1.0, False)


@given(st.permutations(range(10)), st.lists(st.integers(0, 9), max_size=5))
def test_order_and_repetition_change_nothing(order, again):
    arrived = [TEN[n] for n in [*order, *again]]
    window = stitch(arrived, T0, 10)
    np.testing.assert_array_equal(window.ecg.voltage_mv, SIGNAL[:, : 10 * SECOND])
    assert not window.overlapping


@given(st.lists(st.floats(-0.04, 0.04), min_size=9, max_size=9))
def test_jitter_of_clocks_leaves_no_seam(jitter):
    arrived = [packet(0), *(packet(n + 1, jitter_s=j) for n, j in enumerate(jitter))]
    window = stitch(arrived, T0, 10)
    np.testing.assert_array_equal(window.ecg.voltage_mv, SIGNAL[:, : 10 * SECOND])


def test_a_lost_packet_is_a_gap_and_what_follows_keeps_its_time():
    window = stitch(TEN[:4] + TEN[5:], T0, 10)
    lost = slice(4 * SECOND, 5 * SECOND)
    assert np.isnan(window.ecg.voltage_mv[:, lost]).all()
    np.testing.assert_array_equal(
        window.ecg.voltage_mv[:, lost.stop :], SIGNAL[:, lost.stop : 10 * SECOND]
    )
    assert window.share == pytest.approx(0.9)


def test_a_packet_over_the_border_serves_both_windows():
    arrived = [packet(s + 0.5) for s in range(20)]
    first, second = stitch(arrived, T0, 10), stitch(arrived, at(10), 10)
    assert first.start == first.ecg.start == at(0.5)
    np.testing.assert_array_equal(first.ecg.voltage_mv, SIGNAL[:, SECOND // 2 : 10 * SECOND])
    np.testing.assert_array_equal(second.ecg.voltage_mv, SIGNAL[:, 10 * SECOND : 20 * SECOND])


def test_leads_that_come_apart_come_together():
    ones = [packet(s, leads=("II",)) for s in range(10)]
    others = [packet(s, leads=("V1",), jitter_s=0.001) for s in range(10)]
    window = stitch([*ones, *others], T0, 10)
    np.testing.assert_array_equal(window.ecg.voltage_mv, SIGNAL[:, : 10 * SECOND])


def test_a_lead_that_was_off_for_long_is_left_out():
    arrived = [packet(s, leads=("II", "V1") if s < 4 else ("II",)) for s in range(10)]
    assert stitch(arrived, T0, 10).ecg.leads == ("II",)


def test_packets_that_contradict_each_other_are_told_and_the_first_stands():
    other = packet(3, signal=-SIGNAL)
    window = stitch([*TEN, other], T0, 10)
    assert window.overlapping
    np.testing.assert_array_equal(window.ecg.voltage_mv, SIGNAL[:, : 10 * SECOND])


def test_a_window_without_enough_has_no_ecg():
    assert stitch([], T0, 10).ecg is None
    assert stitch([TEN[0], TEN[5]], T0, 10).ecg is None
    assert stitch(TEN, at(60), 10).ecg is None


def test_resolutions_that_change_are_not_claimed():
    finer = Ecg(TEN[9].voltage_mv, ("II", "V1"), RATE, at(9), (0.001, 0.005))
    assert stitch([*TEN[:9], finer], T0, 10).ecg.resolution_mv is None


def test_what_is_a_packet():
    assert is_packet(packet(0))
    assert not is_packet(packet(0, seconds=5.0))
    assert not is_packet(Ecg(SIGNAL[:, :SECOND], ("II", "V1"), RATE))


def test_windows_answer_for_cores_that_tile_time():
    windows = [window_for(at(s / 4), NO_PHASE) for s in range(240)]
    for moment, window in zip((at(s / 4) for s in range(240)), windows, strict=True):
        begin, end = core_of(window)
        assert begin <= moment < end
    assert sorted(set(windows)) == [at(10 * n) for n in range(-1, 6)]


def test_beds_are_not_due_in_the_same_second():
    phases = {phase_of(n) for n in range(1000)}
    assert len(phases) == 250
    assert max(phases) < timedelta(seconds=STRIDE_S)
    window = window_for(T0, timedelta(seconds=3))
    assert core_of(window)[0] <= T0 < core_of(window)[1]
    assert window.second % 10 == 3


def spans(seconds, leads=("II",)):
    return [Span(at(s), at(s + 1), leads) for s in seconds]


def test_windows_have_something_in_their_core():
    assert windows_in(spans(range(30)), NO_PHASE, None) == (at(-10), at(0), at(10), at(20))
    assert windows_in(spans(range(30)), NO_PHASE, at(-10)) == (at(0), at(10), at(20))
    # A clock that was an hour off costs no time.
    assert windows_in(spans([0, 3600]), NO_PHASE, None) == (at(-10), at(3590))
    assert windows_in([], NO_PHASE, None) == ()


@pytest.mark.parametrize(
    ("seconds", "watermark_s", "silent_s", "closed"),
    [
        (range(19), 19, 0, False),
        (range(20), 20, 0, True),  # whole: no need to wait
        ([*range(8), *range(9, 20)], 20, 0, False),  # the ninth may still come
        ([*range(8), *range(9, 23)], 23, 0, True),
        (range(4, 20), 20, 0, True),  # whole from where it begins
        (range(4), 4, IDLE_S, True),
        (range(4), 4, IDLE_S - 1, False),
    ],
)
def test_when_nothing_is_waited_for(seconds, watermark_s, silent_s, closed):
    assert is_closed(T0, spans(seconds), at(watermark_s), silent_s) is closed


def test_every_lead_is_waited_for():
    known = [*spans(range(20)), *spans(range(12), ("V1",))]
    assert not is_closed(T0, known, at(20), 0)
    assert is_closed(T0, [*known, *spans(range(12, 20), ("V1",))], at(20), 0)
