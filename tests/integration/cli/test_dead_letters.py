import json

import pytest

from db.clinical import Incoming
from db.records import MessageState, NewMessage
from db.store import Store
from tests.integration.cli.test_replay import NOW, message_id, run

__all__ = ["message_id"]


def test_letters_are_listed_with_what_helps(message_id):
    (group,) = json.loads(run("dead-letters", "list", "--json").output)
    assert (group["subject"], group["reason"], group["count"]) == ("message", "lead-unknown", 1)
    assert group["example"] == str(message_id)
    assert "lead's code" in group["hint"]
    assert "lead-unknown" in run("dead-letters", "list").output


def test_a_letter_is_shown_without_what_it_says_of_a_patient(message_id):
    shown = run("dead-letters", "show", message_id)
    assert "CART" in shown.output
    assert "ZZCANARY" not in shown.output
    raw = run("dead-letters", "show", message_id, "--raw")
    assert raw.stdout_bytes == b"MSH|ZZCANARY"


def test_looking_at_the_bytes_is_audited(message_id, tmp_path):
    run("dead-letters", "show", message_id, "--raw")
    store = Store.open(f"sqlite:///{tmp_path / 'hisbundle.db'}")
    store.seal_audit()
    (entry,) = store.audit_entries()
    store.close()
    assert (entry.entry.kind, entry.entry.content["of"]) == ("access", str(message_id))


def test_what_is_retried_in_vain_ends_with_1(message_id):
    done = run("dead-letters", "retry", message_id)
    assert (done.exit_code, "as before" in done.output) == (1, True)


@pytest.mark.parametrize("times", [1, 2])
def test_what_is_discarded_is_listed_no_more(message_id, times):
    for _ in range(times):
        assert run("dead-letters", "discard", message_id, "--why", "a test").exit_code == 0
    assert json.loads(run("dead-letters", "list", "--json").output) == []
    assert "a test" in run("dead-letters", "show", message_id).output


def test_messages_that_share_a_control_id_name_each_other(message_id, tmp_path):
    store = Store.open(f"sqlite:///{tmp_path / 'hisbundle.db'}")
    taken = [NewMessage.whole("mllp", "CART", "9", raw, NOW) for raw in (b"MSH|1", b"MSH|2")]
    for one in taken:
        store.accept(Incoming(one, MessageState.NOT_ECG, None, b"AA"))
    store.close()
    one, other = (str(message.id) for message in taken)
    told = json.loads(run("dead-letters", "show", one, "--json").output)
    assert (told["reason"], told["namesakes"]) == ("control-id-conflict", [other])
    assert f"namesakes: {one}" in run("dead-letters", "show", other).output
