"""What an EHR decides in FHIR bodies, over real stores and a FHIR server that is not ours."""

import copy
import time
from datetime import UTC, datetime, timedelta

import httpx
import orjson
import pytest
from fhir.resources.R4B import get_fhir_model_class

from db.versions import NewVersion
from integration.fhir.acknowledging import alerts_of
from integration.fhir.client import FhirClient
from integration.fhir.reading import resources_of
from integration.fhir.report import build_report
from integration.fhir.revision import following, sendable
from integration.fhir.source_client import SourceClient
from integration.fhir_body import Interaction
from integration.fhir_decisions import Origin
from integration.fhir_intake import FhirIntake
from integration.fhir_source import FhirSource, Reading
from integration.review import Reviews
from tests.fhir_observations import bundle, component, observation
from tests.fhir_server import running_fhir_server
from tests.patience import PATIENCE_S

BY = {"resultsInterpreter": [{"identifier": {"value": "7"}}]}
ECG = observation([component("I", list(range(100)))])
EHR = Origin("ehr")


@pytest.fixture
def intake(store):
    return FhirIntake(store, None, reviews=Reviews(store, None))


@pytest.fixture
def exam_id(store, reported):
    return reported(store, "rhythm", ("AF",))


@pytest.fixture
def post(intake):
    def ask(resource, interaction=Interaction.BUNDLE, sender=EHR):
        reply = intake.answer(orjson.dumps(resource), interaction, sender)
        get_fhir_model_class(reply.body["resourceType"]).model_validate(reply.body)
        return reply

    return ask


def ours(store, exam_id):
    """The report and the alert as we serve them."""
    found = resources_of(store.read_report(exam_id))
    return (
        found["DiagnosticReport", str(exam_id)],
        found["Communication", f"{exam_id}-critical"],
    )


def statuses(store, exam_id):
    return [version.status for version in reversed(store.versions_of(exam_id))]


def waiting(store):
    return store.unanswered_alerts(datetime.now(UTC), 10)


def entry_statuses(reply):
    return [entry["response"]["status"][:3] for entry in reply.body["entry"]]


def reason(outcome):
    return outcome["issue"][0]["details"]["text"]


def test_a_report_alone(post, store, exam_id):
    report, _ = ours(store, exam_id)
    reply = post(report | BY | {"status": "final"}, Interaction.REPORT)
    assert (reply.status, reply.location) == (200, f"DiagnosticReport/{exam_id}/_history/2")
    assert statuses(store, exam_id) == ["preliminary", "final"]
    assert store.read_report(exam_id).actor == "ehr"
    assert not waiting(store)
    assert post(report | BY | {"status": "final"}, Interaction.REPORT) == reply
    assert len(store.versions_of(exam_id)) == 2


def test_an_alert_alone(post, store, exam_id):
    assert waiting(store) == (exam_id,)
    report, alert = ours(store, exam_id)
    who = [{"reference": "Practitioner/7"}]
    done = alert | {"status": "completed", "recipient": who}
    assert post(done, Interaction.ALERT).status == 200
    assert not waiting(store)
    newest, made = ours(store, exam_id)
    assert (newest["status"], made["status"], made["recipient"]) == (
        "preliminary",
        "completed",
        who,
    )
    store.seal_audit()
    entries = [sealed.entry for sealed in store.audit_entries(exam_id=exam_id)]
    (entry,) = [e for e in entries if "acknowledged_by" in e.content]
    assert (entry.actor, entry.content["acknowledged_by"]) == ("ehr", "Practitioner/7")
    assert post(done | {"id": "theirs"}, Interaction.ALERT).status == 200
    assert len(store.versions_of(exam_id)) == 2
    # A decision still comes later, and leaves when it was received.
    post(report | BY | {"status": "final"}, Interaction.REPORT)
    assert ours(store, exam_id)[1]["received"] == made["received"]


def test_of_two_alerts_one_or_both(post, store, exam_id):
    _, alert = ours(store, exam_id)
    own, newest = store.load_exam(exam_id), store.read_report(exam_id)
    now = datetime.now(UTC)
    findings = store.load_assessed(exam_id).findings
    more = build_report(own, findings, issued=now, critical=("bradycardia",), told=1)
    critical = {"critical": ("bradycardia",), "answer_by": now}
    new = NewVersion(newest.status, now, following(newest.bundle, more), "worker", **critical)
    store.add_version(exam_id, new, expected=1)
    post(alert | {"status": "completed"}, Interaction.ALERT)
    assert waiting(store) == (exam_id,)
    told = resources_of(store.read_report(exam_id))
    both = [r | {"status": "completed"} for (kind, _), r in told.items() if kind == "Communication"]
    reply = post(bundle(*both, type_="transaction"))
    assert entry_statuses(reply) == ["200", "200"]
    assert not waiting(store)
    alerts = alerts_of(store.read_report(exam_id))
    assert [alert["status"] for alert in alerts] == ["completed"] * 2


def test_an_entry_of_a_batch_stands_for_itself(post, store, exam_id):
    report, alert = ours(store, exam_id)
    unknown = copy.deepcopy(report) | BY | {"status": "final"}
    unknown["identifier"][0]["value"] = "11111111-2222-5333-8444-555555555555"
    foreign = {"resourceType": "DiagnosticReport", "status": "final", "code": {"text": "x"}}
    batch = bundle(
        ECG,
        report | BY | {"status": "amended", "conclusion": "Sinus rhythm"},
        unknown,
        foreign,
        alert | {"status": "completed"},
        report | {"status": "final"},
        type_="batch",
    )
    reply = post(batch)
    assert entry_statuses(reply) == ["201", "200", "404", "200", "200", "422"]
    told = [entry["response"]["outcome"]["issue"][0] for entry in reply.body["entry"]]
    assert told[2]["expression"] == ["Bundle.entry[2].resource"]
    assert told[5]["expression"] == ["Bundle.entry[5].resource.resultsInterpreter"]
    assert reply.body["entry"][1]["response"]["etag"] == 'W/"2"'
    assert statuses(store, exam_id) == ["preliminary", "amended"]
    assert post(batch).body == reply.body
    assert statuses(store, exam_id) == ["preliminary", "amended"]


@pytest.mark.parametrize("kind", ["transaction", "message"])
def test_all_of_it_or_none(post, store, exam_id, kind):
    report, alert = ours(store, exam_id)
    header = {"resourceType": "MessageHeader", "id": "1", "eventUri": "urn:x"}
    header["source"] = {"endpoint": "urn:ehr"}
    done = alert | {"status": "completed"}
    bad = bundle(header, ECG, report | {"status": "final"}, done, type_=kind)
    assert post(bad).status == 422
    assert statuses(store, exam_id) == ["preliminary"]
    assert store.status(datetime.now(UTC)).messages == {"accepted": 1, "not-ecg": 0, "refused": 1}
    good = bundle(header, ECG, report | BY | {"status": "final"}, done, type_=kind)
    assert post(good).status == 200
    assert statuses(store, exam_id) == ["preliminary", "final"]
    assert store.status(datetime.now(UTC)).messages["accepted"] == 2


def test_one_report_a_transaction(post, store, exam_id):
    report = ours(store, exam_id)[0] | BY | {"status": "final"}
    reply = post(bundle(report, report | {"status": "entered-in-error"}))
    assert (reply.status, reason(reply.body)) == (422, "decision-malformed")
    assert statuses(store, exam_id) == ["preliminary"]


def test_conditions_of_entries(post, store, exam_id):
    report = ours(store, exam_id)[0] | BY | {"status": "final"}
    batch = bundle(report, type_="batch")
    batch["entry"][0]["request"] = {"method": "PUT", "url": "DiagnosticReport/x", "ifMatch": "1"}
    assert entry_statuses(post(batch)) == ["422"]
    batch["entry"][0]["request"]["ifMatch"] = 'W/"2"'
    assert entry_statuses(post(batch)) == ["412"]
    batch["entry"][0]["request"]["ifMatch"] = 'W/"1"'
    assert entry_statuses(post(batch)) == ["200"]
    assert statuses(store, exam_id) == ["preliminary", "final"]


def test_our_own_bundles_sent_back_decide_nothing(post, store, exam_id):
    report, alert = ours(store, exam_id)
    sent = [sendable(store.read_report(exam_id).bundle)]
    for decided in (
        alert | {"status": "completed"},
        report | BY | {"status": "final"},
        report | BY | {"status": "corrected", "conclusion": "Flutter"},
        report | BY | {"status": "entered-in-error"},
    ):
        post(bundle(decided))
        sent.append(sendable(store.read_report(exam_id).bundle))
        before = statuses(store, exam_id)
        for own in sent:
            assert post(own).status == 200
            assert set(entry_statuses(post(own | {"type": "batch"}))) == {"200"}
        assert statuses(store, exam_id) == before
    assert before[1:] == ["preliminary", "final", "corrected", "entered-in-error"]


def test_only_who_may_update_decides(post, store, exam_id):
    report, alert = ours(store, exam_id)
    cart = Origin("cart", lambda kind: kind == "Communication")
    reply = post(bundle(ECG, report | BY | {"status": "final"}), sender=cart)
    assert (reply.status, reason(reply.body)) == (403, "decision-not-allowed")
    done = bundle(alert | {"status": "completed"}, type_="batch")
    assert entry_statuses(post(done, sender=cart)) == ["200"]
    assert statuses(store, exam_id) == ["preliminary"] * 2


def test_what_is_not_ours_is_not_decided(post, store):
    foreign = {"resourceType": "DiagnosticReport", "status": "final", "code": {"text": "x"}}
    reply = post(foreign, Interaction.REPORT)
    assert (reply.status, reason(reply.body)) == (404, "report-unknown")
    assert entry_statuses(post(bundle(foreign, {**foreign, "identifier": "x"}))) == ["200", "200"]


def test_an_archive_decides_nothing(store, exam_id):
    intake = FhirIntake(store, None)
    report = ours(store, exam_id)[0] | BY | {"status": "final"}
    for body, interaction in ((report, Interaction.REPORT), (bundle(report), Interaction.BUNDLE)):
        intake.answer(orjson.dumps(body), interaction, EHR)
    assert statuses(store, exam_id) == ["preliminary"]


@pytest.fixture
def server(tmp_path):
    """An EHR that has the reports of no other test."""
    folder = tmp_path / "ehr"
    folder.mkdir()
    with running_fhir_server(folder) as url:
        yield url


def test_an_ehr_is_read_for_what_was_decided_there(server, intake, store, exam_id):
    began = datetime.now(UTC) - timedelta(minutes=1)
    client = FhirClient(server)
    client.post_transaction(store.read_report(exam_id).bundle)
    queries = ("Communication?status=completed", "DiagnosticReport?status=final,amended")
    reading = Reading("ehr", queries, overlap_s=60, settle_s=0, since=began)
    reader = SourceClient(server)
    source = FhirSource(reading, reader, intake, store)

    def change(kind, key, **changes):
        (id_,) = client.search(kind, {"identifier": f"urn:hisbundle:id|{key}"})
        url = f"{server}/{kind}/{id_}"
        now = httpx.get(url, timeout=PATIENCE_S).json()
        httpx.put(url, json=now | changes, timeout=PATIENCE_S).raise_for_status()
        read()

    def read():
        while source.poll(lambda: True).unsettled:  # its clock tells whole seconds
            time.sleep(0.2)

    read()
    assert statuses(store, exam_id) == ["preliminary"]
    change("Communication", f"{exam_id}-critical", status="completed")
    assert not waiting(store)
    change("DiagnosticReport", str(exam_id), status="amended", conclusion="Sinus rhythm", **BY)
    assert statuses(store, exam_id) == ["preliminary", "preliminary", "amended"]
    assert store.read_report(exam_id).actor == "source:ehr"
    # What we then send there is read again, and is an echo.
    client.post_transaction(store.read_report(exam_id).bundle)
    read()
    assert len(store.versions_of(exam_id)) == 3
    assert store.status(datetime.now(UTC)).messages["refused"] == 0
    client.close()
    reader.close()
