import json
from datetime import UTC, datetime
from uuid import UUID

import pytest
from click.testing import CliRunner
from fhir.resources.R4B.auditevent import AuditEvent
from sqlalchemy import create_engine, text

from db.audit import AuditEntry, AuditKind
from db.store import Store
from integration.cli import cli
from tests.databases import new_database

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
EXAM = UUID(int=5)


@pytest.fixture
def url(tmp_path, monkeypatch):
    """A database with two entries."""
    monkeypatch.setenv("HISBUNDLE_DATA_DIR", str(tmp_path))
    url = new_database(tmp_path / "hisbundle.db")
    store = Store.open(url)
    for exam_id, day in ((EXAM, 1), (None, 2)):
        at = NOW.replace(day=day)
        store.record_audit(AuditEntry(AuditKind.ACCESS, at, "viewer", exam_id, {"what": "page"}))
    store.close()
    return url


def run(*arguments):
    return CliRunner().invoke(cli, ["audit", *arguments])


def test_a_sound_log_is_verified_and_its_head_told(url):
    done = run("verify", "--json")
    told = json.loads(done.output)
    assert (done.exit_code, told["entries"], told["fault"], told["unsealed"]) == (0, 2, None, 0)
    number, sha256 = told["head"]
    assert run("head").output == f"{number}:{sha256}\n"
    assert run("verify", "--head", f"{number}:{sha256}").exit_code == 0


def test_tampering_ends_with_exit_code_1(url):
    head = run("verify").output.split()[-1]
    with create_engine(url).begin() as connection:
        connection.execute(text("UPDATE audit SET actor = 'nobody' WHERE number = 2"))
    done = run("verify")
    assert (done.exit_code, "broken at entry 2: changed" in done.output) == (1, True)
    with create_engine(url).begin() as connection:
        connection.execute(text("DELETE FROM audit WHERE number = 2"))
    assert run("verify").exit_code == 0
    assert "cut-off" in run("verify", "--head", head).output


def test_entries_are_exported_as_audit_events(url):
    run("verify")
    lines = run("export", "--since", "2026-03-01", "--until", "2026-03-02").output.splitlines()
    assert len(lines) == 1
    AuditEvent.model_validate_json(lines[0])
    assert len(run("export", "--ecg", str(EXAM)).output.splitlines()) == 1
    assert len(run("export").output.splitlines()) == 2


def test_a_head_that_is_none_is_told(url):
    done = run("verify", "--head", "7")
    assert (done.exit_code, "NUMBER:SHA256" in done.output) == (2, True)
