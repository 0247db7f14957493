from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from db.measures import Ended, Judged, Reviewed
from db.records import BACKLOG, LIVE, Lane
from db.reviews import Decision, ReportStatus, Review, Reviewer
from db.versions import NewVersion
from tests.db.conftest import NOW

SECOND, DAY = timedelta(seconds=1), timedelta(days=1)


@pytest.fixture
def scored(assessment):
    """A function that makes an assessment with an anomaly score."""

    def make(score, *destinations):
        new = assessment(*destinations)
        return replace(new, findings=replace(new.findings, anomaly_score=score))

    return make


def test_an_empty_database_has_nothing_waiting(store):
    queues = store.queues(NOW)
    assert (queues.waiting, queues.oldest_exam_s, queues.backlog) == (0, 0, 0)
    assert (queues.due, queues.oldest_due_s, queues.lost) == ({}, {}, {})
    assert store.happened(0, 100) == (0, ())
    assert store.spreads(NOW - DAY, NOW) == {}


def test_what_waits_is_told_live_and_of_archives(store, received, assessment):
    done = received("done")
    store.receive_as(Lane(BACKLOG))
    received("old")
    store.receive_as(LIVE)
    received("waiting", minutes=1)
    first, second = store.save_assessment(done, assessment("fhir", "oru"))
    store.record_undeliverable(second, "never")
    store.record_retry(first, "later", NOW + 10 * SECOND)
    queues = store.queues(NOW + 90 * SECOND)
    assert (queues.waiting, queues.backlog) == (1, 1)
    assert queues.oldest_exam_s == pytest.approx(30)
    assert (queues.due, queues.lost) == ({"fhir": 1}, {"oru": 1})
    assert queues.oldest_due_s == {"fhir": pytest.approx(30)}, "whenever it is due"


def test_what_was_discarded_is_neither_lost_nor_failed(store, received, assessment):
    failed = [received("1"), received("2")]
    for exam in failed:
        store.fail_exam(exam, "scoring-crashed")
    lost = store.save_assessment(received("3"), assessment("fhir", "oru"))
    for delivery in lost:
        store.record_undeliverable(delivery, "never")
    assert (store.queues(NOW).failed, store.queues(NOW).lost) == (2, {"fhir": 1, "oru": 1})
    store.discard(failed[0], "a test", "admin", NOW)
    store.discard(lost[0], "a test", "admin", NOW)
    assert (store.queues(NOW).failed, store.queues(NOW).lost) == (1, {"oru": 1})
    store.discard(failed[1], "a test", "admin", NOW)
    store.discard(lost[1], "a test", "admin", NOW)
    assert (store.queues(NOW).failed, store.queues(NOW).lost) == (0, {})


def test_what_is_on_its_way_is_due_although_somebody_discarded_it(store, received, assessment):
    (delivery,) = store.save_assessment(received("1"), assessment("fhir"))
    store.discard(delivery, "a test", "admin", NOW)
    assert store.queues(NOW).due == {"fhir": 1}


def test_what_happened_is_told_once_and_in_order(store, received, scored, assessment):
    first, second = received("1"), received("2")
    (delivery,) = store.save_assessment(first, scored(0.75, "fhir"))
    store.save_assessment(second, assessment(unscorable="too-short"))
    store.record_delivered(delivery, "201")
    assert store.happened(0, 100) == (0, ()), "not sealed yet"
    store.seal_audit()
    number, (a, b) = store.happened(0, 2)
    at = NOW + 60 * SECOND
    assert a == Judged("CART^ED", True, "good", "", 0.75, 0.0, 60.0, at, first)
    assert b == Judged("CART^ED", True, "unscorable", "too-short", None, 0.0, 60.0, at, second)
    number, (c,) = store.happened(number, 2)
    assert (c.destination, c.outcome) == ("fhir", "delivered")
    assert c.whole_s == pytest.approx(c.delivering_s + 60)
    assert store.happened(number, 2) == (3, ())


def test_the_wait_ends_where_scoring_begins(store, received, scored):
    exam = received("1", rung=True)
    store.begin_scoring(exam)
    store.save_assessment(exam, scored(0.5))
    store.seal_audit()
    _, (judged,) = store.happened(0, 100)
    assert judged.waited_s > DAY.total_seconds(), "its clock is the true one"
    assert judged.scoring_s == 0


def test_what_happens_again_is_told_without_its_time(store, received, scored):
    exam = received("1")
    first, second = store.save_assessment(exam, scored(0.5, "fhir", "oru"))
    (decision,) = (e.entry for e in sealed(store))
    store.record_audit(decision)
    store.record_delivered(first, "201")
    store.record_delivered(first, "200")
    store.record_delivered(second, "AA")
    store.seal_audit()
    _, events = store.happened(0, 100)
    known = [(e.whole_s if isinstance(e, Ended) else e.scoring_s) is not None for e in events]
    assert known == [True, False, True, False, True]


def test_a_later_version_of_a_report_is_timed_by_itself(store, received, scored):
    exam = received("1")
    (delivery,) = store.save_assessment(exam, scored(0.5, "fhir"))
    store.record_delivered(delivery, "201")
    now = datetime.now(UTC)
    new = NewVersion(ReportStatus("final"), now, {"resourceType": "Bundle"}, "ehr")
    (delivery,) = store.add_version(exam, new, expected=1)
    store.record_delivered(delivery, "200")
    store.seal_audit()
    _, events = store.happened(0, 100)
    first, later = (event for event in events if isinstance(event, Ended))
    assert first.delivering_s > DAY.total_seconds(), "its clock is the true one"
    assert (later.delivering_s < 60, later.whole_s) == (True, None)


def test_what_a_clinician_decided_is_told(store, received, scored):
    exam = received("1")
    store.save_assessment(exam, scored(0.5))
    review = Review(Decision.OVERRIDE, Reviewer(value="7"), NOW, text="ZZCANARY")
    bundle = {"resourceType": "Bundle"}
    new = NewVersion(ReportStatus("amended"), NOW, bundle, "ehr", review)
    store.add_version(exam, new, expected=1)
    store.seal_audit()
    _, (_, told) = store.happened(0, 100)
    assert told == Reviewed("CART^ED", "override")


def sealed(store):
    store.seal_audit()
    return list(store.audit_entries())


def test_what_retention_let_go_of_is_still_counted(store, received, scored):
    store.save_assessment(received("1"), scored(0.5))
    (decision,) = (e.entry for e in sealed(store))
    store.record_audit(replace(decision, exam_id=None))
    store.seal_audit()
    _, (_, gone) = store.happened(0, 100)
    assert gone == Judged("", True, "good", "", 0.5, None, None, NOW + 60 * SECOND, None)


def test_how_a_senders_ecgs_were_judged(store, received, scored, assessment):
    for n, score in enumerate((0.05, 0.31, 0.39, 1.0)):
        store.save_assessment(received(f"{n}"), scored(score))
    store.save_assessment(received("short"), assessment(unscorable="too-short"))
    store.receive_as(Lane(BACKLOG))
    store.save_assessment(received("archive"), scored(0.7))
    store.receive_as(LIVE)
    received("waiting")
    (spread,) = store.spreads(NOW - DAY, NOW + DAY).values()
    assert spread.verdicts == (4, 0, 1)
    assert spread.scores == (1, 0, 0, 2, 0, 0, 0, 0, 0, 1)
    assert spread.assessed == 5
    assert store.spreads(NOW - DAY, NOW) == {}
