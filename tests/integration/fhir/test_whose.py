from datetime import UTC, date, datetime, timedelta, timezone

import pytest

from db.records import PatientRef
from integration.errors import Refused
from integration.fhir.bundle import alone, bundled
from integration.fhir.element import Element
from integration.fhir.whose import acquired_at, identifiers_of, orders_of, patient_of
from tests.fhir_observations import bundle, full_url

ONE = {"system": "urn:oid:1", "value": "ZZCANARY1"}
TWO = {"system": "urn:oid:2", "value": "ZZCANARY2"}


def typed(identifier, code):
    return identifier | {"type": {"coding": [{"code": code}]}}


def asked(question, *identifiers, subject=None, kind="Patient"):
    observation = {
        "resourceType": "Observation",
        "subject": {"reference": full_url(1)} | (subject or {}),
    }
    patient = {"resourceType": kind, "identifier": list(identifiers)}
    resources = bundled(Element(bundle(observation, patient), "Bundle"))
    return question(resources.entries[0].resource, resources)


def test_the_subjects_identifier():
    resources = alone({"resourceType": "Observation", "subject": {"identifier": ONE}})
    assert patient_of(resources.entries[0].resource, resources) == PatientRef(
        "ZZCANARY1", "urn:oid:1"
    )


@pytest.mark.parametrize(
    ("identifiers", "chosen"),
    [
        ([ONE], ONE),
        ([ONE, typed(TWO, "MR")], TWO),
        ([typed(ONE, "PI"), TWO], ONE),
        ([typed(ONE, "PI"), typed(TWO, "MR")], TWO),
        ([ONE | {"use": "old"}, TWO], TWO),
        ([ONE, ONE], ONE),
        ([{"system": "urn:oid:9"}, ONE], ONE),
    ],
)
def test_a_patient_in_the_body(identifiers, chosen):
    assert asked(patient_of, *identifiers) == PatientRef(chosen["value"], chosen["system"])


def test_both_agree():
    found = asked(patient_of, ONE, TWO, subject={"identifier": TWO})
    assert found == PatientRef("ZZCANARY2", "urn:oid:2")
    assert asked(identifiers_of, ONE, TWO) == {"ZZCANARY1", "ZZCANARY2"}


def observed(subject):
    resources = alone({"resourceType": "Observation"} | ({"subject": subject} if subject else {}))
    return lambda: patient_of(resources.entries[0].resource, resources)


@pytest.mark.parametrize(
    ("question", "reason", "place"),
    [
        (observed(None), "patient-missing", "Observation.subject"),
        (observed({"display": "ZZCANARY"}), "patient-missing", "Observation.subject"),
        (observed({"reference": "Patient/f001"}), "patient-missing", "Observation.subject"),
        (observed({"identifier": {"system": "s"}}), "patient-missing", "Observation.subject"),
        (
            observed({"identifier": {"value": "x\u0000"}}),
            "field-malformed",
            "Observation.subject.identifier.value",
        ),
        (lambda: asked(patient_of), "patient-missing", "Bundle.entry[1].resource.identifier"),
        (
            lambda: asked(patient_of, ONE, TWO),
            "patient-ambiguous",
            "Bundle.entry[1].resource.identifier",
        ),
        (
            lambda: asked(patient_of, ONE, subject={"identifier": TWO}),
            "patient-disagrees",
            "Bundle.entry[0].resource.subject",
        ),
        (
            lambda: asked(patient_of, ONE, kind="Group"),
            "patient-missing",
            "Bundle.entry[0].resource.subject.reference",
        ),
    ],
)
def test_never_guessed(question, reason, place):
    with pytest.raises(Refused) as caught:
        question()
    assert (caught.value.reason, caught.value.expression) == (reason, place)
    assert "ZZCANARY" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, None),
        ({"effectiveDateTime": "2026"}, None),
        ({"effectiveDateTime": "2026-03"}, None),
        ({"effectiveDateTime": "2026-03-01"}, date(2026, 3, 1)),
        ({"effectiveDateTime": "2026-03-01T08:30:15"}, date(2026, 3, 1)),
        ({"effectiveInstant": "2026-03-01T08:30:15.250Z"},
         datetime(2026, 3, 1, 8, 30, 15, 250_000, UTC)),
        ({"effectivePeriod": {"start": "2026-03-01T08:30:15+01:00"}},
         datetime(2026, 3, 1, 8, 30, 15, tzinfo=timezone(timedelta(hours=1)))),
        ({"effectivePeriod": {"end": "2026-03-01"}}, None),
    ],
)  # fmt: skip
def test_times(given, expected):
    assert acquired_at(Element(given, "Observation")) == expected


def test_a_time_without_zone_in_a_known_zone():
    found = acquired_at(Element({"effectiveDateTime": "2026-03-01T08:30:15"}, "O"), zone=UTC)
    assert found == datetime(2026, 3, 1, 8, 30, 15, tzinfo=UTC)


@pytest.mark.parametrize(
    ("given", "reason", "place"),
    [
        ({"effectiveDateTime": "yesterday"}, "time-malformed", "O.effectiveDateTime"),
        ({"effectiveDateTime": "2026-13-01"}, "time-malformed", "O.effectiveDateTime"),
        ({"effectiveDateTime": "2026-02-30T10:00:00Z"}, "time-malformed", "O.effectiveDateTime"),
        ({"effectiveDateTime": 5}, "field-malformed", "O.effectiveDateTime"),
        ({"effectivePeriod": {"start": "x"}}, "time-malformed", "O.effectivePeriod.start"),
        ({"effectiveDateTime": "2026", "effectiveInstant": "2026"}, "field-malformed",
         "O.effectiveInstant"),
    ],
)  # fmt: skip
def test_times_that_are_none(given, reason, place):
    with pytest.raises(Refused) as caught:
        acquired_at(Element(given, "O"))
    assert (caught.value.reason, caught.value.expression) == (reason, place)


def based_on(*references, **order):
    observation = {"resourceType": "Observation", "basedOn": list(references)}
    request = {"resourceType": "ServiceRequest"} | order
    resources = bundled(Element(bundle(observation, request), "Bundle"))
    return orders_of(resources.entries[0].resource, resources)


def test_order_numbers():
    placer, filler = typed({"value": "P1"}, "PLAC"), typed({"value": "F1"}, "FILL")
    there = {"reference": full_url(1)}
    assert based_on(there, identifier=[placer, filler]) == ("P1", "F1")
    assert based_on(there, identifier=[{"value": "P2"}]) == ("P2", None)
    assert based_on({"identifier": placer}) == ("P1", None)
    assert based_on(there, identifier=[{"value": "P2"}, {"value": "P3"}]) == (None, None)
    assert based_on({"identifier": placer}, {"identifier": filler}) == (None, None)
    assert based_on({"reference": "ServiceRequest/77"}) == (None, None)
    assert based_on() == (None, None)
