"""Communications on critical findings, through all that becomes of them."""

import json
from datetime import UTC, datetime

import pytest
from fhir.resources.R4B.bundle import Bundle

from db.records import StoredReport
from db.reviews import Decision, ReportStatus, Review, Reviewer
from integration.fhir.report import build_report
from integration.fhir.revision import escalated, following, revised

LATE = datetime(2026, 3, 1, 14, 1, 2, 250_000, tzinfo=UTC)  # half an hour after `issued`


@pytest.fixture
def first(exam, findings_of, issued):
    bundle = build_report(exam, findings_of("rhythm"), issued=issued, critical=("AF",))
    return StoredReport(exam.id, issued, bundle)


def alerts(bundle):
    Bundle.model_validate_json(json.dumps(bundle))
    found = [e for e in bundle["entry"] if e["resource"]["resourceType"] == "Communication"]
    return [(e["resource"], e["request"]) for e in found]


def after(version, decision, status):
    review = Review(Decision(decision), Reviewer("Practitioner/7"), LATE, "x")
    return revised([version], review, ReportStatus(status), LATE)


def test_it_is_told_at_once_and_asks_for_an_answer(first):
    ((alert, request),) = alerts(first.bundle)
    assert (alert["status"], alert["priority"]) == ("in-progress", "stat")
    assert alert["category"][0]["coding"][0]["code"] == "alert"
    (report,) = [
        e for e in first.bundle["entry"] if e["resource"]["resourceType"] == "DiagnosticReport"
    ]
    assert alert["about"] == [{"reference": report["fullUrl"]}]
    assert alert["subject"] == report["resource"]["subject"]
    assert alert["payload"][0]["contentString"] == (
        "Critical finding by AI, not yet reviewed by a clinician: suspected Atrial fibrillation "
        "or flutter. Confirm, override or reject the report."
    )
    assert alert["meta"]["security"][0]["code"] == "AIAST"
    key = f"urn:hisbundle:id|{first.exam_id}-critical"
    assert request == {
        "method": "POST",
        "url": "Communication",
        "ifNoneExist": f"identifier={key}",
    }


def test_without_a_critical_finding_there_is_none(exam, findings_of, issued):
    assert alerts(build_report(exam, findings_of("rhythm"), issued=issued)) == []


@pytest.mark.parametrize(
    ("decision", "status", "becomes"),
    [
        ("confirm", "final", "completed"),
        ("override", "amended", "completed"),
        ("reject", "entered-in-error", "entered-in-error"),
    ],
)
def test_a_decision_answers_it(first, decision, status, becomes):
    ((alert, request),) = alerts(after(first, decision, status))
    assert (alert["status"], "received" in alert) == (becomes, becomes == "completed")
    key = f"urn:hisbundle:id|{first.exam_id}-critical"
    assert request == {"method": "PUT", "url": f"Communication?identifier={key}"}


def test_an_escalation_is_a_second_one_beside_it(first):
    (alert, _), (again, request) = alerts(escalated(first, LATE))
    assert again["payload"][0]["contentString"].startswith(
        "Not answered within 30 minutes. Critical finding by AI"
    )
    assert again["sent"] == "2026-03-01T14:01:02.250+00:00"
    assert again["id"] == f"{first.exam_id}-critical-escalated"
    assert request["method"] == "PUT"
    assert again["about"] == alert["about"]


def test_each_is_escalated_once_if_nobody_answered_it(first, exam, findings_of, issued):
    once = escalated(first, LATE)
    more = build_report(exam, findings_of("rhythm"), issued=LATE, critical=("bradycardia",), told=1)
    second = StoredReport(first.exam_id, LATE, following(once, more), 2)
    third = StoredReport(first.exam_id, LATE, escalated(second, LATE), 3)
    assert [alert["id"][36:] for alert, _ in alerts(escalated(third, LATE))] == [
        "-critical-2",
        "-critical",
        "-critical-escalated",
        "-critical-2-escalated",
    ]
    requests = [request["url"] for _, request in alerts(third.bundle)]
    assert len(set(requests)) == 4


def test_a_decision_answers_both(first):
    bundle = escalated(first, LATE)
    second = StoredReport(first.exam_id, LATE, bundle, 2)
    assert [a["status"] for a, _ in alerts(after(second, "confirm", "final"))] == ["completed"] * 2
