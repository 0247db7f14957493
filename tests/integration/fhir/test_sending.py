"""Every style against sekmet-fhir."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from uuid import uuid4

import httpx
import pytest

from integration.errors import Refused
from integration.fhir.before import Before, Standing, nothing_before
from integration.fhir.client import FhirClient
from integration.fhir.report import attach_page, build_report
from integration.fhir.revision import following
from integration.fhir.sending import FhirSender
from integration.fhir.settings import FhirDestinationSettings
from model.findings import ModelIdentity
from tests.fhir_server import search
from tests.patience import PATIENCE_S

SYSTEMS = {"ST-ELSEWHERE": "urn:oid:1.2.3.4.5.1"}


@pytest.fixture
def new_exam(exam):
    return replace(exam, id=uuid4(), patient=replace(exam.patient, identifier=f"MRN-{uuid4().hex}"))


@pytest.fixture
def findings(findings_of):
    # A model that no other test's server has heard of.
    return replace(findings_of("flagged"), model=ModelIdentity("m", "1", uuid4().hex * 2))


@pytest.fixture
def bundle(new_exam, findings, issued):
    return attach_page(build_report(new_exam, findings, issued=issued), b"%PDF-1.7 a page")


@pytest.fixture
def one_at_a_time():
    lock, seen = threading.Lock(), []

    @contextmanager
    def exclusively(name):
        with lock:
            seen.append(name)
            yield

    exclusively.seen = seen
    return exclusively


@pytest.fixture
def sender(fhir_server, one_at_a_time):
    clients = []

    def make(history=nothing_before, **values):
        settings = FhirDestinationSettings(kind="fhir", base_url=fhir_server, **values)
        clients.append(FhirClient(fhir_server))
        return FhirSender(clients[-1], settings, one_at_a_time, history)

    yield make
    for client in clients:
        client.close()


def patient(url, identifier, system="urn:oid:1.2.3.4.5.1"):
    body = {"resourceType": "Patient", "identifier": [{"system": system, "value": identifier}]}
    return (
        httpx.post(f"{url}/Patient", json=body, timeout=PATIENCE_S).raise_for_status().json()["id"]
    )


@pytest.mark.parametrize("style", ["transaction", "single"])
def test_a_report_and_all_it_refers_to_are_there_once(sender, bundle, new_exam, fhir_server, style):
    send = sender(style=style).send
    first = send(bundle)
    assert first.startswith("201 DiagnosticReport/")
    assert send(bundle) == first.replace("201", "200", 1)
    token = f"urn:hisbundle:id|{new_exam.id}"
    (report,) = search(fhir_server, "DiagnosticReport", identifier=token)
    kinds = [result["reference"].partition("/")[0] for result in report["result"]]
    assert kinds == ["Observation"] * 7
    (provenance,) = search(fhir_server, "Provenance", target=f"DiagnosticReport/{report['id']}")
    assert provenance["agent"][0]["who"]["reference"].startswith("Device/")
    (anomaly,) = search(fhir_server, "Observation", identifier=f"{token}-anomaly")
    assert anomaly["id"] == report["result"][0]["reference"].partition("/")[2]


def test_single_creates_go_on_where_they_were_cut_off(sender, bundle, new_exam, fhir_server):
    one = sender(style="single")
    kept = [e for e in bundle["entry"] if e["request"]["url"] != "Provenance"]
    half = {**bundle, "entry": kept}
    assert one.send(half).startswith("201 ")
    assert one.send(bundle).startswith("200 ")
    token = f"urn:hisbundle:id|{new_exam.id}-provenance"
    assert len(search(fhir_server, "Provenance", _tag=token)) == 1


def test_a_later_version_updates_what_is_there(sender, bundle, new_exam, fhir_server):
    one = sender(style="single")
    place = one.send(bundle).split()[1]
    later = []
    for entry in bundle["entry"]:
        resource, request = entry["resource"], entry["request"]
        if resource["resourceType"] == "DiagnosticReport":
            key = f"DiagnosticReport?identifier=urn:hisbundle:id|{new_exam.id}"
            resource = resource | {"status": "final"}
            request = {"method": "PUT", "url": key}
        later.append(entry | {"resource": resource, "request": request})
    assert one.send({**bundle, "entry": later}) == f'200 {place} W/"2"'
    report = httpx.get(f"{fhir_server}/{place}", timeout=PATIENCE_S).json()
    assert (report["status"], report["meta"]["versionId"]) == ("final", "2")


@pytest.fixture
def bundles(exam, findings, issued):
    return [build_report(replace(exam, id=uuid4()), findings, issued=issued) for _ in range(6)]


@pytest.mark.parametrize("style", ["transaction", "single"])
def test_first_reports_of_a_model_at_once_make_one_device(
    sender, bundles, findings, fhir_server, style
):
    senders = [sender(style=style) for _ in bundles]  # as in processes of their own
    start = threading.Barrier(len(bundles))

    def send(pair):
        start.wait()
        return pair[0].send(pair[1])

    with ThreadPoolExecutor(len(bundles)) as pool:
        list(pool.map(send, zip(senders, bundles, strict=True)))
    token = f"urn:hisbundle:model|{findings.model.sha256}"
    assert len(search(fhir_server, "Device", identifier=token)) == 1


@pytest.mark.parametrize("style", ["transaction", "single"])
def test_a_device_is_looked_after_once_a_process(sender, bundle, one_at_a_time, style):
    one = sender(style=style)
    for _ in range(3):
        one.send(bundle)
    assert len(one_at_a_time.seen) == 1


def test_a_document_alone(sender, bundle, new_exam, fhir_server):
    send = sender(style="document").send
    first = send(bundle)
    assert first.startswith("201 DocumentReference/")
    assert send(bundle) == first.replace("201", "200", 1)
    token = f"urn:hisbundle:id|{new_exam.id}"
    (found,) = search(fhir_server, "DocumentReference", identifier=token)
    assert found["subject"]["identifier"]["value"] == new_exam.patient.identifier
    assert search(fhir_server, "DiagnosticReport", identifier=token) == []


@pytest.mark.parametrize(
    "values", [{"preset": "millennium"}, {"style": "document"}], ids=["millennium", "document"]
)
def test_the_servers_own_patient_is_found_and_never_guessed(
    sender, bundle, new_exam, fhir_server, values
):
    send = sender(patient_systems=SYSTEMS, **values).send
    with pytest.raises(Refused, match="patient-unknown-there"):
        send(bundle)
    # The same number of another authority is another patient.
    patient(fhir_server, new_exam.patient.identifier, "urn:oid:1.2.3.4.5.99")
    with pytest.raises(Refused, match="patient-unknown-there"):
        send(bundle)
    own = patient(fhir_server, new_exam.patient.identifier)
    kind = send(bundle).partition(" ")[2].partition("/")[0]
    token = f"urn:hisbundle:id|{new_exam.id}"
    (found,) = search(fhir_server, kind, identifier=token)
    assert found["subject"] == {"reference": f"Patient/{own}"}
    patient(fhir_server, new_exam.patient.identifier)
    with pytest.raises(Refused, match="patient-ambiguous-there: the server has 2"):
        send(bundle)


def test_without_a_system_nobody_is_looked_up(sender, bundle):
    with pytest.raises(Refused, match="patient-system-unknown"):
        sender(preset="millennium").send(bundle)


@pytest.mark.parametrize("values", [{"style": "single"}, {"preset": "millennium"}])
def test_a_later_version_is_written_over_what_is_known_to_be_there(
    sender, bundle, new_exam, fhir_server, values
):
    patient(fhir_server, new_exam.patient.identifier)
    answers = [""]

    def history(_):
        return Before(Standing.told_in(answers[-1]), lambda there: there["status"] == "preliminary")

    one = sender(patient_systems=SYSTEMS, history=history, **values)
    later = following(bundle, bundle)
    answers += [one.send(bundle), ""]
    answers.append(one.send(later))  # by identifier: nothing is known
    place, tag = answers[-1].split()[1:]
    assert tag == 'W/"2"'
    same = httpx.get(f"{fhir_server}/{place}", timeout=PATIENCE_S).json()
    httpx.put(f"{fhir_server}/{place}", json=same, timeout=PATIENCE_S)
    assert one.send(later) == f'200 {place} W/"4"'
    theirs = httpx.get(f"{fhir_server}/{place}", timeout=PATIENCE_S).json() | {"status": "final"}
    httpx.put(f"{fhir_server}/{place}", json=theirs, timeout=PATIENCE_S)
    with pytest.raises(Refused, match="destination-conflict"):
        one.send(later)
