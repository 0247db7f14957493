"""Critical findings as other systems hold them, read."""

from datetime import UTC, datetime, timedelta

import pytest

from db.records import StoredReport
from integration.errors import Refused
from integration.fhir.acknowledging import acknowledgement_in, alerts_of, is_open
from integration.fhir.report import build_report
from integration.fhir.revision import after_answer, escalated, following

LATER = timedelta(minutes=20)


@pytest.fixture
def newest(exam, findings_of, issued):
    bundle = build_report(exam, findings_of("rhythm"), issued=issued, critical=("AF",))
    return StoredReport(exam.id, issued, bundle)


@pytest.fixture
def now(issued):
    return issued + LATER


def read(newest, now, **changes):
    return acknowledgement_in(alerts_of(newest)[0] | changes, newest, now)


def test_completed_acknowledges_with_who_and_when(newest, now, issued):
    received = issued + timedelta(minutes=3)
    who = [{"reference": "Practitioner/7", "display": "Dr. House", "id": "x"}]
    found = read(newest, now, status="completed", received=received.isoformat(), recipient=who)
    assert (found.at, found.by) == (received, "Practitioner/7")
    assert found.recipients == ({"reference": "Practitioner/7", "display": "Dr. House"},)
    (alert,) = alerts_of(StoredReport(newest.exam_id, now, after_answer(newest, found)))
    assert (alert["status"], alert["recipient"]) == ("completed", list(found.recipients))
    assert datetime.fromisoformat(alert["received"]) == received


@pytest.mark.parametrize(
    "received", ["", "2026-03", "2026-03-01T08:00:00Z", "2999-01-01T00:00:00Z"]
)
def test_a_time_that_cannot_be_is_when_it_came(newest, now, received):
    found = read(newest, now, status="completed", received=received)
    assert (found.at, found.by) == (now.astimezone(UTC), "")


def test_what_says_nothing_new(newest, now):
    assert read(newest, now) is None
    done = StoredReport(
        newest.exam_id, now, after_answer(newest, read(newest, now, status="completed"))
    )
    assert acknowledgement_in(alerts_of(done)[0], done, now) is None
    assert acknowledgement_in(alerts_of(newest)[0] | {"status": "completed"}, done, now) is None


def test_who_answers_the_escalation_answers_both(newest, now):
    second = StoredReport(newest.exam_id, now, escalated(newest, now), 2)
    told = alerts_of(second)[1] | {"status": "completed"}
    bundle = after_answer(second, acknowledgement_in(told, second, now + LATER))
    third = StoredReport(newest.exam_id, now, bundle, 3)
    assert [alert["status"] for alert in alerts_of(third)] == ["completed"] * 2


def test_what_else_is_critical_still_waits(newest, now, exam, findings_of):
    more = build_report(exam, findings_of("rhythm"), issued=now, critical=("pause",), told=1)
    second = StoredReport(newest.exam_id, now, following(newest.bundle, more), 2)
    for answered in (alerts_of(second)[:1], alerts_of(second)[1:], alerts_of(second)):
        done = [alert | {"status": "completed"} for alert in answered]
        found = [acknowledgement_in(alert, second, now + LATER) for alert in done]
        after = alerts_of(StoredReport(newest.exam_id, now, after_answer(second, *found), 3))
        completed = [alert["id"] for alert in after if not is_open(alert)]
        assert completed == [alert["id"] for alert in answered]


@pytest.mark.parametrize(
    ("changed", "reason", "place"),
    [
        ({"resourceType": "Flag"}, "resource-unsupported", "resourceType"),
        ({"identifier": []}, "report-unknown", "identifier"),
        ({"subject": {"identifier": {"value": "4712"}}}, "patient-disagrees", "subject"),
        ({"status": "stopped"}, "decision-malformed", "status"),
        ({"status": "completed", "recipient": [{}]}, "field-missing", "recipient[0]"),
        ({"status": "completed", "recipient": [{}] * 21}, "decision-malformed", "recipient"),
    ],
)
def test_what_is_uncertain_is_refused_at_its_place(newest, now, changed, reason, place):
    with pytest.raises(Refused) as caught:
        read(newest, now, **changed)
    assert (caught.value.reason, caught.value.expression) == (reason, f"Communication.{place}")
