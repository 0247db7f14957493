"""An ECG from a FHIR Observation to a DiagnosticReport, over real sockets."""

import json
import re

import httpx
from fhir.resources.R4B.diagnosticreport import DiagnosticReport

from model.simulate import simulate
from tests.fhir_observations import bundle, full_url, of_ecg
from tests.patience import PATIENCE_S

TOKEN = "ZZCANARY-token-of-some-length"


def post(installation, path, resource, token=None):
    """Return status, headers and parsed body."""
    content = resource if isinstance(resource, bytes) else json.dumps(resource)
    headers = {"Content-Type": "application/fhir+json"}
    headers |= {"Authorization": f"Bearer {token}"} if token else {}
    url = f"http://127.0.0.1:{installation.http_port}{path}"
    answer = httpx.post(url, content=content, headers=headers, timeout=PATIENCE_S)
    return answer.status_code, answer.headers, answer.json()


def test_an_observation_becomes_a_report(install):
    installation = install()
    installation.serve()
    ecg = of_ecg(simulate("normal", seed=1))
    status, headers, outcome = post(installation, "/fhir/Observation", ecg)
    assert status == 201
    assert post(installation, "/fhir/Observation", ecg)[2] == outcome
    (exam,) = installation.settled(1)
    assert exam["id"] in outcome["issue"][0]["diagnostics"]
    status, report = installation.get(f"/fhir/DiagnosticReport/{exam['id']}")
    assert status == 200
    DiagnosticReport.model_validate(report)
    assert report["subject"]["identifier"]["value"] == "ZZCANARY-4711"
    path = headers["Location"].partition(f":{installation.http_port}")[2]
    assert installation.get(path)[1]["component"] == ecg["component"]


def test_bad_bodies_are_refused_and_the_next_is_taken(install):
    installation = install(HTTP__MAX_BODY_BYTES="1000000")
    installation.serve("--no-worker")
    ecg = of_ecg(simulate("normal", seed=2))
    nobody = {key: value for key, value in ecg.items() if key != "subject"}
    bad = {
        "json-malformed": json.dumps(ecg).encode()[:-100],
        "json-too-complex": b"[" * 900_000,
        "patient-missing": nobody,
        "message-too-large": b" " * 1_000_001,
    }
    for reason, body in bad.items():
        status, _, outcome = post(installation, "/fhir/Observation", body)
        assert 400 <= status < 500
        assert outcome["issue"][0]["details"]["text"] == reason
    assert installation.status()["refusals"] == dict.fromkeys(bad, 1)
    assert post(installation, "/fhir/Observation", ecg)[0] == 201


def test_a_transaction_by_who_shows_the_token(install):
    installation = install(HTTP__TOKEN=TOKEN)
    installation.serve("--no-worker")
    patient = {"resourceType": "Patient", "identifier": [{"value": "ZZCANARY-9"}]}
    ecg = of_ecg(simulate("normal", seed=3), subject={"reference": full_url(0)})
    assert post(installation, "/fhir", bundle(patient, ecg))[0] == 401
    status, _, answer = post(installation, "/fhir", bundle(patient, ecg), TOKEN)
    assert (status, answer["type"]) == (200, "transaction-response")
    told = answer["entry"][1]["response"]["outcome"]["issue"][0]["diagnostics"]
    assert re.fullmatch(r"taken as ECG [0-9a-f-]{36}", told)
    assert installation.status()["messages"]["accepted"] == 1
