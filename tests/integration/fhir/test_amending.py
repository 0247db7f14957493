"""Reports as other systems hold them, read."""

from datetime import UTC, datetime
from uuid import UUID

import pytest

from db.records import StoredReport
from db.reviews import Decision, ReportStatus, Review, Reviewer
from integration.errors import Refused
from integration.fhir.amending import amending_review

NOW = datetime(2026, 3, 1, 15, 0, tzinfo=UTC)
ID = UUID("11111111-2222-5333-8444-555555555555")
BY = Reviewer(system=None, value="7")
EARLIER = Review(Decision.OVERRIDE, BY, NOW, "Sinus rhythm")
THEIRS = {
    "resourceType": "DiagnosticReport",
    "identifier": [{"system": "urn:hisbundle:id", "value": str(ID)}],
    "resultsInterpreter": [{"identifier": {"value": "7"}}],
}


def version(number, status, conclusion, review=None):
    report = {
        "resourceType": "DiagnosticReport",
        "id": str(ID),
        "status": status,
        "conclusion": conclusion,
        "subject": {"identifier": {"system": "urn:hosp", "value": "4711"}},
    }
    bundle = {"entry": [{"fullUrl": "urn:uuid:1", "resource": report}]}
    return StoredReport(ID, NOW, bundle, number, ReportStatus(status), review=review)


FIRST = version(1, "preliminary", "AI-generated, not yet reviewed. Suspected: infarction.")
SECOND = version(2, "amended", "AI-generated, amended. Sinus rhythm.", EARLIER)
THIRD = version(3, "corrected", "AI-generated, corrected. Flutter.")


def read(versions=(FIRST,), **more):
    return amending_review(THEIRS | more, versions, NOW)


def test_each_status_decides():
    assert read(status="final") == Review(Decision.CONFIRM, BY, NOW)
    code = {"coding": [{"system": "http://snomed.info/sct", "code": "426783006"}]}
    amended = read(status="amended", conclusion="Sinus rhythm", conclusionCode=[code])
    assert amended == Review(Decision.OVERRIDE, BY, NOW, "Sinus rhythm", (code,))
    more = FIRST.bundle["entry"][0]["resource"]["conclusion"] + " Known since 2020."
    appended = read(status="appended", conclusion=more)
    assert appended == Review(Decision.OVERRIDE, BY, NOW, more)
    assert read(status="entered-in-error") == Review(Decision.REJECT, BY, NOW)


@pytest.mark.parametrize(
    ("status", "conclusion"),
    [
        ("preliminary", "AI-generated, not yet reviewed.\nSuspected: infarction."),  # wrapped
        ("preliminary", "AI-generated, not yet rev"),  # cut off
        ("amended", "AI-generated, not yet reviewed. Suspected: infarction."),  # nothing else
        ("appended", "AI-generated, not yet reviewed. Suspected: infarction."),  # a page alone
        ("amended", "AI-generated, amended. Sinus rhythm."),  # older than the newest
        ("corrected", "Sinus rhythm"),  # decided before, and overridden since
    ],
)
def test_what_we_have_said_decides_nothing(status, conclusion):
    assert read((THIRD, SECOND, FIRST), status=status, conclusion=conclusion) is None


@pytest.mark.parametrize(
    ("changed", "place"),
    [
        ({"status": "partial"}, "status"),
        ({"status": "final", "conclusion": "Flutter"}, "conclusion"),
        ({"status": "amended"}, "conclusion"),
        ({"status": "amended", "conclusion": "x" * 4001}, "conclusion"),
        ({"status": "final", "resultsInterpreter": []}, "resultsInterpreter"),
        ({"status": "final", "identifier": []}, "identifier"),
        ({"status": "final", "resourceType": "Patient"}, "resourceType"),
        ({"status": "amended", "conclusion": "x", "conclusionCode": [{}] * 21}, "conclusionCode"),
        ({"status": "final", "subject": {"identifier": {"value": "4712"}}}, "subject"),
    ],
)
def test_what_is_uncertain_is_refused_at_its_place(changed, place):
    with pytest.raises(Refused) as caught:
        read(**changed)
    assert caught.value.expression == f"DiagnosticReport.{place}"


@pytest.mark.parametrize("known", [{"value": "4711"}, {"system": "urn:other", "value": "9"}, {}])
def test_a_patient_whose_number_is_the_same_or_not_comparable_is_let_through(known):
    assert read(status="final", subject={"reference": "Patient/1", "identifier": known})
