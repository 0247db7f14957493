"""The read-only interface over a real SQLite store."""

import asyncio
import base64
import logging
import socket
import threading
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import httpx
import numpy as np
import pytest
import uvicorn
from fhir.resources.R4B import get_fhir_model_class
from pydantic import SecretStr
from sqlalchemy import text

from db.audit import AuditKind
from db.clinical import Incoming
from db.errors import NotFound, StoreUnavailable
from db.records import MessageState, NewAssessment, NewExam, NewMessage, PatientRef
from db.room import Limits, Room
from db.store import Store
from integration.fhir.report import build_report
from integration.fhir.settings import HttpSettings
from integration.fhir.xml import resource_of_xml
from integration.listeners.http import create_app
from integration.metrics import Metrics
from integration.security.callers import Caller, Callers, StaticToken, callers_of
from integration.security.signing_keys import make_key
from model.ecg import Ecg
from model.findings import ABNORMALITY_TYPES, Findings, ModelIdentity, Quality, TypeFinding
from tests.databases import new_database
from tests.patience import PATIENCE_S

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
MODEL = ModelIdentity("resting-12", "1", "ab" * 32)
FINDINGS = Findings(
    Quality("good"),
    MODEL,
    tuple(TypeFinding(c, 0.1, 0.5) for c in ABNORMALITY_TYPES),
    0.8,
    0.2,
    0.9,
)
# patient, authority, acquired
EXAMS = [
    ("ZZCANARY1", "ADT", datetime(2026, 3, 1, 8, tzinfo=UTC)),
    ("ZZCANARY1", "ADT", datetime(2026, 3, 2, 8, tzinfo=UTC)),
    ("ZZCANARY1", "OTHER", date(2026, 3, 3)),
    ("ZZCANARY2", None, None),
]


def stored(store, ordinal, identifier, authority, acquired):
    ecg = Ecg(np.zeros((1, 100), np.float32), ("II",), 100.0)
    message = NewMessage.whole("mllp", "CART", str(ordinal), b"MSH", NOW)
    exam = NewExam(PatientRef(identifier, authority), ecg, acquired)
    (exam_id,) = store.accept(
        Incoming(message, MessageState.ACCEPTED, None, b"AA", [exam])
    ).exam_ids
    issued = NOW + timedelta(seconds=ordinal)
    report = build_report(store.begin_scoring(exam_id), FINDINGS, issued=issued)
    store.save_assessment(exam_id, NewAssessment(FINDINGS, issued, report))
    return exam_id


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    url = new_database(tmp_path_factory.mktemp("store") / "hisbundle.db")
    store = Store.open(url)
    yield store
    store.close()


@pytest.fixture(scope="module")
def exam_ids(store):
    return [str(stored(store, i, *exam)) for i, exam in enumerate(EXAMS)]


def request(app, path, method="GET", base="http://127.0.0.1:8080", form=None, **headers):
    async def ask():
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app, raise_app_exceptions=True), base_url=base
        ) as client:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            return await client.request(method, path, headers=named, data=form)

    return asyncio.run(ask())


@pytest.fixture
def get(store, exam_ids):
    app = create_app(store)

    def ask(path, status=200, **options):
        answer = request(app, path, **options)
        assert answer.status_code == status, answer.text
        if path.startswith("/fhir"):
            assert answer.headers["content-type"] == "application/fhir+json"
            body = answer.json()
            get_fhir_model_class(body["resourceType"]).model_validate(body)
        assert answer.headers["cache-control"] == "no-store"
        return answer

    return ask


def found(answer):
    return [
        entry["resource"]["id"]
        for entry in answer.json().get("entry", [])
        if entry["search"]["mode"] == "match"
    ]


@pytest.mark.parametrize(
    ("query", "ordinals"),
    [
        ("", [3, 2, 1, 0]),
        ("patient=ZZCANARY1", [2, 1, 0]),
        ("patient=ADT|ZZCANARY1", [1, 0]),
        ("patient.identifier=ADT%7CZZCANARY1", [1, 0]),
        ("subject:identifier=OTHER|ZZCANARY1", [2]),
        ("patient=ADT|ZZCANARY2", []),
        ("patient=ZZCANARY2", [3]),
        ("patient=zzcanary1", []),
        ("date=2026-03-01", [0]),
        ("date=ge2026-03-02&date=lt2026-03-04", [2, 1]),
        ("date=2026-03", [3, 2, 1, 0]),
        ("date=gt2026-03-03", [3]),  # its time is unknown: the day of issue counts
        ("patient=ADT|ZZCANARY1&date=le2026-03-01", [0]),
        ("identifier=PLACER", []),
    ],
)
def test_search(get, exam_ids, query, ordinals):
    answer = get(f"/fhir/DiagnosticReport?{query}")
    assert found(answer) == [exam_ids[i] for i in ordinals]
    assert answer.json()["total"] == len(ordinals)


def test_search_by_a_form(get, exam_ids):
    form = {"patient": "ADT|ZZCANARY1", "_count": "1"}
    place = "/fhir/DiagnosticReport/_search"
    answer = get(place, method="POST", form=form)
    assert (found(answer), answer.json()["total"]) == ([exam_ids[1]], 2)
    links = {link["relation"]: link["url"] for link in answer.json()["link"]}
    assert found(get(links["next"])) == [exam_ids[0]]
    both = get(f"{place}?date=2026-03-01", method="POST", form=form)
    assert found(both) == [exam_ids[0]]
    assert get(place, 400, method="POST", form={"family": "Roe"})
    assert get(place, 406, method="POST", form=form | {"_format": "csv"})
    long = get(place, 413, method="POST", form={"_id": "x" * 2**14})
    assert long.json()["issue"][0]["code"] == "too-long"
    assert get(place, 415, method="POST", Content_Type="application/fhir+json")
    get(place, 404)


def test_search_by_identifier(get, exam_ids):
    for query in (f"_id={exam_ids[1]}", f"identifier=urn:hisbundle:id|{exam_ids[1]}"):
        assert found(get(f"/fhir/DiagnosticReport?{query}")) == [exam_ids[1]]


def test_next_links_lead_through_every_report_once(get, exam_ids):
    url, seen = "/fhir/DiagnosticReport?date=ge2026&_count=3", []
    while url:
        answer = get(url)
        assert answer.json()["total"] == 4
        seen += found(answer)
        url = {link["relation"]: link["url"] for link in answer.json()["link"]}.get("next")
    assert seen == exam_ids[::-1]


def test_count_zero_gives_the_total_alone(get):
    answer = get("/fhir/DiagnosticReport?_count=0")
    assert answer.json()["total"] == 4
    assert found(answer) == []


def test_included_results_can_be_read_one_by_one(get, exam_ids):
    answer = get(f"/fhir/DiagnosticReport?_id={exam_ids[0]}&_include=DiagnosticReport:result")
    entries = answer.json()["entry"]
    assert len(entries) == 8
    for entry in entries:
        assert (
            get(entry["fullUrl"].removeprefix("http://127.0.0.1:8080")).json()
            == (entry["resource"])
        )


def test_read_report_and_all_it_refers_to(get, exam_ids):
    report = get(f"/fhir/DiagnosticReport/{exam_ids[0]}").json()
    assert report["status"] == "preliminary"
    assert report["subject"]["identifier"]["value"] == "ZZCANARY1"
    anomaly = get(f"/fhir/{report['result'][0]['reference']}").json()
    assert anomaly["valueQuantity"]["value"] == 0.2
    assert get(f"/fhir/{anomaly['device']['reference']}").json()["version"][0]["value"] == "1"
    provenance = get(f"/fhir/Provenance/{exam_ids[0]}-provenance").json()
    assert {"reference": f"DiagnosticReport/{exam_ids[0]}"} in provenance["target"]


@pytest.mark.parametrize(
    "path",
    [
        "/fhir/DiagnosticReport/00000000-0000-0000-0000-000000000000",
        "/fhir/DiagnosticReport/nonsense",
        "/fhir/DiagnosticReport/{exam}-mi",
        "/fhir/Observation/{exam}",
        "/fhir/Observation/{exam}-nothing",
        "/fhir/Patient/{exam}",
        "/fhir/Patient",
        "/fhir/DiagnosticReport/",
        "/fhir/DiagnosticReport/{exam}/_history/2",
        "/fhir",
    ],
)
def test_not_found(get, exam_ids, path):
    answer = get(path.format(exam=exam_ids[0]), 404)
    assert answer.json()["issue"][0]["code"] == "not-found"


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("family=Roe", "not-supported"),
        ("date=yesterday", "value"),
        ("_count=-1", "value"),
        ("patient=Patient/1", "value"),
    ],
)
def test_bad_searches(get, query, code):
    assert get(f"/fhir/DiagnosticReport?{query}", 400).json()["issue"][0]["code"] == code


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_nothing_can_be_written(get, exam_ids, method):
    for path in ("/fhir/DiagnosticReport", f"/fhir/DiagnosticReport/{exam_ids[0]}"):
        answer = get(path, 405, method=method)
        assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD"}


@pytest.mark.parametrize(
    ("accept", "query", "status"),
    [
        ("application/fhir+json", "", 200),
        ("application/json;q=0.9", "", 200),
        ("text/html, */*;q=0.1", "", 200),
        ("application/*", "", 200),
        ("text/html", "", 406),
        ("application/fhir+json;q=0", "", 406),
        ("text/html", "?_format=json", 200),
        ("*/*", "?_format=application/fhir+json", 200),
        ("*/*", "?_format=application/fhir%2Bjson", 200),
        ("*/*", "?_format=csv", 406),
    ],
)
def test_formats(get, accept, query, status):
    get(f"/fhir/DiagnosticReport{query}", status, Accept=accept)
    get(f"/fhir/metadata{query}", status, Accept=accept)


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


def test_every_host_name_where_the_settings_say_so(store):
    app = create_app(store, allowed_hosts=None)
    answer = request(app, "/fhir/metadata", base="https://ecg.hospital.example")
    assert answer.json()["implementation"]["url"] == "https://ecg.hospital.example/fhir"


def test_our_public_keys_are_everybodys(store, tmp_path):
    kid = make_key(tmp_path, "ES384", datetime.now(UTC)).kid
    callers = callers_of(HttpSettings(token="a-token-of-some-length"))
    answer = request(create_app(store, callers=callers, keys=tmp_path), "/.well-known/jwks.json")
    assert [key["kid"] for key in answer.json()["keys"]] == [kid]


@pytest.fixture
def accesses(store, exam_ids):
    """A function that tells what was looked at since the test began."""

    def told():
        while store.seal_audit():
            pass
        return [e.entry for e in store.audit_entries() if e.entry.kind is AuditKind.ACCESS]

    before = len(told())
    return lambda: told()[before:]


@pytest.fixture
def ehr(store):
    """A function that asks with the token of a client by that name."""
    token = "a-token-of-some-length"
    caller = Caller("ehr", frozenset({"system/*.rs"}))
    app = create_app(store, callers=Callers(StaticToken(SecretStr(token), caller)))
    return lambda path: request(app, path, authorization=f"Bearer {token}")


@pytest.mark.parametrize(
    "case",  # path, what is told, whose reports
    [
        ("DiagnosticReport/{}", "DiagnosticReport/{}", [1]),
        ("Observation/{}-anomaly", "Observation/{}-anomaly", [1]),
        ("Binary/{}", "page", [1]),
        ("DiagnosticReport/{}/_history", "history", [1]),
        ("DiagnosticReport/{}/_history/1", "version 1", [1]),
        ("DiagnosticReport?patient=ADT|ZZCANARY1", "search", [1, 0]),
    ],
)
def test_who_reads_is_in_the_audit_log(ehr, exam_ids, accesses, case):
    path, what, read = case
    assert ehr(f"/fhir/{path.format(exam_ids[1])}").status_code == 200
    entries = accesses()
    assert [str(e.exam_id) for e in entries] == [exam_ids[i] for i in read]
    assert {e.actor for e in entries} == {"ehr"}
    assert {e.content["what"] for e in entries} == {what.format(exam_ids[1])}
    assert "ZZCANARY" not in repr(entries)


@pytest.mark.parametrize(("scopes", "count"), [("DiagnosticReport.rs", 1), ("*.rs", 8)])
def test_results_come_along_with_who_may_read_them(store, exam_ids, scopes, count):
    token = "a-token-of-some-length"
    caller = Caller("ehr", frozenset({f"system/{scopes}"}))
    app = create_app(store, callers=Callers(StaticToken(SecretStr(token), caller)))
    path = f"/fhir/DiagnosticReport?_id={exam_ids[0]}&_include=DiagnosticReport:result"
    answer = request(app, path, authorization=f"Bearer {token}")
    assert len(answer.json()["entry"]) == count


def test_a_search_that_finds_nothing_is_in_the_audit_log(get, accesses):
    get("/fhir/DiagnosticReport?patient=ZZCANARY9")
    (entry,) = accesses()
    assert (entry.actor, entry.exam_id, entry.content) == ("http", None, {"what": "search"})


def test_what_cannot_be_noted_is_not_given(store, exam_ids, monkeypatch):
    def fail(*_):
        raise StoreUnavailable("store-unavailable", "the disk is full")

    monkeypatch.setattr(store, "record_audit", fail)
    for path in (f"DiagnosticReport/{exam_ids[0]}", f"Binary/{exam_ids[0]}", "DiagnosticReport"):
        answer = request(create_app(store), f"/fhir/{path}")
        assert (answer.status_code, answer.json()["resourceType"]) == (503, "OperationOutcome")


def test_what_is_not_given_was_not_read(get, exam_ids, accesses):
    get(f"/fhir/DiagnosticReport/{UUID(int=1)}", 404)
    get(f"/fhir/Observation/{exam_ids[0]}-nothing", 404)
    get("/fhir/DiagnosticReport?family=Roe", 400)
    get("/fhir/metadata")
    assert accesses() == []


def test_health(get):
    assert get("/livez").json() == {"status": "alive"}
    assert get("/readyz").json() == {"status": "ready", "intake": "open"}


def test_without_room_reports_are_still_read(tmp_path):
    url = new_database(tmp_path / "hisbundle.db")
    store = Store.open(url)
    store.limit(Room(Limits(0, 2**62), tmp_path, lambda: 0))
    ready = request(create_app(store), "/readyz")
    assert (ready.status_code, ready.json()["intake"]) == (200, "store-full")
    store.close()


def test_a_schema_of_an_older_version_does_not_serve(tmp_path):
    url = new_database(tmp_path / "hisbundle.db")
    store = Store.open(url)
    app = create_app(store)
    told = []
    for revision in ("0001", "9999"):
        with store._engine.begin() as connection:
            change = text("UPDATE alembic_version SET version_num = :revision")
            connection.execute(change, {"revision": revision})
        told.append(request(app, "/readyz"))
    assert [answer.status_code for answer in told] == [503, 200]
    assert told[0].json() == {"status": "not ready", "reason": "schema-behind"}
    store.close()


class BrokenStore:
    """A store whose every answer is the same error."""

    def __init__(self, error):
        self._error = error

    def schema(self):
        raise self._error

    def read_report(self, exam_id):
        raise self._error

    def search_reports(self, **_):
        raise self._error


PATHS = ["/fhir/DiagnosticReport", f"/fhir/DiagnosticReport/{UUID(int=1)}"]


@pytest.mark.parametrize("path", PATHS)
def test_store_that_is_down(path):
    app = create_app(BrokenStore(StoreUnavailable("store-unavailable", "database is locked")))
    answer = request(app, path)
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "5"
    assert answer.json()["issue"][0]["code"] == "transient"
    ready = request(app, "/readyz")
    assert (ready.status_code, ready.json()["reason"]) == (503, "store-unavailable")
    assert request(app, "/livez").status_code == 200


@pytest.mark.parametrize("path", PATHS)
def test_what_breaks_is_told_without_its_words(path, caplog):
    app = create_app(BrokenStore(RuntimeError("ZZCANARY1")))
    answer = request(app, path)
    assert answer.status_code == 500
    assert answer.json()["issue"][0]["code"] == "exception"
    assert "ZZCANARY1" not in answer.text
    messages = [record.getMessage() for record in caplog.records]
    assert any(message.startswith("request broke route=/fhir/") for message in messages)


def test_connection_that_breaks_while_answering_is_logged_once(store, exam_ids, caplog):
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
    asyncio.run(create_app(store)(scope, None, send))
    assert started == [200]
    messages = [record.getMessage() for record in caplog.records]
    assert "request broke route=/livez" in messages
    assert any(message.startswith("http method=GET route=/livez") for message in messages)


def test_over_a_real_socket(store, exam_ids):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        config = uvicorn.Config(create_app(store), log_config=None, access_log=False)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        base = f"http://127.0.0.1:{listening.getsockname()[1]}/fhir"
        try:
            answer = httpx.get(
                f"{base}/DiagnosticReport", params={"patient": "ADT|ZZCANARY1"}, timeout=PATIENCE_S
            )
            head = httpx.head(f"{base}/DiagnosticReport/{exam_ids[0]}", timeout=PATIENCE_S)
        finally:
            server.should_exit = True
            thread.join()
    assert found(answer) == [exam_ids[1], exam_ids[0]]
    assert answer.json()["entry"][0]["fullUrl"] == f"{base}/DiagnosticReport/{exam_ids[1]}"
    assert (head.status_code, head.content) == (200, b"")


def test_report_that_vanishes_is_not_found():
    app = create_app(BrokenStore(NotFound("not-found", "no report")))
    assert request(app, PATHS[1]).status_code == 404


def test_logs_say_route_and_status_and_nothing_of_the_patient(get, exam_ids, caplog):
    caplog.set_level(logging.DEBUG)
    get("/fhir/DiagnosticReport?patient=ZZCANARY1")
    get("/fhir/DiagnosticReport?patient=ZZCANARY1,2", 400)
    get("/fhir/DiagnosticReport/ZZCANARY1", 404)
    get("/ZZCANARY1", 404)
    ours = [r.getMessage() for r in caplog.records if r.name == "integration.listeners.http"]
    assert [line.rpartition(" ms=")[0] for line in ours] == [
        "http method=GET route=/fhir/DiagnosticReport status=200",
        "http method=GET route=/fhir/DiagnosticReport status=400",
        "http method=GET route=/fhir/{kind}/{id} status=404",
        "http method=GET route=none status=404",
    ]
    others = [r for r in caplog.records if not r.name.startswith(("httpx", "httpcore"))]
    assert not [r for r in others if "ZZCANARY" in r.getMessage()]


def test_the_page_is_a_pdf(store, exam_ids):
    app = create_app(store)
    answer = request(app, f"/fhir/Binary/{exam_ids[0]}")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/pdf"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.content.startswith(b"%PDF-")
    assert request(app, f"/fhir/Binary/{exam_ids[0]}").content == answer.content


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        ("application/pdf", 200),
        ("text/html, application/pdf;q=0.5", 200),
        ("*/*", 200),
        ("text/html", 406),
        ("application/pdf;q=0", 406),
    ],
)
def test_the_page_goes_to_who_accepts_it(store, exam_ids, accept, status):
    answer = request(create_app(store), f"/fhir/Binary/{exam_ids[0]}", accept=accept)
    assert answer.status_code == status
    assert answer.content.startswith(b"%PDF-") is (status == 200)


@pytest.mark.parametrize("accept", ["application/fhir+json", "application/fhir+xml"])
def test_the_page_as_a_resource(store, exam_ids, accept):
    answer = request(create_app(store), f"/fhir/Binary/{exam_ids[0]}", accept=accept)
    xml = accept.endswith("xml")
    binary = resource_of_xml(answer.content) if xml else answer.json()
    get_fhir_model_class("Binary").model_validate(binary)
    assert base64.b64decode(binary["data"]).startswith(b"%PDF-")


@pytest.mark.parametrize(
    "path", ["metadata", "DiagnosticReport?_include=DiagnosticReport:result", "Patient/x"]
)
def test_xml_says_the_same(store, exam_ids, path):
    app = create_app(store)
    xml = request(app, f"/fhir/{path}", accept="application/fhir+xml")
    assert xml.headers["content-type"] == "application/fhir+xml"
    told = resource_of_xml(xml.content)
    kind = get_fhir_model_class(told["resourceType"])
    json = kind.model_validate(request(app, f"/fhir/{path}").json())
    assert kind.model_validate(told).model_dump_json() == json.model_dump_json()


def test_a_report_that_the_client_has_is_not_sent_again(store, exam_ids):
    app, path = create_app(store), f"/fhir/DiagnosticReport/{exam_ids[0]}"
    tag = request(app, path).headers["etag"]
    assert request(app, path, if_none_match=tag).status_code == 304


@pytest.mark.parametrize("id_", ["nobody", str(UUID(int=1)), "{}-mi"])
def test_no_page_of_what_is_not_there(store, exam_ids, id_):
    assert request(create_app(store), f"/fhir/Binary/{id_.format(exam_ids[0])}").status_code == 404


def test_the_page_for_prometheus_is_served_where_it_is_wanted(store, exam_ids):
    metrics = Metrics(store)
    app = create_app(store, allowed_hosts=None, metrics=metrics)
    request(app, f"/fhir/Observation/{exam_ids[0]}")
    request(app, "/fhir/metadata", method="ZZCANARY1")
    answer = request(app, "/metrics")
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert 'route="/fhir/{kind}/{id}"' in answer.text
    assert 'method="other"' in answer.text
    assert "ZZCANARY" not in answer.text
    assert request(create_app(store, allowed_hosts=None), "/metrics").status_code == 404
