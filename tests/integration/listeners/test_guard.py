import asyncio
import logging

import pytest

from integration.listeners.http import create_app
from tests.integration.listeners.reports import PATHS, BrokenStore, request


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8080", 200),
        ("LOCALHOST", 200),
        ("[::1]:8080", 200),
        ("rebound.example:8080", 421),
        ("127.0.0.1.example", 421),
        ("[", 421),
    ],
)
def test_only_known_host_names_are_answered(get, host, status):
    get("/fhir/metadata", status, Host=host)


def test_every_host_name_where_the_settings_say_so(reports):
    app = create_app(reports, allowed_hosts=None)
    answer = request(app, "/fhir/metadata", base="https://ecg.hospital.example")
    assert answer.json()["implementation"]["url"] == "https://ecg.hospital.example/fhir"


@pytest.mark.parametrize("path", PATHS)
def test_what_breaks_is_told_without_its_words(path, caplog):
    app = create_app(BrokenStore(RuntimeError("ZZCANARY1")))
    answer = request(app, path)
    assert answer.status_code == 500
    assert answer.json()["issue"][0]["code"] == "exception"
    assert "ZZCANARY1" not in answer.text
    messages = [record.getMessage() for record in caplog.records]
    assert any(message.startswith("request broke route=/fhir/") for message in messages)


def test_connection_that_breaks_while_answering_is_logged_once(reports, exam_ids, caplog):
    caplog.set_level(logging.INFO)
    started = []

    async def send(message):
        if message["type"] == "http.response.body":
            raise OSError("ZZCANARY1")
        started.append(message["status"])

    scope = {
        "type": "http",
        "method": "GET",
        "path": "/livez",
        "headers": [(b"host", b"localhost")],
        "query_string": b"",
    }
    asyncio.run(create_app(reports)(scope, None, send))
    assert started == [200]
    messages = [record.getMessage() for record in caplog.records]
    assert "request broke route=/livez" in messages
    assert any(message.startswith("http method=GET route=/livez") for message in messages)


def test_logs_say_route_and_status_and_nothing_of_the_patient(get, exam_ids, caplog):
    caplog.set_level(logging.DEBUG)
    get("/fhir/DiagnosticReport?patient=ZZCANARY1")
    get("/fhir/DiagnosticReport?patient=ZZCANARY1,2", 400)
    get("/fhir/DiagnosticReport/ZZCANARY1", 404)
    get("/ZZCANARY1", 404)
    ours = [r.getMessage() for r in caplog.records if r.name == "integration.listeners.guard"]
    assert [line.rpartition(" ms=")[0] for line in ours] == [
        "http method=GET route=/fhir/DiagnosticReport status=200",
        "http method=GET route=/fhir/DiagnosticReport status=400",
        "http method=GET route=/fhir/{kind}/{id} status=404",
        "http method=GET route=none status=404",
    ]
    others = [r for r in caplog.records if not r.name.startswith(("httpx", "httpcore"))]
    assert not [r for r in others if "ZZCANARY" in r.getMessage()]
