"""Many messages in one transaction; each by itself, and what becomes of it, in test_exams."""

from datetime import UTC, datetime

import pytest
from sqlalchemy import event

from db.clinical import Incoming
from db.errors import StoreUnavailable
from db.records import MessageState

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.fixture
def incoming(message, exam):
    """A function that makes an accepted message with one ECG, of a control id."""

    def make(control_id, answer=b"AA", **about):
        new = message(control_id, **about)
        return Incoming(new, MessageState.ACCEPTED, None, answer, [exam()])

    return make


def test_each_of_many_has_its_receipt(store, incoming, message):
    store.accept_all([incoming("1")])
    adt = Incoming(message("3", raw=b"ADT"), MessageState.NOT_ECG, None, b"AA")
    bad = Incoming(message("4", raw=b"?"), MessageState.REFUSED, "lead-unknown", b"AR")
    again, new, twice = incoming("1", b"later"), incoming("2"), incoming("2", b"later")
    receipts = store.accept_all([again, new, twice, adt, bad])
    assert [receipt.duplicate for receipt in receipts] == [True, False, True, False, False]
    assert [receipt.answer for receipt in receipts] == [b"AA", b"AA", b"AA", b"AA", b"AR"]
    assert [len(receipt.exam_ids) for receipt in receipts] == [0, 1, 0, 0, 0]
    assert store.status(NOW).messages == {"accepted": 2, "not-ecg": 1, "refused": 1}


def test_of_two_in_conflict_the_second_sees_the_first(store, incoming):
    first, second = store.accept_all([incoming("1", raw=b"one"), incoming("1", raw=b"two")])
    assert (first.conflict, second.conflict) == (False, True)
    assert store.status(NOW).conflicts == 2


def test_a_sender_that_numbers_nothing_has_each_message_marked_once(store, incoming):
    statements = []

    def note(_connection, _cursor, statement, parameters, _context, many):
        if statement.startswith("UPDATE message"):
            statements.extend(parameters if many else [parameters])

    event.listen(store._engine, "before_cursor_execute", note)
    for number in range(5):
        store.accept_all([incoming("1", raw=b"%d" % number)])
    assert store.status(NOW).conflicts == 5
    assert len(statements) == 5


def test_all_or_none(store, incoming, monkeypatch):
    good, bad = incoming("1"), incoming("2")
    with monkeypatch.context() as broken:
        broken.setattr("db.messages.add_results", _fails_at(bad.message))
        with pytest.raises(StoreUnavailable):
            store.accept_all([good, bad])
    assert not any(store.status(NOW).messages.values())
    assert not any(receipt.duplicate for receipt in store.accept_all([good, bad]))


def _fails_at(message):
    def add_results(_session, of, _results):
        if of == message:
            raise StoreUnavailable("store-unavailable", "the database went away")

    return add_results


def test_none_is_none(store):
    assert store.accept_all([]) == []
