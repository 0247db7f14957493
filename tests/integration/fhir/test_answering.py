import pytest
from fhir.resources.R4B.bundle import Bundle
from fhir.resources.R4B.operationoutcome import OperationOutcome

from integration.errors import ANSWERS, Refused
from integration.fhir.answering import (
    Kept,
    bundle_reply,
    created,
    entry_response,
    information,
    message_reply,
    refusal,
)

HEADER = {"resourceType": "MessageHeader", "id": "m1", "eventUri": "urn:x:ecg"}


@pytest.mark.parametrize("reason", ANSWERS)
def test_every_reason_has_a_valid_outcome(reason):
    kept = refusal(Refused(reason, "words", expression="Observation.code"))
    OperationOutcome.model_validate(kept.outcome)
    assert kept.status == ANSWERS[reason].http_status
    assert kept.outcome["issue"][0]["expression"] == ["Observation.code"]
    assert Kept.from_bytes(kept.to_bytes()) == kept


def test_no_place_no_expression():
    assert "expression" not in refusal(Refused("json-malformed", "words")).outcome["issue"][0]


def test_a_create_has_its_location():
    entry = entry_response(201, information("taken"), "Observation/1")
    assert entry["status"] == "201 Created"
    reply = created(Kept(201, information("taken"), [entry]))
    assert (reply.status, reply.location) == (201, "Observation/1")
    assert created(refusal(Refused("not-ecg", "words"))).location is None


def test_a_bundle_of_responses():
    reply = bundle_reply("batch", [entry_response(422, refusal(Refused("x", "y")).outcome)])
    Bundle.model_validate(reply.body)
    assert (reply.status, reply.body["type"]) == (200, "batch-response")
    Bundle.model_validate(bundle_reply("transaction", []).body)


@pytest.mark.parametrize(
    ("reason", "status", "code"),
    [
        (None, 200, "ok"),
        ("patient-missing", 422, "fatal-error"),
        ("internal-error", 500, "transient-error"),
    ],
)
def test_a_message_is_answered_by_a_message(reason, status, code):
    kept = refusal(Refused(reason, "words")) if reason else Kept(201, information("taken"), [])
    reply = message_reply(kept, HEADER)
    Bundle.model_validate(reply.body)
    header, outcome = (entry["resource"] for entry in reply.body["entry"])
    assert (reply.status, header["response"]["code"]) == (status, code)
    assert header["response"]["identifier"] == "m1"
    assert header["response"]["details"]["reference"] == f"urn:uuid:{outcome['id']}"
    assert message_reply(kept, HEADER) == reply
