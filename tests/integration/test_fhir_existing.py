"""What is here already; over HTTP it is tested with `listeners.fhir_in`."""

from datetime import UTC, datetime

import orjson
import pytest
from fhir.resources.R4B import get_fhir_model_class

from integration.fhir_body import Interaction
from integration.fhir_decisions import Origin
from integration.fhir_existing import existing
from integration.fhir_intake import FhirIntake
from tests.fhir_observations import PATIENT, bundle, component, observation, one_lead

ECG = observation([component("I", list(range(100)))], identifier=[{"value": "7"}])


def test_only_what_was_taken_alone_counts(store):
    intake = FhirIntake(store, None)
    assert existing(store.answers_to, "7") is None
    intake.answer(orjson.dumps(ECG | {"subject": {}}), Interaction.CREATE, Origin("a"))
    named = bundle(ECG, ECG, identifier={"value": "7"})
    intake.answer(orjson.dumps(named), Interaction.BUNDLE, Origin("b"))
    assert existing(store.answers_to, "7") is None
    made = intake.answer(orjson.dumps(ECG), Interaction.CREATE, Origin("c"))
    found = existing(store.answers_to, "7")
    assert (found.status, found.location) == (200, made.location)
    message = bundle({"resourceType": "MessageHeader", "id": "8"}, ECG, type_="message")
    intake.answer(orjson.dumps(message), Interaction.MESSAGE, Origin("d"))
    assert existing(store.answers_to, "8") is None
    unnamed = ECG | {"identifier": [], "id": "o1"}
    assert intake.answer(orjson.dumps(unnamed), Interaction.CREATE, Origin("e")).status == 201
    assert existing(store.answers_to, "Observation/o1") is None
    assert existing(store.answers_to, "x" * 201) is None
    assert existing(store.answers_to, "\0") is None


@pytest.fixture
def post(store):
    intake = FhirIntake(store, None, look=store.answers_to)

    def ask(body, interaction=Interaction.BUNDLE):
        reply = intake.answer(orjson.dumps(body), interaction, Origin("cart"))
        get_fhir_model_class(reply.body["resourceType"]).model_validate(reply.body)
        return reply

    return ask


def asking(body, *conditions):
    """A Bundle whose entries have conditions."""
    for entry, condition in zip(body["entry"], conditions, strict=False):
        if condition is not None:
            entry["request"]["ifNoneExist"] = condition
    return body


def told(reply):
    responses = [entry["response"] for entry in reply.body["entry"]]
    return [(response["status"][:3], response.get("location")) for response in responses]


def ecgs(store):
    return sum(store.status(datetime.now(UTC)).exams.values())


def other(n, **changes):
    """The same ECG by its identifier, with other content."""
    return observation([component("I", list(range(n, n + 100)))], **(ECG_NAME | changes))


ECG_NAME = {"identifier": [{"system": "urn:carts", "value": "7"}]}
CONDITION = "identifier=urn:carts|7"
PERSON = {"resourceType": "Patient", "id": "p", "identifier": [PATIENT]}


@pytest.mark.parametrize("kind", ["batch", "transaction"])
def test_an_entry_is_created_once(post, store, kind):
    first = post(asking(bundle(PERSON, other(0), type_=kind), "identifier=x|1", CONDITION))
    (person, (status, location)) = told(first)
    assert (person, status) == (("200", None), "201")
    for n, again in ((0, "batch"), (1, "transaction"), (2, "batch")):
        reply = post(asking(bundle(other(n), PERSON, type_=again), CONDITION))
        assert told(reply) == [("200", location), ("200", None)]
    # Alone it is the same.
    assert existing(store.answers_to, "urn:carts|7").location == location
    assert ecgs(store) == 1
    post(bundle(other(3), type_="batch"))
    assert ecgs(store) == 2
    ambiguous = post(asking(bundle(other(4), type_="batch"), CONDITION))
    assert [status for status, _ in told(ambiguous)] == ["412"]


def test_what_came_alone_is_found_too(post, store):
    location = post(other(0), Interaction.CREATE).location
    reply = post(asking(bundle(other(1)), f"Observation?{CONDITION}"))
    assert told(reply) == [("200", location)]
    assert ecgs(store) == 1


def test_observations_that_are_one_ecg_stand_for_each_other(post, store):
    leads = [
        one_lead(lead, list(range(100)), identifier=[{"value": f"7-{lead}"}])
        for lead in ("I", "II", "V1")
    ]
    conditions = [f"identifier=7-{lead}" for lead in ("I", "II", "V1")]
    first = post(asking(bundle(*leads, type_="batch"), *conditions))
    assert [status for status, _ in told(first)] == ["201"] * 3
    again = post(asking(bundle(*leads, PERSON, type_="batch"), *conditions))
    assert told(again) == [("200", place) for _, place in told(first)] + [("200", None)]
    part = post(asking(bundle(*leads[:2], type_="batch"), *conditions))
    assert [status for status, _ in told(part)] == ["412"] * 2
    assert ecgs(store) == 1


@pytest.mark.parametrize("kind", ["batch", "transaction"])
@pytest.mark.parametrize("condition", ["code=1", "identifier=7", "identifier=urn:other|7"])
def test_conditions_that_cannot_be_kept_are_refused(post, store, kind, condition):
    refused = post(asking(bundle(other(0), type_=kind), condition))
    outcome = refused.body["entry"][0]["response"]["outcome"] if kind == "batch" else refused.body
    (issue,) = outcome["issue"]
    assert issue["details"]["text"] == "parameter-unsupported"
    assert issue["expression"] == ["Bundle.entry[0].request.ifNoneExist"]
    assert store.status(datetime.now(UTC)).messages["refused"] == 1
    assert ecgs(store) == 0


def test_one_ecg_with_a_condition_a_transaction(post, store):
    later = {"effectiveDateTime": "2026-03-01T09:00:00+01:00"}
    two = bundle(other(0), other(1, **later))
    reply = post(asking(two, CONDITION))
    assert (reply.status, reply.body["issue"][0]["details"]["text"]) == (422, "bundle-unsupported")
    assert [status for status, _ in told(post({**two, "type": "batch"}))] == ["201", "201"]


def test_a_bundles_own_name_is_no_ecgs(post, store):
    post(bundle(other(0), identifier=ECG_NAME["identifier"][0]))
    assert [status for status, _ in told(post(asking(bundle(other(1)), CONDITION)))] == ["201"]
    assert ecgs(store) == 2


def test_only_ecgs_have_conditions(post, store):
    """What is passed over is passed over as before, however many and whatever they ask for."""
    plain = {"resourceType": "Observation", "status": "final", "code": {"text": "x"}}
    document = {"resourceType": "DocumentReference", "status": "current", "content": []}
    sent = asking(bundle(plain, document, plain, other(0)), "code=1", CONDITION, "x=1", CONDITION)
    assert [status for status, _ in told(post(sent))] == ["200", "200", "200", "201"]
    assert [status for status, _ in told(post(sent))] == ["200"] * 4
    assert ecgs(store) == 1


def test_a_fault_of_a_batch_points_into_the_batch(post):
    bad = other(0, component=[component("I", [1, "x"])])
    refused = post(asking(bundle(PERSON, PERSON, bad, type_="batch"), None, None, "code=1"))
    (issue,) = refused.body["entry"][2]["response"]["outcome"]["issue"]
    assert issue["expression"][0].startswith("Bundle.entry[2].resource.component[0]")
    good = other(0)
    refused = post(asking(bundle(PERSON, PERSON, good, type_="batch"), None, None, "code=1"))
    (issue,) = refused.body["entry"][2]["response"]["outcome"]["issue"]
    assert issue["expression"] == ["Bundle.entry[2].request.ifNoneExist"]
