"""Delivery against sekmet-fhir."""

import threading
from copy import deepcopy
from dataclasses import replace
from uuid import uuid4

import httpx
import pytest

from integration.errors import Refused, TryLater
from integration.fhir.client import FhirClient
from integration.fhir.report import build_report
from tests.fhir_server import running_fhir_server, search
from tests.patience import PATIENCE_S


@pytest.fixture
def new_exam(exam):
    return replace(exam, id=uuid4())


@pytest.fixture
def bundle(new_exam, findings_of, issued):
    return build_report(new_exam, findings_of("flagged"), issued=issued)


@pytest.fixture
def client(fhir_server):
    client = FhirClient(fhir_server)
    yield client
    client.close()


def test_posted_twice_there_once(client, bundle, new_exam, fhir_server):
    first, second = client.post_transaction(bundle), client.post_transaction(bundle)
    token = f"urn:hisbundle:id|{new_exam.id}"
    (report,) = search(fhir_server, "DiagnosticReport", identifier=token)
    assert first == f'201 DiagnosticReport/{report["id"]} W/"1"'
    assert second == f'200 DiagnosticReport/{report["id"]} W/"1"'
    assert report["meta"]["versionId"] == "1"
    (provenance,) = search(fhir_server, "Provenance", target=f"DiagnosticReport/{report['id']}")
    (device,) = search(fhir_server, "Device", identifier=f"urn:hisbundle:model|{'5e' * 32}")
    assert provenance["agent"][0]["who"]["reference"] == f"Device/{device['id']}"
    results = [r["reference"].split("/") for r in report["result"]]
    assert [kind for kind, _ in results] == ["Observation"] * 7
    (anomaly,) = search(fhir_server, "Observation", identifier=f"{token}-anomaly")
    assert anomaly["id"] == results[0][1]
    assert anomaly["device"]["reference"] == f"Device/{device['id']}"


def test_every_kind_of_report_is_taken(client, exam, any_findings, issued):
    bundle = build_report(replace(exam, id=uuid4()), any_findings, issued=issued)
    assert client.post_transaction(bundle).startswith("201 DiagnosticReport/")


def test_posted_by_two_at_once_there_once(client, bundle, new_exam, fhir_server):
    start = threading.Barrier(2)
    answers = []

    def post():
        start.wait()
        answers.append(client.post_transaction(bundle))

    threads = [threading.Thread(target=post) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({answer[4:] for answer in answers}) == 1
    assert len(search(fhir_server, "DiagnosticReport", identifier=str(new_exam.id))) == 1


def test_outage_between_two_tries(bundle, tmp_path):
    with running_fhir_server(tmp_path) as url:
        client = FhirClient(url)
        first = client.post_transaction(bundle)
    with pytest.raises(TryLater) as caught:
        client.post_transaction(bundle)
    assert caught.value.reason == "destination-unreachable"
    with running_fhir_server(tmp_path, port=httpx.URL(url).port):
        assert client.post_transaction(bundle) == first.replace("201", "200", 1)
    client.close()


def test_what_the_server_finds_wrong_is_refused_without_its_words(client, bundle, fhir_server):
    broken = deepcopy(bundle)
    broken["entry"][1]["resource"]["valueQuantity"]["value"] = "patient Jane Roe"
    with pytest.raises(Refused) as caught:
        client.post_transaction(broken)
    assert caught.value.reason == "destination-refused"
    assert caught.value.detail == "status 400; structure at Observation.valueQuantity.value"
    identifier = broken["entry"][0]["resource"]["identifier"][0]["value"]
    assert search(fhir_server, "DiagnosticReport", identifier=identifier) == []


def test_two_of_the_same_there_already_is_refused(client, bundle, new_exam, fhir_server):
    key = {"system": "urn:hisbundle:id", "value": str(new_exam.id)}
    other = {"resourceType": "DiagnosticReport", "status": "final", "code": {"text": "x"}}
    for _ in range(2):
        body = {**other, "identifier": [key]}
        httpx.post(
            f"{fhir_server}/DiagnosticReport", json=body, timeout=PATIENCE_S
        ).raise_for_status()
    with pytest.raises(Refused) as caught:
        client.post_transaction(bundle)
    assert caught.value.detail == "status 412; multiple-matches"
