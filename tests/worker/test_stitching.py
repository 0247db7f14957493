"""A monitor's packets, from the store and back into it."""

import threading
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from db.records import MessageState, NewExam, NewMessage, PatientRef
from model.ecg import Ecg
from worker.stitching import stitch_once

T0 = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
RATE = 250.0
STEPS = np.arange(60 * 250) % 3001
SIGNAL = (STEPS * 0.005).astype(np.float32)[None]


def at(seconds):
    return T0 + timedelta(seconds=seconds)


@pytest.fixture
def arrive(store):
    """Store a monitor's packets of a second, each as a message of its own."""

    def make(seconds, *, patient="P1", received_s=None):
        for second in seconds:
            first = round(second * RATE)
            ecg = Ecg(SIGNAL[:, first : first + 250], ("II",), RATE, at(second), (0.005,))
            now = at(second + 1 if received_s is None else received_s)
            raw = f"{patient} {second}".encode()
            message = NewMessage.whole("mllp", "MONITOR^ICU", f"{patient}-{second}", raw, now)
            exam = NewExam(PatientRef(patient), ecg, ecg.start)
            store.accept(message, MessageState.ACCEPTED, None, b"AA", [exam])

    return make


def exams(store):
    ids = store.claim_waiting_exams(at(10_000), 100)
    return sorted((store.load_exam(id_) for id_ in ids), key=lambda e: (e.acquired, str(e.id)))


def states(store):
    return {k: n for k, n in store.status(at(0)).exams.items() if n}


def test_a_minute_of_packets_makes_six_windows(store, arrive):
    for second in range(60):
        arrive([second])
        stitch_once(store, at(second + 1))
    assert states(store) == {"received": 5, "stitched": 50, "packet": 10}
    assert stitch_once(store, at(100)) == 1  # nothing came for long
    assert states(store) == {"received": 6, "stitched": 60}
    made = exams(store)
    assert [e.acquired for e in made] == [at(10 * n) for n in range(6)]
    np.testing.assert_array_equal(np.hstack([e.ecg.voltage_mv for e in made]), SIGNAL)


def test_the_window_is_the_same_whenever_a_process_starts(store, arrive):
    arrive(range(5, 25))
    assert stitch_once(store, at(25)) == 2
    exam, _ = exams(store)
    assert exam.acquired == at(0)
    assert np.isnan(exam.ecg.voltage_mv[:, : 5 * 250]).all()
    arrive(range(25, 34))
    assert stitch_once(store, at(34)) == 1
    assert states(store) == {"received": 3, "stitched": 25, "packet": 4}


def test_order_of_arrival_does_not_matter(store, arrive):
    arrive([3, 1, 9, 0, 2, 8, 4, 7, 5, 6, 12], received_s=13)
    assert stitch_once(store, at(13)) == 1
    (exam,) = exams(store)
    np.testing.assert_array_equal(exam.ecg.voltage_mv, SIGNAL[:, :2500])


def test_a_late_packet_is_told_and_changes_nothing(store, arrive):
    arrive([0, 1, 2, 3, 4, 5, 6, 7, 9, 12], received_s=13)
    stitch_once(store, at(13))
    (before,) = exams(store)
    arrive([8], received_s=14)
    assert stitch_once(store, at(14)) == 0
    assert states(store) == {"received": 1, "stitched": 9, "unscorable": 1, "packet": 1}
    np.testing.assert_array_equal(store.load_exam(before.id).ecg.voltage_mv, before.ecg.voltage_mv)


def test_too_little_is_told(store, arrive):
    arrive([0, 1, 2])
    assert stitch_once(store, at(60)) == 0
    assert states(store) == {"unscorable": 3}


def test_patients_are_never_mixed(store, arrive):
    arrive(range(10), patient="P1")
    arrive(range(10), patient="P2")
    assert stitch_once(store, at(60)) == 2
    assert {e.patient.identifier for e in exams(store)} == {"P1", "P2"}


def test_a_clock_set_back_by_an_hour_loses_nothing(store, arrive):
    arrive(range(40, 60))
    stitch_once(store, at(60))
    arrive(range(10), received_s=61)
    stitch_once(store, at(120))
    assert [e.acquired for e in exams(store)] == [at(0), at(40), at(50)]


def test_workers_at_once_make_each_window_once(store, arrive):
    for patient in "ABCD":
        arrive(range(20), patient=patient)
    made = []
    threads = [
        threading.Thread(target=lambda: made.append(stitch_once(store, at(60)))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(made) == 8
    assert states(store) == {"received": 8, "stitched": 80}


def test_samples_that_do_not_decode_end_as_incomplete(store, arrive):
    arrive(range(10))
    with store._engine.begin() as connection:
        connection.exec_driver_sql("UPDATE waveform SET samples = x'00'")
    assert stitch_once(store, at(60)) == 0
    assert states(store) == {"unscorable": 10}
