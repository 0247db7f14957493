"""What is answered and logged when something is away or breaks."""

import pytest
from sqlalchemy import text

from db.errors import NotFound, StoreUnavailable
from db.room import Limits, Room
from db.store import Store
from integration.listeners.http import create_app
from tests.databases import new_database
from tests.integration.listeners.reports import PATHS, BrokenStore, request


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


def test_report_that_vanishes_is_not_found():
    app = create_app(BrokenStore(NotFound("not-found", "no report")))
    assert request(app, PATHS[1]).status_code == 404
