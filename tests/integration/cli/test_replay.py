import json
from datetime import UTC, datetime

import pytest
from click.testing import CliRunner

from db.clinical import Incoming
from db.records import MessageState, NewMessage
from db.store import Store
from integration.cli import cli
from integration.security.roles import account
from tests.databases import new_database

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.fixture
def message_id(tmp_path, monkeypatch):
    """Id of a message that was refused."""
    monkeypatch.setenv("HISBUNDLE_DATA_DIR", str(tmp_path))
    url = new_database(tmp_path / "hisbundle.db")
    store = Store.open(url)
    message = NewMessage.whole("mllp", "CART", "7", b"MSH|ZZCANARY", NOW)
    store.accept(Incoming(message, MessageState.REFUSED, "lead-unknown", b"AR"))
    store.close()
    return message.id


def run(*arguments, **options):
    return CliRunner().invoke(cli, [str(a) for a in arguments], **options)


def test_a_preview_changes_nothing(message_id):
    done = run("replay", "preview", "refusal:lead-*", "--stage", "decode", "--json")
    assert json.loads(done.output) == {"matched": 1, "first": [str(message_id)]}
    assert json.loads(run("replay", "list", "--json").output) == []


def test_a_run_is_asked_for_recorded_and_told(message_id):
    asked = run("replay", "run", "", "--stage", "decode", input="n\n")
    assert asked.exit_code == 1
    done = run("replay", "run", "", "--stage", "decode", "--yes", "--actor", "me", "--json")
    told = json.loads(done.stdout)
    assert (done.exit_code, told["state"], told["failed"]) == (1, "done", 1)
    assert told["actor"] == f"me ({account()})"
    (listed,) = json.loads(run("replay", "list", "--json").output)
    assert listed == told
    assert run("replay", "pause", told["id"]).exit_code == 1  # it has ended
    assert "lead-*" not in run("replay", "list").output


def test_the_list_leaves_out_patients(message_id):
    run("replay", "run", "text:ZZCANARY order:4711", "--stage", "decode", "--yes")
    wide = {"COLUMNS": "250"}
    for listed in (run("replay", "list", env=wide), run("replay", "list", "--json")):
        assert "text:... order:..." in listed.output
        assert "ZZCANARY" not in listed.output


def test_a_filter_that_says_nothing_is_told(message_id):
    done = run("replay", "preview", "colour:red", "--stage", "score")
    assert "no field colour" in str(done.exception)
