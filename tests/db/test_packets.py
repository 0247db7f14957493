"""Packets wait, are given to their streams once, and end in a visible state."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from db.clinical import Incoming
from db.errors import NotFound
from db.packets import AHEAD_REASON
from db.records import ExamState, MessageState, NewExam, PatientRef
from db.streaming import Stream
from model.ecg import Ecg

T0 = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
NOW = T0 + timedelta(minutes=1)
ANNA = Stream("CART^ED", PatientRef("P1", "H"), 250.0)


def ecg(second, seconds=1.0, rate=250.0):
    start = T0 + timedelta(seconds=second)
    samples = np.full((1, round(seconds * rate)), second * 0.005, np.float32)
    return Ecg(samples, ("II",), rate, start, (0.005,))


@pytest.fixture
def arrive(store, message):
    """Store a packet; returns its id."""

    def make(second, *, patient="P1", **about):
        sent = message(control_id=f"{patient}-{second}", raw=f"{patient} {second} {about}".encode())
        recording = ecg(second, **about)
        new = NewExam(PatientRef(patient, "H"), recording, recording.start)
        store.accept(Incoming(sent, MessageState.ACCEPTED, None, b"AA", [new]))
        return sent.exam_id(0)

    return make


def state_of(store, id_):
    return next(e for e in store.recent_exams(100) if e.id == id_)


def test_a_packet_waits_and_rings_nobody(store, arrive):
    id_ = arrive(3)
    assert state_of(store, id_).state is ExamState.PACKET
    assert store.claim_waiting_exams(NOW, 10) == ()
    assert store.begin_scoring(id_) is None


def test_a_whole_ecg_is_no_packet(store, arrive):
    id_ = arrive(0, seconds=10.0)
    assert store.adopt_packets(10) == 0
    assert store.begin_scoring(id_) is not None


def test_a_packet_is_given_to_its_stream_once(store, arrive):
    id_ = arrive(3)
    assert store.adopt_packets(10) == 1
    assert store.adopt_packets(10) == 0
    assert state_of(store, id_).state is ExamState.STITCHED
    with pytest.raises(NotFound):  # its samples live on in the stream
        store.load_exam(id_)
    (chunk,) = store.chunks_from(ANNA, None)
    np.testing.assert_array_equal(chunk.ecg().voltage_mv, ecg(3).voltage_mv)
    assert (chunk.span.start, chunk.span.end) == (
        T0 + timedelta(seconds=3),
        T0 + timedelta(seconds=4),
    )


def test_streams_are_told_apart(store, arrive):
    arrive(0)
    arrive(0, patient="P2")
    arrive(1, rate=500.0)
    store.adopt_packets(10)
    others = [
        Stream("CART^ED", PatientRef("P2", "H"), 250.0),
        Stream("CART^ED", PatientRef("P1", "H"), 500.0),
    ]
    assert [len(store.chunks_from(stream, None)) for stream in (ANNA, *others)] == [1, 1, 1]


def test_the_earliest_recorded_are_given_first(store, arrive):
    late, early = arrive(9), arrive(2)
    assert store.adopt_packets(1) == 1
    assert state_of(store, early).state is ExamState.STITCHED
    assert state_of(store, late).state is ExamState.PACKET


def test_a_packet_of_the_future_ends_with_its_reason(store, arrive):
    id_ = arrive(400)
    assert store.adopt_packets(10) == 1
    told = state_of(store, id_)
    assert (told.state, told.reason) == (ExamState.UNSCORABLE, AHEAD_REASON)
    store.load_exam(id_)  # nothing of it is thrown away
