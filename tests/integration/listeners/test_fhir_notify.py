"""Notifications over ASGI and a real SQLite store, in every form."""

import asyncio
from datetime import UTC, datetime
from uuid import UUID

import httpx
import orjson
import pytest
from pydantic import SecretStr

from db.store import Store
from integration.fhir.settings import HttpSettings
from integration.fhir.xml import xml_of
from integration.fhir_source import FhirSource, Reading
from integration.listeners.bodies import Bodies
from integration.listeners.fhir_notify import NotifyDoor
from integration.listeners.http import create_app
from integration.security.callers import callers_of
from tests.databases import new_database
from tests.fhir_observations import component, observation

REST = datetime(2100, 1, 1, tzinfo=UTC)
ME = UUID(int=1)
TOKEN = "ehr-token-of-some-length"
MASTER = "master-token-of-some-length"
BASE = "http://127.0.0.1"
ECG = observation([component("I", list(range(100)))], id="1")
URL = "http://hl7.org/fhir/uv/subscriptions-backport"


def backport(type_, content=(), **focus):
    """Return the R4 Backport's notification."""
    event = [{"name": "event-number", "valueString": "1"}]
    event += [{"name": "focus", "valueReference": focus}] if focus else []
    parts = [
        {"name": "subscription", "valueReference": {"reference": "Subscription/1"}},
        {"name": "topic", "valueCanonical": "urn:ecgs"},
        {"name": "status", "valueCode": "active"},
        {"name": "type", "valueCode": type_},
        {"name": "events-since-subscription-start", "valueString": "1"},
    ]
    parts += (
        [{"name": "notification-event", "part": event}] if type_ == "event-notification" else []
    )
    status = {"resourceType": "Parameters", "parameter": parts}
    return _bundle("history", status, content)


def r5(type_, content=(), **focus):
    """Return R5's notification."""
    status = {
        "resourceType": "SubscriptionStatus",
        "status": "active",
        "type": type_,
        "eventsSinceSubscriptionStart": "1",
        "subscription": {"reference": "Subscription/1"},
        "topic": "urn:ecgs",
    }
    if type_ == "event-notification":
        status["notificationEvent"] = [{"eventNumber": "1"} | ({"focus": focus} if focus else {})]
    return _bundle("subscription-notification", status, content)


def _bundle(type_, *parts):
    (status, content) = parts
    entries = [{"resource": resource} for resource in (status, *content)]
    return {"resourceType": "Bundle", "type": type_, "entry": entries}


@pytest.fixture
def store(tmp_path):
    url = new_database(tmp_path / "hisbundle.db")
    store = Store.open(url)
    store.take_source("ehr", ME, REST, 60)
    store.release_source("ehr", ME, REST, REST, None)
    yield store
    store.close()


@pytest.fixture
def tell(store):
    source = FhirSource(Reading("ehr", ("Observation",), 60, 5), None, None, store)
    http = HttpSettings(token=MASTER)
    app = create_app(
        store,
        notify=NotifyDoor({"ehr": source}, Bodies(2**16)),
        callers=callers_of(http, {"ehr": SecretStr(TOKEN)}),
    )

    def send(body, path="/fhir/notify/ehr", method="POST", token=TOKEN, **more):
        async def run():
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(
                transport=transport, base_url="http://127.0.0.1"
            ) as client:
                content = body if isinstance(body, bytes) else orjson.dumps(body)
                headers = {"authorization": f"Bearer {token}"}
                headers |= {"content-type": "application/fhir+json"} if content else {}
                return await client.request(method, path, content=content, headers=headers | more)

        return asyncio.run(run())

    return send


def hastened(store):
    return store.source_states()["ehr"].due_at < REST


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/fhir/notify/ehr", b""),
        ("POST", "/fhir/notify/ehr", b"\n"),
        ("PUT", "/fhir/notify/ehr/Observation/1", ECG),
        ("POST", "/fhir/notify/ehr/Observation", ECG),
        ("POST", "/fhir/notify/ehr", ECG),
        ("POST", "/fhir/notify/ehr", backport("event-notification")),
        ("POST", "/fhir/notify/ehr", backport("event-notification", reference="Observation/1")),
        ("POST", "/fhir/notify/ehr", backport("event-notification", [ECG], reference="x")),
        ("POST", "/fhir/notify/ehr", r5("event-notification")),
        ("POST", "/fhir/notify/ehr", r5("event-notification", reference="Observation/1")),
        ("POST", "/fhir/notify/ehr", r5("event-notification", [ECG], reference="x")),
    ],
)
def test_news(store, tell, method, path, body):
    answer = tell(body, path, method)
    assert (answer.status_code, answer.content) == (200, b"")
    assert hastened(store)


@pytest.mark.parametrize("type_", ["handshake", "heartbeat"])
@pytest.mark.parametrize("form", [backport, r5])
def test_no_news(store, tell, form, type_):
    assert tell(form(type_)).status_code == 200
    assert not hastened(store)
    (heard,) = store.subscribed()
    assert (heard.source, heard.subscription, heard.last_event) == ("ehr", "Subscription/1", 1)


def test_xml(store, tell):
    answer = tell(xml_of(backport("event-notification")), **{"content-type": "application/xml"})
    assert answer.status_code == 200
    assert hastened(store)


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        (b"{", 400, "json-malformed"),
        ({"resourceType": "Bundle", "type": "batch"}, 422, "bundle-unsupported"),
        (backport("rumour"), 422, "field-malformed"),
        (b" " * 2**16 + b"{}", 413, None),
    ],
)
def test_what_is_refused(store, tell, body, status, reason):
    answer = tell(body)
    assert answer.status_code == status
    assert answer.json()["issue"][0].get("details", {}).get("text") == reason
    assert not hastened(store)
    assert store.subscribed() == []


def test_who_may_tell(store, tell):
    assert tell(b"", token="nonsense").status_code == 401
    assert tell(b"", "/fhir/notify/other", token=MASTER).status_code == 404
    for closed in ("/fhir/notify/other", "/fhir", "/fhir/Observation", "/metrics"):
        assert tell(ECG, closed).status_code == 403
    assert tell(b"", method="GET").status_code == 403
    assert tell(ECG, **{"content-type": "text/plain"}).status_code == 415
    assert not hastened(store)
    assert tell(b"", token=MASTER).status_code == 200
