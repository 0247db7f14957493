"""Packets wait, become windows once, and end in a visible state."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from db.errors import NotFound
from db.packets import INCOMPLETE_REASON, LATE_REASON
from db.records import ExamState, MessageState, NewExam, NewWindow, PatientRef
from model.ecg import Ecg

T0 = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
NOW = T0 + timedelta(minutes=1)


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
        receipt = store.accept(sent, MessageState.ACCEPTED, None, b"AA", [new])
        return receipt.message_id, sent.exam_id(0)

    return make


def state_of(store, id_):
    return next(e for e in store.recent_exams(100) if e.id == id_)


def window(packet, start, recording, done):
    return NewWindow(packet.stream, start, recording, packet.id, tuple(done))


def test_a_packet_waits_and_rings_nobody(store, arrive):
    _, id_ = arrive(3)
    (packet,) = store.waiting_packets(10)
    assert packet.id == id_
    assert packet.stream.patient == PatientRef("P1", "H")
    assert (packet.stream.sender, packet.stream.sampling_rate_hz) == ("CART^ED", 250.0)
    assert (packet.start, packet.end) == (T0 + timedelta(seconds=3), T0 + timedelta(seconds=4))
    assert store.claim_waiting_exams(NOW, 10) == ()
    assert store.begin_scoring(id_) is None


def test_a_whole_ecg_is_no_packet(store, arrive):
    _, id_ = arrive(0, seconds=10.0)
    assert store.waiting_packets(10) == ()
    assert store.begin_scoring(id_) is not None


def test_streams_are_told_apart(store, arrive):
    arrive(0)
    arrive(0, patient="P2")
    arrive(1, rate=500.0)
    assert len({p.stream for p in store.waiting_packets(10)}) == 3


def test_samples_come_in_the_order_that_is_asked_for(store, arrive):
    _, one = arrive(1)
    _, two = arrive(2)
    assert [e.start.second for e in store.packet_ecgs([two, one])] == [2, 1]


def test_a_window_becomes_an_exam_once(store, arrive):
    message_id, id_ = arrive(3)
    (packet,) = store.waiting_packets(10)
    whole = window(packet, T0, ecg(0, 10.0), [id_])
    assert store.save_window(whole)
    assert not store.save_window(whole)
    exam_id = packet.stream.window_id(T0)
    assert store.known_exams([exam_id, id_, message_id]) == {exam_id, id_}
    assert store.claim_waiting_exams(NOW, 10) == (exam_id,)
    exam = store.begin_scoring(exam_id)
    assert (exam.message_id, exam.patient, exam.acquired) == (message_id, PatientRef("P1", "H"), T0)
    assert exam.ecg.duration_s == 10.0
    assert store.waiting_packets(10) == ()
    assert state_of(store, id_).state is ExamState.STITCHED
    with pytest.raises(NotFound):  # its samples live on in the window
        store.load_exam(id_)


def test_a_packet_over_the_border_begins_one_window_and_serves_two(store, arrive):
    _, id_ = arrive(9.5)
    (packet,) = store.waiting_packets(10)
    later = T0 + timedelta(seconds=10)
    assert store.save_window(window(packet, T0, ecg(0, 10.0), []))
    assert store.save_window(window(packet, later, ecg(10, 10.0), [id_]))
    assert len(store.claim_waiting_exams(NOW, 10)) == 2


def test_what_is_too_little_ends_with_its_reason(store, arrive):
    _, id_ = arrive(3)
    (packet,) = store.waiting_packets(10)
    store.save_window(window(packet, T0, None, [id_]))
    told = state_of(store, id_)
    assert (told.state, told.reason) == (ExamState.UNSCORABLE, INCOMPLETE_REASON)


def test_what_came_too_late_ends_with_its_reason(store, arrive):
    _, id_ = arrive(3)
    store.end_late_packets([id_])
    told = state_of(store, id_)
    assert (told.state, told.reason) == (ExamState.UNSCORABLE, LATE_REASON)
    store.load_exam(id_)  # nothing of it is thrown away


def test_the_same_window_has_the_same_id(store, arrive):
    arrive(0)
    (packet,) = store.waiting_packets(10)
    stream = packet.stream
    assert stream.window_id(T0) == stream.window_id(T0)
    assert stream.window_id(T0) != stream.window_id(T0 + timedelta(seconds=10))
