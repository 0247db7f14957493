import json
from datetime import UTC, datetime

import pytest
from click.testing import CliRunner

from db.clinical import Incoming
from db.records import MessageState, NewMessage
from db.store import Store
from integration.cli import cli
from tests.databases import new_database

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def run(*arguments):
    return CliRunner().invoke(cli, list(arguments))


@pytest.fixture
def key_file(tmp_path, monkeypatch):
    """A file of fresh keys, which no setting names yet, beside a plain database."""
    monkeypatch.setenv("HISBUNDLE_DATA_DIR", str(tmp_path))
    url = new_database(tmp_path / "hisbundle.db")
    store = Store.open(url)
    message = NewMessage.whole("mllp", "CART", "7", b"MSH|ZZCANARY" * 500, NOW)
    store.accept(Incoming(message, MessageState.REFUSED, "lead-unknown", b"AR"))
    store.close()
    path = tmp_path / "keys"
    path.write_text(run("encryption", "key", "a").output)
    path.chmod(0o600)
    return path


def test_encryption_is_turned_on_for_what_is_there(key_file, monkeypatch):
    monkeypatch.setenv("HISBUNDLE_ENCRYPTION__KEY_FILE", str(key_file))
    checked = run("check")
    assert "what is older is not under them: `hisbundle encryption rotate`" in checked.output
    done = run("encryption", "rotate", "--vacuum", "--json")
    assert json.loads(done.stdout) == {"changed": 1, "unneeded": []}
    assert "on: key a seals, a indexes" in run("check").output
    assert b"ZZCANARY" not in (key_file.parent / "hisbundle.db").read_bytes()
    uses = json.loads(run("encryption", "status", "--json").output)
    assert {"kind": "seal", "id": "a", "count": 2} in uses


def test_a_key_that_is_not_needed_any_more_is_named(key_file, monkeypatch):
    monkeypatch.setenv("HISBUNDLE_ENCRYPTION__KEY_FILE", str(key_file))
    run("encryption", "rotate")
    key_file.write_text(run("encryption", "key", "b").output + key_file.read_text())
    told = run("encryption", "rotate").output
    assert "1 rows changed" in told
    assert "seal a is not needed any more by this database, only by older backups" in told
    assert "index a is not needed" in told


def test_without_the_key_nothing_starts(key_file, monkeypatch):
    monkeypatch.setenv("HISBUNDLE_ENCRYPTION__KEY_FILE", str(key_file))
    run("encryption", "rotate")
    monkeypatch.delenv("HISBUNDLE_ENCRYPTION__KEY_FILE")
    assert "key-missing: the settings have no" in str(run("status").exception)
    assert "key-missing" in run("check").output
