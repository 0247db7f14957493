"""Bodies to stored messages over a real SQLite store."""

import sqlite3
from datetime import UTC, datetime
from uuid import UUID

import orjson
import pytest
from fhir.resources.R4B import get_fhir_model_class

from db.errors import StoreUnavailable
from db.store import Store
from integration import fhir_intake
from integration.fhir_body import Interaction, received_resource
from integration.fhir_decisions import Origin
from integration.fhir_intake import FhirIntake
from model.ecg import LEADS_12
from tests.databases import new_database
from tests.fhir_observations import bundle, component, full_url, observation, one_lead

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SAMPLES = list(range(100))


@pytest.fixture
def file(tmp_path):
    return tmp_path / "hisbundle.db"


@pytest.fixture
def store(file):
    store = Store.open(new_database(file))
    yield store
    store.close()


@pytest.fixture
def post(store):
    intake = FhirIntake(store, None, clock=lambda: NOW)

    def ask(resource, interaction=Interaction.BUNDLE, sender=""):
        raw = resource if isinstance(resource, bytes) else orjson.dumps(resource)
        reply = intake.answer(raw, interaction, Origin(sender))
        get_fhir_model_class(reply.body["resourceType"]).model_validate(reply.body)
        return reply

    return ask


@pytest.fixture
def rows(file):
    def select(columns, table="message"):
        with sqlite3.connect(file) as connection:
            return connection.execute(f"SELECT {columns} FROM {table} ORDER BY 1").fetchall()  # noqa: S608

    return select


def ecg(**changes):
    return observation([component(lead, SAMPLES) for lead in ("I", "II")], **changes)


def statuses(reply):
    return [entry["response"]["status"][:3] for entry in reply.body["entry"]]


def reasons(outcome):
    return [issue["details"]["text"] for issue in outcome["issue"] if "details" in issue]


def test_an_observation(post, rows, store):
    reply = post(ecg(id="o1"), Interaction.CREATE, "bearer")
    assert reply.status == 201
    ((protocol, sender, control_id, state),) = rows("protocol, sender, control_id, state")
    assert (protocol, sender, control_id) == ("fhir", "bearer", "Observation/o1")
    assert state == "accepted"
    message_id = UUID(reply.location.removeprefix("Observation/"))
    kept = received_resource(store.message_raw(message_id), "Observation", None)
    assert kept == orjson.loads(orjson.dumps(ecg(id="o1")))
    (told,) = reply.body["issue"]
    assert str(UUID(told["diagnostics"][-36:])) in told["diagnostics"]
    assert store.load_exam(UUID(told["diagnostics"][-36:])).patient.identifier == "ZZCANARY-4711"


def test_the_same_content_gets_the_same_answer_and_another_does_not(post, rows):
    first, again = (post(ecg(), Interaction.CREATE) for _ in range(2))
    other = post(ecg(issued="2026-03-01T09:00:00Z"), Interaction.CREATE)
    assert first == again
    assert other.location != first.location
    assert len(rows("id")) == 2


@pytest.mark.parametrize(
    ("changes", "control_id"),
    [
        ({}, ""),
        ({"id": "o1", "meta": {"versionId": "3"}}, "Observation/o1/_history/3"),
        ({"id": "o1", "identifier": [{"system": "urn:x", "value": "7"}]}, "urn:x|7"),
        ({"identifier": [{"value": "x" * 999}]}, ""),
    ],
)
def test_control_ids(post, rows, changes, control_id):
    post(ecg(**changes), Interaction.CREATE)
    assert rows("control_id") == [(control_id,)]


def test_a_transaction_is_one(post, rows):
    patient = {"resourceType": "Patient", "identifier": [{"value": "ZZCANARY-9"}]}
    parts = [one_lead(n, SAMPLES, subject={"reference": full_url(0)}) for n in LEADS_12]
    reply = post(bundle(patient, *parts, identifier={"value": "T1"}))
    assert reply.body["type"] == "transaction-response"
    assert statuses(reply) == ["200", *["201"] * 12]
    assert rows("control_id, state") == [("T1", "accepted")]
    assert len(rows("id", "exam")) == 1


def test_a_transaction_is_refused_as_a_whole(post, rows):
    reply = post(bundle(ecg(), ecg(subject=None)))
    assert reply.status == 422
    (issue,) = reply.body["issue"]
    assert (issue["code"], issue["details"]["text"]) == ("required", "patient-missing")
    assert issue["expression"] == ["Bundle.entry[1].resource.subject"]
    assert rows("state, reason") == [("refused", "patient-missing")]
    assert rows("id", "exam") == []


def test_a_batch_is_answered_entry_by_entry(post, rows):
    patient = {"resourceType": "Patient", "identifier": []}
    pulse = observation(None, valueQuantity={"value": 60})
    nameless = ecg(subject={"reference": full_url(0)}, effectiveDateTime="2026-01-01")
    broken = ecg(effectiveDateTime="never")
    batch = bundle(patient, ecg(), nameless, broken, pulse, type_="batch")
    reply = post(batch)
    assert (reply.status, reply.body["type"]) == (200, "batch-response")
    assert statuses(reply) == ["422", "201", "422", "422", "200"]
    outcomes = [entry["response"]["outcome"] for entry in reply.body["entry"]]
    assert outcomes[2]["issue"][0]["expression"] == ["Bundle.entry[0].resource.identifier"]
    assert outcomes[3]["issue"][0]["expression"] == ["Bundle.entry[3].resource.effectiveDateTime"]
    assert sorted(state for (state,) in rows("state")) == [
        "accepted",
        "not-ecg",
        "refused",
        "refused",
    ]
    assert post(batch) == reply
    assert len(rows("id")) == 4


def test_a_message(post, rows):
    header = {
        "resourceType": "MessageHeader",
        "id": "m1",
        "eventCoding": {"system": "urn:x", "code": "ecg"},
        "source": {"endpoint": "urn:cart"},
    }
    for interaction in (Interaction.MESSAGE, Interaction.BUNDLE):
        reply = post(bundle(header, ecg(), type_="message"), interaction)
        assert (reply.status, reply.body["type"]) == (200, "message")
        answer = reply.body["entry"][0]["resource"]
        assert (answer["response"]["identifier"], answer["response"]["code"]) == ("m1", "ok")
        assert answer["eventCoding"] == header["eventCoding"]
    assert rows("control_id, state") == [("m1", "accepted")]
    reply = post(bundle(header, ecg(subject=None), type_="message"), Interaction.MESSAGE)
    assert reply.status == 422
    assert reply.body["entry"][0]["resource"]["response"]["code"] == "fatal-error"
    assert reasons(reply.body["entry"][1]["resource"]) == ["patient-missing"]


def test_a_bundle_without_ecgs_is_ordinary(post, rows):
    reply = post(bundle({"resourceType": "Patient"}))
    assert (reply.status, statuses(reply)) == (200, ["200"])
    assert rows("state") == [("not-ecg",)]


@pytest.mark.parametrize(
    ("body", "interaction", "expected"),
    [
        (b'{"resourceType":"Observation","comp', Interaction.CREATE, (400, "json-malformed")),
        (b"\xff\xfe", Interaction.BUNDLE, (400, "json-malformed")),
        (b"[" * 300_000, Interaction.BUNDLE, (400, "json-too-complex")),
        ({"resourceType": "Patient"}, Interaction.CREATE, (422, "resource-unsupported")),
        (ecg(), Interaction.BUNDLE, (422, "resource-unsupported")),
        (bundle(type_="collection"), Interaction.BUNDLE, (422, "bundle-unsupported")),
        (bundle(type_="batch"), Interaction.MESSAGE, (422, "bundle-unsupported")),
        (bundle(ecg(), type_="message"), Interaction.MESSAGE, (400, "bundle-malformed")),
        ({"resourceType": "Bundle", "type": "batch", "entry": [{"request": {"method": "DELETE"}}]},
         Interaction.BUNDLE, (400, "bundle-malformed")),
        ({"resourceType": "Bundle", "type": "batch",
          "entry": [{"request": {"method": "PATCH"}, "resource": ecg()}]},
         Interaction.BUNDLE, (422, "bundle-unsupported")),
        (observation(None, valueQuantity={"value": 60}), Interaction.CREATE, (422, "not-ecg")),
        (observation([component("I", "1 x")]), Interaction.CREATE, (422, "samples-malformed")),
        (observation([component("I", "1", period=None)]), Interaction.CREATE,
         (422, "rate-missing")),
        (observation([component("I", "1", origin={"value": 0, "code": "furlong"})]),
         Interaction.CREATE, (422, "unit-unknown")),
        (observation([component(n, "1") for n in ("I", "II", "I")]), Interaction.CREATE,
         (422, "lead-duplicate")),
    ],
)  # fmt: skip
def test_bad_input_is_kept_and_refused(post, rows, body, interaction, expected):
    reply = post(body, interaction)
    assert (reply.status, *reasons(reply.body)) == expected
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    assert rows("state, reason, original_size") == [("refused", expected[1], len(raw))]
    assert rows("id", "exam") == []


def test_a_body_that_is_too_large_is_kept_by_its_beginning(store, rows):
    reply = FhirIntake(store, None, clock=lambda: NOW).refuse_too_large(
        b"x" * 9999, 200_000_000, Origin("")
    )
    assert (reply.status, reasons(reply.body)) == (413, ["message-too-large"])
    assert rows("state, original_size") == [("refused", 200_000_000)]


def test_what_breaks_us_is_kept_and_may_come_again(post, rows, monkeypatch):
    def broken(*_):
        raise RuntimeError("bug")

    with monkeypatch.context() as patch:
        patch.setattr(fhir_intake, "exams_by_unit", broken)
        assert post(ecg(), Interaction.CREATE).status == 500
    assert post(ecg(), Interaction.CREATE).status == 201
    assert rows("state") == [("accepted",)]


def test_store_down(store, monkeypatch):
    def down(*_, **__):
        raise StoreUnavailable("store-unavailable", "locked")

    monkeypatch.setattr(store, "accept", down)
    with pytest.raises(StoreUnavailable):
        FhirIntake(store, None).answer(orjson.dumps(ecg()), Interaction.CREATE, Origin(""))


def test_workers_are_rung_after_the_commit(store, rows):
    rung = []
    intake = FhirIntake(store, lambda ids: rung.append((ids, len(rows("id", "exam")))))
    long = observation([component(n, SAMPLES * 60) for n in ("I", "II")])
    intake.answer(orjson.dumps(long), Interaction.CREATE, Origin(""))
    ((ids, committed),) = rung
    assert (len(ids), committed) == (1, 1)
