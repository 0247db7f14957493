from datetime import UTC, datetime

import pytest
from fhir.resources.R4B.operationdefinition import OperationDefinition

from db.reviews import Decision, Review, Reviewer
from integration.errors import Refused
from integration.fhir.confirming import operation_definition, review_in

NOW = datetime(2026, 3, 1, 15, 0, tzinfo=UTC)
AFIB = {"system": "http://snomed.info/sct", "code": "164889003", "display": "AF"}
WHO = {"name": "practitioner", "valueReference": {"reference": "Practitioner/7"}}
TEXT = {"name": "conclusion", "valueString": "AF"}


def parameters(decision, *more):
    told = {"name": "decision", "valueCode": decision}
    return {"resourceType": "Parameters", "parameter": [told, *more]}


def test_a_confirmation():
    assert review_in(parameters("confirm", WHO), NOW) == Review(
        Decision.CONFIRM, Reviewer("Practitioner/7"), NOW
    )


def test_an_override_with_all_that_it_can_have():
    identifier = {"system": "urn:x", "value": "7"}
    who = {"identifier": identifier, "display": "Dr. A"}
    code = {
        "name": "conclusionCode",
        "valueCodeableConcept": {"coding": [AFIB | {"version": "1"}], "text": "fibrillation"},
    }
    body = parameters("override", WHO | {"valueReference": who}, TEXT, code)
    assert review_in(body, NOW) == Review(
        Decision.OVERRIDE,
        Reviewer(None, "urn:x", "7", "Dr. A"),
        NOW,
        "AF",
        ({"coding": [AFIB], "text": "fibrillation"},),
    )


CODE = {"name": "conclusionCode", "valueCodeableConcept": {"coding": [AFIB]}}


@pytest.mark.parametrize(
    ("body", "reason", "place"),
    [
        ({"resourceType": "Patient"}, "resource-unsupported", "Parameters.resourceType"),
        (parameters("maybe", WHO), "decision-malformed", "Parameters.parameter[0].valueCode"),
        (parameters("confirm"), "field-missing", "Parameters.parameter"),
        (parameters("override", WHO), "field-missing", "Parameters.parameter"),
        (
            parameters("confirm", WHO, WHO),
            "decision-malformed",
            "Parameters.parameter[2].name",
        ),
        (
            parameters("confirm", WHO, {"name": "x"}),
            "decision-malformed",
            "Parameters.parameter[2].name",
        ),
        (
            parameters("confirm", WHO | {"valueReference": {"display": "Dr. A"}}),
            "field-missing",
            "Parameters.parameter[1].valueReference",
        ),
        (
            parameters("confirm", WHO | {"valueReference": {"reference": "#a"}}),
            "field-malformed",
            "Parameters.parameter[1].valueReference",
        ),
        (
            parameters("confirm", {"name": "practitioner", "valueString": "7"}),
            "field-missing",
            "Parameters.parameter[1].valueReference",
        ),
        (
            parameters("override", WHO, TEXT | {"valueString": "x" * 4001}),
            "decision-malformed",
            "Parameters.parameter[2].valueString",
        ),
        (parameters("confirm", WHO, CODE), "decision-malformed", "Parameters.parameter[2]"),
        (
            parameters("override", WHO, TEXT, *[CODE] * 21),
            "decision-malformed",
            "Parameters.parameter",
        ),
        (
            parameters(
                "override", WHO, TEXT, {"name": "conclusionCode", "valueCodeableConcept": {}}
            ),
            "field-missing",
            "Parameters.parameter[3].valueCodeableConcept",
        ),
        (
            parameters(
                "override",
                WHO,
                TEXT,
                {"name": "conclusionCode", "valueCodeableConcept": {"coding": [{"code": "1"}]}},
            ),
            "decision-malformed",
            "Parameters.parameter[3].valueCodeableConcept.coding",
        ),
    ],
)
def test_what_is_not_certain_is_refused_with_its_place(body, reason, place):
    with pytest.raises(Refused) as caught:
        review_in(body, NOW)
    assert (caught.value.reason, caught.value.expression) == (reason, place)


def test_the_operation_is_described():
    told = operation_definition("http://127.0.0.1/fhir")
    OperationDefinition.model_validate(told)
    assert told["url"] == "http://127.0.0.1/fhir/OperationDefinition/report-confirm"
    assert [p["name"] for p in told["parameter"]] == [
        *("decision", "practitioner", "conclusion", "conclusionCode", "return"),
    ]
