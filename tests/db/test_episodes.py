"""Episodes are stored step by step; one that is raised becomes an exam, once."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from db.clinical import Incoming
from db.records import ExamState, MessageState, NewExam, PatientRef
from db.reviews import ReportStatus
from db.streaming import Progress, Stream, StreamState, Window, episode_id
from db.versions import NewVersion
from model.alarms import Course
from model.ecg import Ecg

T0 = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
STREAM = Stream("CART^ED", PatientRef("P1", "H"), 250.0)


def at(seconds):
    return T0 + timedelta(seconds=seconds)


def course(last_s, *, raised=False, ended=None, critical=False):
    return Course("AF", at(0), at(0), at(last_s), last_s, 0.0, 0.9, 0.5, raised, ended, critical)


def version(status=ReportStatus.PRELIMINARY, critical=()):
    return NewVersion(status, at(60), {"resourceType": "Bundle"}, "worker", critical=critical)


@pytest.fixture
def go_on(store, message):
    """Take a step of a stream with these courses; returns the exams it made."""
    ecg = Ecg(np.zeros((1, 250), np.float32), ("II",), 250.0, at(0), (0.005,))
    exam = NewExam(STREAM.patient, ecg, ecg.start)
    store.accept(Incoming(message(received_at=at(1)), MessageState.ACCEPTED, None, b"AA", [exam]))
    store.adopt_packets(1)

    def make(second, *courses):
        claim = store.open_claim(STREAM.id)
        start = at(second)
        window = Window(start, "good", None, (), (), start, "strip@1", share=1.0, overlapping=False)
        onsets = {episode_id(STREAM.id, course): ecg for course in courses}
        step = Progress(claim, (window,), None, courses, onsets, start, StreamState.LIVE)
        return store.save_progress(step, start, 0.3)

    return make


def count(store, table="episode"):
    with store._engine.connect() as connection:
        return connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar()  # noqa: S608


def test_a_suspicion_is_remembered_and_forgotten(store, go_on):
    assert go_on(0, course(10)) == ()
    assert store.open_claim(STREAM.id).courses == (course(10),)
    assert go_on(10, course(10, ended="forgotten")) == ()
    assert count(store) == 0


def test_an_episode_that_is_raised_becomes_an_exam_once(store, go_on):
    go_on(0, course(20))
    (exam_id,) = go_on(10, course(30, raised=True))
    assert go_on(20, course(40, raised=True)) == ()
    assert store.claim_waiting_exams(at(1000), 10) == (exam_id,)
    exam = store.begin_scoring(exam_id)
    assert (exam.state, exam.patient, exam.acquired) == (
        ExamState.RECEIVED,
        STREAM.patient,
        at(0),
    )
    assert exam.of_stream
    finding = store.episode_finding_of(exam_id)
    assert (finding.code, finding.onset, finding.last_seen) == ("AF", at(0), at(40))
    assert finding.ended is None


def test_an_end_is_told_once_its_report_is_there(store, go_on, assessment):
    (exam_id,) = go_on(0, course(30, raised=True))
    go_on(10, course(30, raised=True, ended="over"))
    assert store.open_claim(STREAM.id).courses == ()
    assert store.untold_ends(10) == ()
    store.begin_scoring(exam_id)
    store.save_assessment(exam_id, assessment())
    (episode,) = store.untold_ends(10)
    assert (episode.exam_id, episode.stream, episode.course.ended) == (exam_id, STREAM, "over")
    assert store.load_assessed(exam_id).findings.episode.ended == "over"
    store.note_end_told(episode.id)
    assert store.untold_ends(10) == ()


def test_what_is_critical_waits_for_an_alert_once_its_report_is_there(store, go_on, assessment):
    (exam_id,) = go_on(0, course(30, raised=True))
    go_on(10, course(40, raised=True, critical=True))
    assert store.open_claim(STREAM.id).courses == (course(40, raised=True, critical=True),)
    assert store.unalerted_episodes(10) == ()
    store.begin_scoring(exam_id)
    store.save_assessment(exam_id, assessment())
    (episode,) = store.unalerted_episodes(10)
    assert (episode.exam_id, episode.course.critical) == (exam_id, True)
    assert store.load_assessed(exam_id).findings.episode.critical
    store.add_version(exam_id, version(critical=("pause", "bradycardia")), expected=1)
    assert store.unalerted_episodes(10) == (episode,)
    store.add_version(exam_id, version(critical=("AF",)), expected=2)
    assert store.unalerted_episodes(10) == ()


@pytest.mark.parametrize("critical", [True, False])
def test_nobody_waits_for_an_alert_after_a_decision(store, go_on, assessment, critical):
    (exam_id,) = go_on(0, course(30, raised=True, critical=critical))
    store.begin_scoring(exam_id)
    store.save_assessment(exam_id, assessment())
    assert len(store.unalerted_episodes(10)) == critical
    store.add_version(exam_id, version(status=ReportStatus.FINAL), expected=1)
    assert store.unalerted_episodes(10) == ()


def test_an_exam_that_is_no_episode_has_none(store, received):
    assert store.episode_finding_of(received()) is None
