"""What is answered and logged when something is away or breaks."""

import asyncio
import logging
from uuid import UUID

import pytest
from sqlalchemy import text

from db.errors import NotFound, StoreUnavailable
from db.room import Limits, Room
from db.store import Store
from integration.listeners.http import create_app
from tests.databases import new_database
from tests.integration.listeners.reports import request


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
