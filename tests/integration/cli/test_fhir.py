"""`hisbundle fhir sources` over a real SQLite store."""

import json
from datetime import UTC, datetime
from uuid import UUID

import pytest
from click.testing import CliRunner

from db.store import Store
from integration.cli import cli
from tests.databases import new_database

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
TOML = """
[sources.ehr]
base_url = "http://127.0.0.1:9/fhir"
queries = ["Observation?code=1", "Media"]
"""


@pytest.fixture
def show(tmp_path, monkeypatch):
    new_database(tmp_path / "hisbundle.db")

    def run(text, *options):
        (tmp_path / "hisbundle.toml").write_text(text)
        monkeypatch.setenv("HISBUNDLE_CONFIG", str(tmp_path / "hisbundle.toml"))
        monkeypatch.setenv("HISBUNDLE_DATA_DIR", str(tmp_path))
        done = CliRunner().invoke(cli, ["fhir", "sources", *options])
        assert done.exit_code == 0, done.output
        return done.output

    return run


def test_before_anything(show):
    assert "no [sources.NAME]" in show("")
    (ehr,) = json.loads(show(TOML, "--json"))["sources"]
    assert ehr["queries"] == {"Observation?code=1": None, "Media": None}
    assert (ehr["read_at"], ehr["problem"], ehr["subscriptions"]) == (None, None, [])
    assert "not read yet" in show(TOML)


def test_how_it_goes(show, tmp_path):
    show(TOML)
    store = Store.open(f"sqlite:///{tmp_path / 'hisbundle.db'}")
    store.take_source("ehr", UUID(int=1), NOON, 60)
    store.release_source("ehr", UUID(int=1), NOON, NOON, "source-refused")
    store.advance_source("ehr", "Media", NOON)
    store.hear_event("ehr", "Subscription/1", 3, NOON)
    store.hear_event("ehr", "Subscription/1", 5, NOON)
    store.close()
    (ehr,) = json.loads(show(TOML, "--json"))["sources"]
    assert ehr["problem"] == "source-refused"
    assert ehr["queries"]["Media"] == "2026-03-01T12:00:00+00:00"
    assert ehr["subscriptions"] == [
        {
            "subscription": "Subscription/1",
            "last_event": 5,
            "missed": 1,
            "heard_at": "2026-03-01T12:00:00+00:00",
        }
    ]
    text = show(TOML)
    assert "source-refused" in text
    assert "event 5, 1 missed" in text
