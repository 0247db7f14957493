import json
import sqlite3

import pytest
from click.testing import CliRunner

from db.store import Store
from integration.cli import cli
from tests.databases import new_database


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """A backup of an embedded database, which is still there."""
    monkeypatch.setenv("HISBUNDLE_DATA_DIR", str(tmp_path))
    new_database(tmp_path / "hisbundle.db")
    CliRunner().invoke(cli, ["backup", str(tmp_path / "copy")])
    return tmp_path / "copy"


def test_it_is_asked_for_and_what_was_there_is_set_aside(copy):
    refused = CliRunner().invoke(cli, ["restore", str(copy)], input="n\n")
    assert refused.exit_code == 1
    assert not list(copy.parent.glob("*before-restore*"))
    done = CliRunner().invoke(cli, ["restore", str(copy)], input="y\n")
    (aside,) = copy.parent.glob("*before-restore*")
    assert f"what was there: {aside}" in done.stdout
    store = Store.open(f"sqlite:///{copy.parent / 'hisbundle.db'}")
    store.seal_audit()
    (entry,) = store.audit_entries()
    store.close()
    assert entry.entry.content == {"restored": str(copy)}


def test_what_somebody_changed_in_a_backup_is_found(copy):
    CliRunner().invoke(cli, ["restore", str(copy), "--yes"])
    CliRunner().invoke(cli, ["audit", "verify"])
    changed = copy.with_name("changed")
    CliRunner().invoke(cli, ["backup", str(changed)])
    raw = sqlite3.connect(changed)
    raw.execute("UPDATE audit SET actor = 'mallory' WHERE number = 1")
    raw.commit()
    raw.close()
    done = CliRunner().invoke(cli, ["restore", str(changed), "--yes", "--json"])
    assert (done.exit_code, json.loads(done.stdout)["audit"]["fault"]) == (1, "changed")
