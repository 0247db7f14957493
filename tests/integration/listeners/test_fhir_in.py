"""The posting side of the FHIR interface, over ASGI and a real SQLite store."""

import asyncio

import httpx
import orjson
import pytest
from fhir.resources.R4B import get_fhir_model_class
from pydantic import SecretStr

from db.audit import AuditKind
from db.errors import StoreUnavailable
from db.store import Store
from integration.fhir.reading import FHIR_JSON, FHIR_XML
from integration.fhir.xml import resource_of_xml, xml_of
from integration.fhir_intake import FhirIntake
from integration.listeners import bodies
from integration.listeners.bodies import Bodies
from integration.listeners.fhir_in import FhirDoor
from integration.listeners.http import create_app
from integration.security.callers import Callers, StaticToken
from tests.databases import new_database
from tests.fhir_observations import bundle, component, observation, sampled

TOKEN = "a-token-of-some-length"
LIMIT = 2**16
ECG = observation([component("I", list(range(100)))])


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    url = new_database(tmp_path_factory.mktemp("store") / "hisbundle.db")
    store = Store.open(url)
    yield store
    store.close()


def app_of(store, token=None):
    door = FhirDoor(FhirIntake(store, None), Bodies(LIMIT), store)
    callers = token and Callers(StaticToken(SecretStr(token)))
    return create_app(store, door=door, callers=callers)


def request(app, method, path, content=None, **headers):
    async def sent():
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            named = {"content-type": FHIR_JSON} if content is not None else {}
            named |= {name.replace("_", "-"): value for name, value in headers.items()}
            return await client.request(method, path, content=content, headers=named)

    return asyncio.run(sent())


def ask(app, method, path, content=None, **headers):
    """Return an answer that is valid for R4B."""
    answer = request(app, method, path, content, **headers)
    if answer.content:
        xml = answer.headers["content-type"] == FHIR_XML
        body = resource_of_xml(answer.content) if xml else answer.json()
        get_fhir_model_class(body["resourceType"]).model_validate(body)
        assert xml or answer.headers["content-type"] == FHIR_JSON
    return answer


def post(app, resource=ECG, path="/fhir/Observation", **headers):
    content = resource if isinstance(resource, bytes) else orjson.dumps(resource)
    return ask(app, "POST", path, content, **headers)


def test_what_is_created_can_be_read(store):
    app = app_of(store)
    answer = post(app)
    assert answer.status_code == 201
    assert answer.headers["cache-control"] == "no-store"
    location = answer.headers["location"]
    assert location.startswith("http://127.0.0.1/fhir/Observation/")
    read = ask(app, "GET", location)
    assert read.status_code == 200
    assert read.json() == orjson.loads(orjson.dumps(ECG)) | {"id": location.rpartition("/")[2]}
    assert ask(app, "GET", f"{location}-0").status_code == 404
    assert ask(app, "GET", location.replace("Observation", "Media")).status_code == 404
    store.seal_audit()
    (access,) = (e.entry for e in store.audit_entries() if e.entry.kind is AuditKind.ACCESS)
    assert access.content == {"what": location.removeprefix("http://127.0.0.1/fhir/")}
    assert access.exam_id is None  # the id is the message's


def test_what_a_transaction_created_can_be_read(store):
    app = app_of(store)
    answer = post(app, bundle({"resourceType": "Patient"}, ECG), "/fhir")
    assert answer.status_code == 200
    location = answer.json()["entry"][1]["response"]["location"]
    assert location.endswith("-1")
    assert ask(app, "GET", f"/fhir/{location}").json()["component"] == ECG["component"]


def test_a_message_is_processed(store):
    header = {"resourceType": "MessageHeader", "id": "1", "eventUri": "urn:x"}
    header["source"] = {"endpoint": "urn:cart"}
    answer = post(app_of(store), bundle(header, ECG, type_="message"), "/fhir/$process-message")
    assert (answer.status_code, answer.json()["type"]) == (200, "message")


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("application/fhir+json; charset=utf-8; fhirVersion=4.0", 201),
        ("application/json", 201),
        ("application/fhir+json; fhirVersion=5.0", 201),
        ("application/fhir+json; fhirVersion=3.0", 415),
        ("text/plain", 415),  # what a browser's page could post from elsewhere
        ("", 415),
    ],
)
def test_content_types(store, kind, status):
    assert post(app_of(store), content_type=kind).status_code == status


@pytest.mark.parametrize("declared", [True, False])
def test_a_body_beyond_the_limit_is_not_read_to_its_end(store, declared):
    read = []

    async def request():
        async def pieces():
            for n in range(1000):
                read.append(n)
                yield b" " * 8192

        headers = {"content-type": FHIR_JSON} | (
            {"content-length": "200000000"} if declared else {}
        )
        transport = httpx.ASGITransport(app_of(store))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return await client.post("/fhir/Observation", content=pieces(), headers=headers)

    answer = asyncio.run(request())
    assert answer.status_code == 413
    assert answer.json()["issue"][0]["code"] == "too-long"
    assert len(read) <= LIMIT / 8192 + 2


def test_a_body_that_does_not_come_is_not_waited_for(store, monkeypatch):
    monkeypatch.setattr(bodies, "_BODY_TIMEOUT_S", 0.05)

    async def receive():
        await asyncio.sleep(60)

    sent = []

    async def send(message):
        sent.append(message)

    headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": "/fhir", "query_string": b""}
    asyncio.run(app_of(store)(scope | {"headers": headers}, receive, send))
    assert sent[0]["status"] == 408


def test_who_waits_long_is_sent_away(store, monkeypatch):
    monkeypatch.setattr(bodies, "_AT_ONCE", 0)
    monkeypatch.setattr(bodies, "_PATIENCE_S", 0.05)
    answer = post(app_of(store))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")


def test_store_down(store, monkeypatch):
    def down(*_, **__):
        raise StoreUnavailable("store-unavailable", "locked")

    with monkeypatch.context() as patch:
        patch.setattr(store, "accept", down)
        answer = post(app_of(store))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert answer.json()["issue"][0]["code"] == "transient"
    assert post(app_of(store)).status_code == 201


def test_refusals_point_at_the_fault(store):
    answer = post(app_of(store), ECG | {"subject": {"display": "ZZCANARY"}})
    assert answer.status_code == 422
    assert answer.json()["issue"][0]["expression"] == ["Observation.subject"]
    assert "ZZCANARY" not in answer.text


class TestToken:
    @pytest.mark.parametrize(
        ("authorization", "status"),
        [
            (f"Bearer {TOKEN}", 201),
            (f"bearer {TOKEN}", 201),
            (f"Basic {TOKEN}", 401),
            (f"Bearer {TOKEN}x", 401),
            ("Bearer \u00e9", 401),
            ("", 401),
        ],
    )
    def test_posting(self, store, authorization, status):
        answer = post(app_of(store, TOKEN), authorization=authorization.encode("latin-1"))
        assert answer.status_code == status
        assert ("www-authenticate" in answer.headers) == (status == 401)

    def test_reading_asks_for_it_too_but_not_metadata(self, store):
        app = app_of(store, TOKEN)
        assert ask(app, "GET", "/fhir/DiagnosticReport").status_code == 401
        assert ask(app, "GET", "/fhir/metadata").status_code == 200
        shown = ask(app, "GET", "/fhir/DiagnosticReport", authorization=f"Bearer {TOKEN}")
        assert shown.status_code == 200


def test_nothing_can_be_posted_without_a_door(store):
    app = create_app(store)
    assert post(app).status_code == 404
    assert post(app, path="/fhir").status_code == 404
    (rest,) = ask(app, "GET", "/fhir/metadata").json()["rest"]
    assert "create" not in str(rest)


def test_metadata_tells_what_can_be_posted(store):
    (rest,) = ask(app_of(store), "GET", "/fhir/metadata").json()["rest"]
    creating = [
        resource["type"]
        for resource in rest["resource"]
        if {"code": "create"} in resource["interaction"]
    ]
    assert creating == ["Observation"]
    assert [i["code"] for i in rest["interaction"]] == ["batch", "transaction"]
    assert [o["name"] for o in rest["operation"]] == ["process-message"]


def test_xml_in_and_out(store):
    ecg = observation([component("V2", list(range(300)))])
    answer = post(app_of(store), xml_of(ecg), content_type=FHIR_XML, accept=FHIR_XML)
    assert answer.status_code == 201
    assert answer.headers["content-type"] == FHIR_XML
    assert resource_of_xml(answer.content)["issue"][0]["code"] == "informational"
    read = ask(app_of(store), "GET", answer.headers["location"], accept=FHIR_XML)
    told = resource_of_xml(read.content)
    assert told["component"][0]["valueSampledData"]["data"] == " ".join(map(str, range(300)))


def test_what_was_received_is_read_as_xml_where_it_can_be(store):
    def read(ecg):
        wanted = {"accept": FHIR_XML, "prefer": "return=representation"}
        made = request(app_of(store), "POST", "/fhir/Observation", orjson.dumps(ecg), **wanted)
        again = request(app_of(store), "GET", made.headers["location"], accept=FHIR_XML)
        assert (made.status_code, again.status_code, again.content) == (201, 200, made.content)
        return again.headers["content-type"], again.content

    shape = sampled(list(range(50)), period=None, interval=2, intervalUnit="ms")
    r5 = observation([component("I", [1]) | {"valueSampledData": shape}])
    kind, content = read(r5)
    told = resource_of_xml(content)["component"][0]["valueSampledData"]
    assert (kind, told["intervalUnit"]) == (FHIR_XML, "ms")
    kind, content = read(ECG | {"vendorsOwn": 1, "note": [{"text": "\x0b"}]})
    assert (kind, orjson.loads(content)["vendorsOwn"]) == (FHIR_JSON, 1)


def test_a_compressed_body_is_told_so(store):
    assert post(app_of(store), content_encoding="gzip").status_code == 415


def test_a_version_that_the_client_has_is_not_sent_again(store):
    app = app_of(store)
    location = post(app).headers["location"]
    tag = ask(app, "GET", location).headers["etag"]
    again = ask(app, "GET", location, if_none_match=f'"x", {tag}')
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert ask(app, "GET", location, if_none_match='W/"x"').status_code == 200


class TestPrefer:
    def test_minimal(self, store):
        answer = post(app_of(store), prefer="return=minimal")
        assert (answer.status_code, answer.content) == (201, b"")
        assert "/fhir/Observation/" in answer.headers["location"]

    def test_representation(self, store):
        answer = post(app_of(store), prefer="respond-async, return=representation")
        assert answer.json()["component"] == orjson.loads(orjson.dumps(ECG["component"]))
        assert answer.headers["location"].endswith(answer.json()["id"])

    def test_a_refusal_is_told_anyway(self, store):
        answer = post(app_of(store), ECG | {"subject": {}}, prefer="return=minimal")
        assert answer.json()["issue"][0]["details"]["text"] == "patient-missing"


class TestConditionalCreate:
    def ecg(self, value, *samples):
        named = {"identifier": [{"system": "urn:carts", "value": value}]}
        return observation([component("I", [*range(100), *samples])], **named)

    def test_it_is_made_once(self, store):
        app, condition = app_of(store), "identifier=urn:carts%7C1"
        first = post(app, self.ecg("1"), if_none_exist=condition)
        again = post(app, self.ecg("1", 7), if_none_exist=f"Observation?{condition}")
        assert (first.status_code, again.status_code) == (201, 200)
        assert first.headers["location"] == again.headers["location"]

    def test_several(self, store):
        app = app_of(store)
        post(app, self.ecg("2"))
        post(app, self.ecg("2", 7))
        answer = post(app, self.ecg("2", 8), if_none_exist="identifier=urn:carts|2")
        assert answer.status_code == 412
        assert answer.json()["issue"][0]["code"] == "multiple-matches"

    @pytest.mark.parametrize("condition", ["identifier=3", "identifier=urn:other|3"])
    def test_one_by_which_it_would_not_be_found_again_is_refused(self, store, condition):
        answer = post(app_of(store), self.ecg("3"), if_none_exist=condition)
        assert (answer.status_code, answer.json()["issue"][0]["code"]) == (400, "not-supported")
        unnamed = observation([component("I", list(range(77)))])
        assert post(app_of(store), unnamed, if_none_exist=condition).status_code == 400

    @pytest.mark.parametrize("condition", ["", "patient=1", "identifier=a&code=b", "identifier="])
    def test_what_is_not_understood_is_refused(self, store, condition):
        answer = post(app_of(store), if_none_exist=condition)
        assert (answer.status_code, answer.json()["issue"][0]["code"]) == (400, "not-supported")
