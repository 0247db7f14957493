from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from db.errors import Corrupt
from db.reviews import Decision, ReportStatus, Review, Reviewer
from integration.critical import CriticalSettings
from integration.review import Reviews
from model.findings import ModelIdentity, RhythmFinding, StripFindings
from worker.escalation import escalate_once
from worker.pipeline import Rules, score_exam

MINUTE = timedelta(minutes=1)


@pytest.fixture
def critical(store, scorer, received, flagged):
    """An ECG with a pause of five seconds."""
    pause = RhythmFinding("pause", 1.0, 6.0, 5.0, 2.5)
    strip = StripFindings(ModelIdentity("strip", "1", "cd" * 32), ("II",), 60.0, (), (pause,), ())
    scorer.says = replace(flagged, strip=strip)
    exam_id = received()
    rules = Rules(("fhir",), max_attempts=2, critical=CriticalSettings(acknowledge_min=10))
    score_exam(store, scorer, exam_id, rules)
    return exam_id


def alerts(report):
    found = [e["resource"] for e in report.bundle["entry"]]
    return [r["status"] for r in found if r["resourceType"] == "Communication"]


def test_what_nobody_answers_is_told_once_more(store, critical):
    now = datetime.now(UTC)
    assert alerts(store.read_report(critical)) == ["in-progress"]
    assert escalate_once(store, now + 9 * MINUTE) == 0
    assert escalate_once(store, now + 10 * MINUTE) == 1
    report = store.read_report(critical)
    assert (report.version, report.status) == (2, ReportStatus.PRELIMINARY)
    assert alerts(report) == ["in-progress"] * 2
    assert [(d.version, d.state) for d in store.deliveries_of(critical)] == [
        (1, "superseded"),
        (2, "pending"),
    ]
    assert escalate_once(store, now + 20 * MINUTE) == 0


def test_what_is_answered_is_not(store, critical):
    review = Review(Decision.CONFIRM, Reviewer("Practitioner/7"), datetime.now(UTC))
    made = Reviews(store, None).decide(critical, review, actor="ehr")
    assert alerts(made) == ["completed"]
    assert escalate_once(store, datetime.now(UTC) + 20 * MINUTE) == 0


def test_a_report_that_cannot_be_read_is_logged_once_and_keeps_no_other_waiting(
    store, critical, monkeypatch, caplog
):
    damaged, read = UUID(int=1), store.read_report

    def reading(exam_id):
        if exam_id == damaged:
            raise Corrupt("sealed-value-corrupt", "changed")
        return read(exam_id)

    monkeypatch.setattr(store, "read_report", reading)
    monkeypatch.setattr(store, "unanswered_alerts", lambda *_: (damaged, critical))
    assert escalate_once(store, datetime.now(UTC) + 20 * MINUTE) == 1
    assert store.read_report(critical).version == 2
    escalate_once(store, datetime.now(UTC) + 20 * MINUTE)
    assert caplog.text.count(f"critical finding not told again id={damaged}") == 1


def test_who_is_second_leaves_it(store, critical, monkeypatch):
    """Another worker escalates between this one's look and its version."""
    late = datetime.now(UTC) + 20 * MINUTE
    read = store.read_report

    def slow(exam_id):
        seen = read(exam_id)
        monkeypatch.undo()
        assert escalate_once(store, late) == 1
        return seen

    monkeypatch.setattr(store, "read_report", slow)
    assert escalate_once(store, late) == 0
    assert store.read_report(critical).version == 2
