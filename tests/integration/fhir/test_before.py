"""What is known of a report at its destination."""

import pytest

from db.records import DeliveryEnd, DeliveryState, StoredReport
from integration.fhir.before import Standing, before, matched, matching
from integration.fhir.report import build_report
from integration.fhir.revision import following, sendable

HERE = Standing("DiagnosticReport/12", 'W/"3"')


@pytest.mark.parametrize(
    ("answer", "standing"),
    [
        ('200 DiagnosticReport/12 W/"3"', HERE),
        ('201 DiagnosticReport/a.b-c "x_1"', Standing("DiagnosticReport/a.b-c", '"x_1"')),
        ("200 DiagnosticReport/12", None),
        ("accepted", None),
        (None, None),
    ],
)
def test_an_answer_tells_place_and_version(answer, standing):
    assert Standing.told_in(answer) == standing


def end(version, state, answer, destination="ehr"):
    return DeliveryEnd(destination, version, DeliveryState(state), 1, answer)


def test_the_version_that_arrived_last_counts(exam, findings_of, issued):
    first = build_report(exam, findings_of("flagged"), issued=issued)
    versions = [StoredReport(exam.id, issued, first)]
    ends = [
        end(1, "delivered", '201 DiagnosticReport/12 W/"1"'),
        end(2, "delivered", '200 DiagnosticReport/12 W/"3"'),
        end(3, "undeliverable", '200 DiagnosticReport/12 W/"4"'),
        end(4, "delivered", '200 DiagnosticReport/9 W/"9"', "other"),
    ]
    known = before(ends, "ehr", lambda: versions)
    assert known.standing == HERE
    report = next(
        e["resource"] for e in first["entry"] if e["resource"]["resourceType"] == "DiagnosticReport"
    )
    assert known.is_known(report)
    assert known.is_known({"resourceType": "DiagnosticReport", "status": "preliminary"})
    assert not known.is_known(report | {"status": "final"})
    assert not known.is_known(report | {"conclusion": "Sinus rhythm"})
    assert before([], "ehr", lambda: versions).standing is None


def test_only_a_report_that_is_updated_is_matched(exam, findings_of, issued):
    first = build_report(exam, findings_of("flagged"), issued=issued)
    assert matching(first, HERE) == first
    later = following(first, first)
    assert matching(later, None) == later
    sent = sendable(matching(later, HERE))
    requests = [e["request"] for e in sent["entry"] if "ifMatch" in e["request"]]
    assert requests == [{"method": "PUT", "url": "DiagnosticReport/12", "ifMatch": 'W/"3"'}]
    ids = {e["resource"].get("id") for e in sent["entry"] if e["request"]["method"] == "PUT"}
    assert ids == {None, "12"}
    document = {"resource": {"resourceType": "DocumentReference"}, "request": {"method": "PUT"}}
    assert matched(document, HERE) == document
