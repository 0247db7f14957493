"""Packets to windows: what joins, what stays apart, what came twice or late."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.ecg import Ecg
from model.stitch import (
    IDLE_S,
    closed_windows,
    is_packet,
    stitch,
    window_start,
)

T0 = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
RATE = 250.0
SECOND = 250
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
    window = stitch(TEN, T0)
    assert window.ecg.leads == ("II", "V1")
    np.testing.assert_array_equal(window.ecg.voltage_mv, SIGNAL[:, : 10 * SECOND])
    assert (window.ecg.start, window.ecg.sampling_rate_hz) == (T0, RATE)
    assert window.ecg.resolution_mv == (0.005, 0.005)
    assert (window.share, window.overlapping) == (1.0, False)


@settings(deadline=None)
@given(st.permutations(range(10)), st.lists(st.integers(0, 9), max_size=5))
def test_order_and_repetition_change_nothing(order, again):
    arrived = [TEN[n] for n in [*order, *again]]
    window = stitch(arrived, T0)
    np.testing.assert_array_equal(window.ecg.voltage_mv, SIGNAL[:, : 10 * SECOND])
    assert not window.overlapping


@settings(deadline=None)
@given(st.lists(st.floats(-0.04, 0.04), min_size=9, max_size=9))
def test_jitter_of_clocks_leaves_no_seam(jitter):
    arrived = [packet(0), *(packet(n + 1, jitter_s=j) for n, j in enumerate(jitter))]
    window = stitch(arrived, T0)
    np.testing.assert_array_equal(window.ecg.voltage_mv, SIGNAL[:, : 10 * SECOND])


def test_a_lost_packet_is_a_gap_and_what_follows_keeps_its_time():
    window = stitch(TEN[:4] + TEN[5:], T0)
    lost = slice(4 * SECOND, 5 * SECOND)
    assert np.isnan(window.ecg.voltage_mv[:, lost]).all()
    np.testing.assert_array_equal(
        window.ecg.voltage_mv[:, lost.stop :], SIGNAL[:, lost.stop : 10 * SECOND]
    )
    assert window.share == pytest.approx(0.9)


def test_a_packet_over_the_border_serves_both_windows():
    arrived = [packet(s + 0.5) for s in range(20)]
    first, second = stitch(arrived, T0), stitch(arrived, at(10))
    assert np.isnan(first.ecg.voltage_mv[:, : SECOND // 2]).all()
    np.testing.assert_array_equal(
        first.ecg.voltage_mv[:, SECOND // 2 :], SIGNAL[:, SECOND // 2 : 10 * SECOND]
    )
    np.testing.assert_array_equal(second.ecg.voltage_mv, SIGNAL[:, 10 * SECOND : 20 * SECOND])


def test_leads_that_come_apart_come_together():
    ones = [packet(s, leads=("II",)) for s in range(10)]
    others = [packet(s, leads=("V1",), jitter_s=0.001) for s in range(10)]
    window = stitch([*ones, *others], T0)
    np.testing.assert_array_equal(window.ecg.voltage_mv, SIGNAL[:, : 10 * SECOND])


def test_a_lead_that_was_off_for_long_is_left_out():
    arrived = [packet(s, leads=("II", "V1") if s < 4 else ("II",)) for s in range(10)]
    assert stitch(arrived, T0).ecg.leads == ("II",)


def test_packets_that_contradict_each_other_are_told_and_the_first_stands():
    other = packet(3, signal=-SIGNAL)
    window = stitch([*TEN, other], T0)
    assert window.overlapping
    np.testing.assert_array_equal(window.ecg.voltage_mv, SIGNAL[:, : 10 * SECOND])


def test_a_window_without_enough_has_no_ecg():
    assert stitch([], T0).ecg is None
    assert stitch(TEN[:4], T0).ecg is None
    assert stitch(TEN, at(60)).ecg is None


def test_resolutions_that_change_are_not_claimed():
    finer = Ecg(TEN[9].voltage_mv, ("II", "V1"), RATE, at(9), (0.001, 0.005))
    assert stitch([*TEN[:9], finer], T0).ecg.resolution_mv is None


def test_what_is_a_packet():
    assert is_packet(packet(0))
    assert not is_packet(packet(0, seconds=5.0))
    assert not is_packet(Ecg(SIGNAL[:, :SECOND], ("II", "V1"), RATE))


def test_windows_are_the_same_wherever_they_are_cut():
    assert window_start(at(9.999)) == T0
    assert window_start(at(10)) == at(10)
    assert window_start(datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC)).second == 50


@pytest.mark.parametrize(
    ("seconds", "silent", "expected"),
    [
        (range(9), 0, []),
        (range(12), 0, []),
        (range(13), 0, [0]),
        (range(3, 33), 1, [0, 10, 20]),
        (range(3, 33), IDLE_S, [0, 10, 20, 30]),
        (range(4), IDLE_S, [0]),
        (range(10), IDLE_S, [0]),
        ((), IDLE_S, []),
        # A clock that was an hour off costs no time: only windows with something in them.
        ((0, 1, 3600, 3613), 0, [0, 3600]),
    ],
)
def test_which_windows_nothing_is_waited_for(seconds, silent, expected):
    spans = [(at(s), at(s + 1)) for s in seconds]
    assert closed_windows(spans, silent) == tuple(at(s) for s in expected)
