"""The whole Bundles of four ECGs, as they are expected; validated by two readers that are not ours.

Regenerated, to be looked at before they are committed, by

    HISBUNDLE_REGENERATE=1 python -m pytest tests/integration/fhir/test_expected.py
"""

import json
import os
from datetime import UTC, datetime
from pathlib import Path

import fhirkit
import pytest
from fhir.resources.R4B.bundle import Bundle

from db.records import StoredReport
from db.reviews import Decision, ReportStatus, Review, Reviewer
from integration.fhir.report import build_report
from integration.fhir.revision import escalated, revised

EXPECTED = Path(__file__).parent / "expected"
NOW = datetime(2026, 3, 1, 15, 0, tzinfo=UTC)
REVIEWER = Reviewer(None, "urn:oid:1.2.3", "7", "Dr. A")
AFIB = {"coding": [{"system": "http://snomed.info/sct", "code": "164889003"}]}
OVERRIDE = Review(Decision.OVERRIDE, REVIEWER, NOW, "Atrial fibrillation", (AFIB,))

# Required bindings of R4 that the two readers do not look at.
STATUSES = {
    "DiagnosticReport": {"preliminary", "final", "amended", "corrected", "entered-in-error"},
    "Observation": {"preliminary", "final", "amended", "corrected", "entered-in-error"},
    "Device": {"active"},
    "Communication": {"in-progress", "completed", "entered-in-error"},
}
REFERENCES = {
    "subject": {"Patient"},
    "result": {"Observation"},
    "resultsInterpreter": {"Practitioner", "PractitionerRole"},
    "basedOn": {"ServiceRequest"},
    "device": {"Device"},
    "about": {"DiagnosticReport"},
    "target": {"DiagnosticReport", "Observation"},
    "who": {"Device", "Practitioner", "PractitionerRole"},
}


@pytest.fixture(params=["flagged", "normal", "unscorable", "critical", "amended", "withdrawn"])
def bundle(request, exam, findings_of, issued):
    def first(kind, critical=()):
        made = build_report(exam, findings_of(kind), issued=issued, critical=critical)
        return StoredReport(exam.id, issued, made)

    def after(decided, status):
        return revised([first("flagged")], decided, status, NOW)

    reject = Review(Decision.REJECT, REVIEWER, NOW, "wrong patient")
    made = {
        "flagged": lambda: first("flagged").bundle,
        "normal": lambda: first("plain-rhythm").bundle,
        "unscorable": lambda: first("unscorable").bundle,
        "critical": lambda: escalated(first("rhythm", ("AF",)), NOW),
        "amended": lambda: after(OVERRIDE, ReportStatus.AMENDED),
        "withdrawn": lambda: after(reject, ReportStatus.ENTERED_IN_ERROR),
    }
    return request.param, made[request.param]()


def resources(bundle):
    return [entry["resource"] for entry in bundle["entry"]]


def test_it_is_what_was_looked_at(bundle):
    name, made = bundle
    path = EXPECTED / f"{name}.json"
    if os.environ.get("HISBUNDLE_REGENERATE"):
        path.write_text(json.dumps(made, indent=1, ensure_ascii=False) + "\n")
    assert json.loads(path.read_text()) == made


def test_both_readers_take_every_resource(bundle):
    Bundle.model_validate_json(json.dumps(bundle[1]))
    for resource in [bundle[1], *resources(bundle[1])]:
        issues = fhirkit.validate(json.dumps(resource))
        assert [issue for issue in issues if issue.severity in ("error", "fatal")] == []


def test_the_second_reader_sees_what_is_missing(bundle):
    (report,) = [r for r in resources(bundle[1]) if r["resourceType"] == "DiagnosticReport"]
    broken = {name: value for name, value in report.items() if name != "code"}
    assert [issue.severity for issue in fhirkit.validate(json.dumps(broken))] == ["error"]


def test_bindings_targets_and_invariants(bundle):
    kinds = {e["fullUrl"]: e["resource"]["resourceType"] for e in bundle[1]["entry"]}
    for resource in resources(bundle[1]):
        kind = resource["resourceType"]
        assert resource.get("status") in STATUSES.get(kind, {None})
        for name, allowed in REFERENCES.items():
            values = resource.get(name, [])
            for value in values if isinstance(values, list) else [values]:
                target = kinds.get(value.get("reference"), value.get("type"))
                assert target in allowed, (kind, name)
        if kind == "DiagnosticReport":
            # us-core-10: a time, or why there is none; us-core: a category of cardiology.
            assert "effectiveDateTime" in resource or "_effectiveDateTime" in resource
            assert resource["category"][0]["coding"][0]["code"] == "LP29708-2"
            assert all("data" in f or "url" in f for f in resource["presentedForm"])
        if kind == "Observation":
            # obs-6: no reason for an absent value beside a value.
            assert not ("dataAbsentReason" in resource and "valueQuantity" in resource)
        if kind in ("DiagnosticReport", "Observation", "Communication"):
            assert resource["meta"]["security"][0]["code"] == "AIAST"
        if kind == "Provenance":
            assert all(kinds.get(t["reference"]) for t in resource["target"])
