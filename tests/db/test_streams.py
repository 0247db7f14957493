"""Streams are claimed by one task at a time and go on one step for each window."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import numpy as np
import pytest

from db.clinical import Incoming
from db.records import MessageState, NewExam, PatientRef
from db.retention import Hold, Periods, Pruned
from db.streaming import Progress, Stream, StreamState, Window
from model.alarms import LOST_S
from model.ecg import Ecg
from model.findings import RhythmFinding
from model.stitch import IDLE_S, STRIDE_S, TOLERANCE_S, WINDOW_S, window_for

T0 = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
STREAM = Stream("CART^ED", PatientRef("P1", "H"), 250.0)


def at(seconds):
    return T0 + timedelta(seconds=seconds)


FIRST = window_for(T0, STREAM.phase)


@pytest.fixture
def arrive(store, message):
    """Store packets of a second and give them to their stream."""

    def make(*seconds):
        for second in seconds:
            sent = message(str(second), raw=str(second).encode(), received_at=at(second + 1))
            ecg = Ecg(np.zeros((1, 250), np.float32), ("II",), 250.0, at(second), (0.005,))
            exam = NewExam(STREAM.patient, ecg, ecg.start)
            store.accept(Incoming(sent, MessageState.ACCEPTED, None, b"AA", [exam]))
        store.adopt_packets(1000)

    return make


def window(start, rhythms=()):
    beats = ((start + timedelta(seconds=6), "N"), (start + timedelta(seconds=7.25), "V"))
    return Window(start, "good", 61.5, beats, rhythms, start, "strip@1", 1.0, overlapping=False)


def step(claim, *windows, due_s=60, state=StreamState.LIVE):
    last = windows[-1].beats[-1][0] if windows else claim.last_beat
    return Progress(claim, windows, last, claim.courses, {}, at(due_s), state)


def test_a_stream_is_due_when_its_first_window_can_be_whole(store, arrive):
    ends = (FIRST - T0).total_seconds() + WINDOW_S
    arrive(*range(int(ends)))
    assert store.claim_streams(at(ends), 10, 60.0) == ()
    arrive(int(ends))
    assert store.claim_streams(at(ends), 10, 60.0) == (STREAM.id,)


def test_a_window_that_ends_within_a_packets_jitter_is_not_waited_for(store, arrive):
    ends = (FIRST - T0).total_seconds() + WINDOW_S
    arrive(0, ends - TOLERANCE_S - 1)
    assert store.claim_streams(at(ends), 10, 60.0) == (STREAM.id,)


def test_a_claim_is_nobody_elses_until_its_lease_ends(store, arrive):
    arrive(*range(30))
    assert store.claim_streams(at(30), 10, 60.0) == (STREAM.id,)
    assert store.claim_streams(at(31), 10, 60.0) == ()
    assert store.claim_streams(at(91), 10, 60.0) == (STREAM.id,)


def test_a_claim_says_how_the_stream_stands(store, arrive):
    arrive(*range(30))
    claim = store.open_claim(STREAM.id)
    assert (claim.stream, claim.state) == (STREAM, StreamState.LIVE)
    assert (claim.heard_at, claim.watermark) == (at(30), at(30))
    assert (claim.made_to, claim.last_beat, claim.attempts, claim.courses) == (None, None, 1, ())
    assert store.open_claim(STREAM.id).attempts == 2


def test_a_step_is_taken_once(store, arrive):
    arrive(*range(30))
    first, second = store.open_claim(STREAM.id), store.open_claim(STREAM.id)
    af = RhythmFinding("AF", 0.0, 20.0, 0.9, 0.5)
    store.save_progress(step(first, window(FIRST, (af,))), at(30), 0.3)
    store.save_progress(step(second, window(FIRST)), at(30), 0.3)
    assert store.find_windows() == ((STREAM.id, window(FIRST, (af,))),)
    now = store.open_claim(STREAM.id)
    assert (now.made_to, now.last_beat) == (FIRST, FIRST + timedelta(seconds=7.25))


def test_a_stream_that_gave_nothing_is_left_alone_for_a_moment(store, arrive):
    arrive(*range(30))
    store.save_progress(step(store.open_claim(STREAM.id), due_s=0), at(30), 0.3)
    assert store.claim_streams(at(30.2), 10, 60.0) == ()
    assert store.claim_streams(at(30.4), 10, 60.0) == (STREAM.id,)


def test_a_silent_stream_is_due_idle_and_then_over(store, arrive):
    arrive(0)
    assert store.claim_streams(at(IDLE_S), 10, 0.0) == ()
    assert store.claim_streams(at(1 + IDLE_S), 10, 0.0) == (STREAM.id,)
    idle = step(store.open_claim(STREAM.id), window(FIRST), state=StreamState.IDLE)
    store.save_progress(idle, at(40), 0.3)
    assert store.claim_streams(at(LOST_S), 10, 0.0) == ()
    assert store.claim_streams(at(1 + LOST_S), 10, 0.0) == (STREAM.id,)
    over = step(store.open_claim(STREAM.id), state=StreamState.OVER)
    store.save_progress(over, at(302), 0.3)
    assert store.claim_streams(at(10_000), 10, 0.0) == ()
    assert store.open_claim(STREAM.id) is None
    arrive(400)
    assert store.open_claim(STREAM.id).state is StreamState.LIVE


def test_what_was_said_for_its_silence_is_dropped_when_it_speaks(store, arrive):
    arrive(0)
    silent = step(store.open_claim(STREAM.id), window(FIRST), state=StreamState.IDLE)
    arrive(40)
    store.save_progress(silent, at(41), 0.3)
    assert store.find_windows() == ()


def test_late_chunks_are_kept_and_counted(store, arrive):
    arrive(*range(5, 30))
    made = step(store.open_claim(STREAM.id), window(FIRST + timedelta(seconds=STRIDE_S)))
    store.save_progress(made, at(30), 0.3)
    arrive(2)
    assert len(store.chunks_from(STREAM, None)) == 26
    with store._engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT late FROM stream").scalar() == 1


def test_chunks_of_a_stretch_come_in_the_order_of_their_arrival(store, arrive):
    arrive(9, 3, 5)
    found = store.chunks_between(STREAM, at(2), at(6))
    assert [chunk.span.start for chunk in found] == [at(3), at(5)]
    assert [chunk.span.start for chunk in store.chunks_from(STREAM, at(5))] == [at(5), at(9)]


def test_windows_are_found_by_what_they_show(store, arrive):
    arrive(*range(60))
    pause = RhythmFinding("pause", 1.0, 5.0, 4.0, 3.0)
    later = FIRST + timedelta(seconds=STRIDE_S)
    both = (window(FIRST), window(later, (pause,)))
    store.save_progress(step(store.open_claim(STREAM.id), *both), at(60), 0.3)
    assert [w.start for _, w in store.find_windows()] == [later, FIRST]
    assert [w.start for _, w in store.find_windows(flag="pause")] == [later]
    assert store.find_windows(flag="AF") == ()
    assert len(store.find_windows(patient="P1")) == 2
    assert store.find_windows(patient="P2") == ()
    assert [w.start for _, w in store.find_windows(since=later)] == [later]
    assert [w.start for _, w in store.find_windows(until=later)] == [FIRST]


def test_a_stream_has_the_same_id_for_ever():
    assert str(STREAM.id) == str(replace(STREAM).id)
    assert STREAM.id != replace(STREAM, sampling_rate_hz=500.0).id
    assert STREAM.id != replace(STREAM, sender="OTHER").id


def test_packets_that_were_read_go_with_their_windows_and_others_stay(store, arrive):
    week = Periods(recordings=timedelta(days=7))
    later = at(30 * 86_400)
    arrive(*range(60))
    assert store.prunable(week, later) == Pruned()  # nobody has read them yet
    claim = store.open_claim(STREAM.id)
    starts = [FIRST + timedelta(seconds=STRIDE_S * n) for n in range(4)]
    store.save_progress(step(claim, *map(window, starts)), at(60), 0.3)
    read = int((starts[-1] - T0).total_seconds()) + 1
    assert store.prunable(week, later) == Pruned(recordings=read)
    assert store.prunable(week, at(60)) == Pruned()
    hold = Hold(uuid4(), at(0), "admin", "case", STREAM.patient.identifier, None)
    store.add_hold(hold)
    assert store.prune(week, later, "admin") == Pruned()
    store.release_hold(hold.id, "admin", at(1))
    assert store.prune(week, later, "admin") == Pruned(recordings=read)
    assert store.prune(week, later, "admin") == Pruned()
    assert len(store.chunks_between(STREAM, T0, at(60))) == 60 - read
    assert [w.start for _, w in store.find_windows()] == starts[-1:]
