from datetime import timedelta

import pytest

from db.audit import AuditKind
from db.clinical import Incoming
from db.dead_letters import CONFLICT
from db.errors import NotFound
from db.filters import Subject
from db.records import MessageState
from tests.db.conftest import NOW


@pytest.fixture
def halted(store, received, assessment, message):
    """Two refusals of a kind, a failed ECG, a lost delivery; returns their ids."""
    refused = [message(f"R{n}", received_at=NOW + timedelta(minutes=n)) for n in range(2)]
    for one in refused:
        store.accept(Incoming(one, MessageState.REFUSED, "lead-unknown", b"AR"))
    failed = received("F1")
    store.fail_exam(failed, "scoring-crashed")
    (lost,) = store.save_assessment(received("D1", minutes=9), assessment("fhir"))
    store.record_undeliverable(lost, "422 " + "x" * 100)
    return {"refused": [m.id for m in refused], "failed": failed, "lost": lost}


def test_what_halts_is_told_by_reason_with_the_newest_as_example(store, halted):
    told = {(g.subject, g.reason): g for g in store.halted()}
    refused = told[Subject.MESSAGE, "lead-unknown"]
    assert (refused.count, refused.example) == (2, halted["refused"][1])
    assert (refused.oldest, refused.newest) == (NOW, NOW + timedelta(minutes=1))
    assert told[Subject.EXAM, "scoring-crashed"].example == halted["failed"]
    lost = told[Subject.DELIVERY, "fhir: 422 " + "x" * 76]
    assert lost.example == halted["lost"]
    assert len(told) == 3
    assert store.halted()[0] == refused


def test_a_conflict_is_a_dead_letter_of_its_own(store, message):
    for raw in (b"one", b"another"):
        store.accept(Incoming(message("7", raw=raw), MessageState.NOT_ECG, None, b"AA"))
    (group,) = store.halted()
    assert (group.subject, group.reason, group.count) == (Subject.MESSAGE, CONFLICT, 2)
    other = ({message("7", raw=raw).id for raw in (b"one", b"another")} - {group.example}).pop()
    letter = store.letter(group.example)
    assert (letter.reason, letter.namesakes) == (CONFLICT, (other,))
    assert store.letter(other).namesakes == (group.example,)
    store.discard(group.example, "the maker knows", "admin", NOW)
    store.discard(other, "the maker knows", "admin", NOW)
    assert store.halted() == ()


def test_what_is_discarded_is_told_no_more_and_kept(store, halted):
    for id_ in (halted["failed"], halted["failed"], halted["refused"][1]):
        store.discard(id_, "test cart", "admin", NOW)
    told = {g.reason: g.count for g in store.halted()}
    assert "scoring-crashed" not in told
    assert told["lead-unknown"] == 1
    letter = store.letter(halted["refused"][1])
    assert (letter.discarded, letter.reason, letter.control_id) == (
        "test cart",
        "lead-unknown",
        "R1",
    )
    assert store.message_raw(letter.message_id) == b"MSH|..."
    store.seal_audit()
    acts = [e.entry for e in store.audit_entries() if e.entry.kind == AuditKind.OPERATION]
    assert [(e.actor, e.content["why"]) for e in acts] == [("admin", "test cart")] * 2


def test_letters_of_every_kind_are_shown(store, halted):
    failed, lost = store.letter(halted["failed"]), store.letter(halted["lost"])
    assert (failed.subject, failed.reason, failed.control_id) == (
        Subject.EXAM,
        "scoring-crashed",
        "F1",
    )
    assert (lost.subject, lost.reason, lost.control_id) == (Subject.DELIVERY, "undeliverable", "D1")
    assert lost.detail.startswith("422 xxx")
    with pytest.raises(NotFound):
        store.letter(failed.message_id.__class__(int=0))
