import json
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import text

from db.audit import GENESIS, AuditEntry, AuditKind

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
EXAM = UUID(int=7)


@pytest.fixture
def log(store):
    """A store with five sealed entries, a day apart."""
    for n in range(5):
        record(store, n)
    assert store.seal_audit() == 5
    return store


def record(store, n, kind=AuditKind.DECISION, exam_id=EXAM):
    content = {"n": n, "flags": ["MI", "Größe"]}
    store.record_audit(AuditEntry(kind, NOW + timedelta(days=n), "worker", exam_id, content))


def tamper(store, statement):
    with store._engine.begin() as connection:
        connection.execute(text(statement))


def test_a_sound_chain_is_verified(log):
    told = log.verify_audit()
    assert (told.entries, told.broken_at, told.unsealed) == (5, None, 0)
    assert told.head == log.audit_head()
    assert told.head[0] == 5
    entries = list(log.audit_entries())
    assert [e.number for e in entries] == [1, 2, 3, 4, 5]
    assert entries[0].previous == GENESIS
    assert [b.previous for b in entries[1:]] == [a.sha256 for a in entries[:-1]]
    assert entries[2].entry.content == {"n": 2, "flags": ["MI", "Größe"]}
    assert entries[2].entry.at == NOW + timedelta(days=2)


def test_sealing_goes_on_where_it_ended_and_in_pieces(log):
    head = log.audit_head()
    for n in range(5, 8):
        record(log, n)
    assert log.verify_audit().unsealed == 3
    assert [log.seal_audit(limit=2), log.seal_audit(limit=2), log.seal_audit()] == [2, 1, 0]
    assert log.verify_audit(kept_head=head).broken_at is None
    assert log.audit_head()[0] == 8


@pytest.mark.parametrize(
    ("statement", "fault"),
    [
        ("UPDATE audit SET content = replace(content, 'MI', 'CD') WHERE number = 3", "changed"),
        ("UPDATE audit SET actor = 'somebody else' WHERE number = 3", "changed"),
        (
            "UPDATE audit SET at = (SELECT at FROM audit WHERE number = 4) WHERE number = 3",
            "changed",
        ),
        ("UPDATE audit SET kind = 'access' WHERE number = 3", "changed"),
        ("UPDATE audit SET exam_id = NULL WHERE number = 3", "changed"),
        ("DELETE FROM audit WHERE number = 3", "missing"),
    ],
)
def test_tampering_is_found_where_it_was_done(log, statement, fault):
    tamper(log, statement)
    told = log.verify_audit()
    assert (told.broken_at, told.fault) == (3, fault)


def test_an_entry_changed_together_with_its_hash_breaks_the_next_link(log):
    tamper(log, "UPDATE audit SET sha256 = 'f' WHERE number = 5")
    assert log.verify_audit().broken_at == 5
    tamper(log, "UPDATE audit SET previous = 'e' WHERE number = 4")
    assert log.verify_audit().broken_at == 4


def test_a_beginning_that_is_gone_without_a_word_is_found(log):
    tamper(log, "DELETE FROM audit WHERE number <= 2")
    assert (log.verify_audit().broken_at, log.verify_audit().fault) == (1, "missing")


def test_an_end_that_is_cut_off_is_seen_by_who_kept_the_head(log):
    head = log.audit_head()
    tamper(log, "DELETE FROM audit WHERE number = 5")
    assert log.verify_audit().broken_at is None
    told = log.verify_audit(kept_head=head)
    assert (told.broken_at, told.fault) == (5, "cut-off")
    assert log.verify_audit(kept_head=(3, "0" * 64)).fault == "other-head"


def test_pruning_leaves_a_chain_that_is_sound_and_says_what_went(log):
    assert log.prune_audit(NOW + timedelta(days=3), "retention", NOW + timedelta(days=9)) == 3
    log.seal_audit()
    told = log.verify_audit()
    assert (told.entries, told.broken_at) == (3, None)
    *_, last = log.audit_entries()
    assert (last.entry.kind, last.entry.content["through"]) == (AuditKind.PRUNED, 3)
    assert log.prune_audit(NOW + timedelta(days=3), "retention", NOW + timedelta(days=9)) == 0


def test_pruning_goes_in_pieces_and_the_chain_is_sound_after_each(log, monkeypatch):
    monkeypatch.setattr("db.audit._PRUNED_AT_ONCE", 2)

    def killed(_gone):
        raise KeyboardInterrupt

    past, later = NOW + timedelta(days=4), NOW + timedelta(days=9)
    with pytest.raises(KeyboardInterrupt):
        log.prune_audit(past, "retention", later, killed)
    assert (log.verify_audit().entries, log.verify_audit().broken_at) == (3, None)
    assert log.prune_audit(past, "retention", later) == 2
    log.seal_audit()
    assert (log.verify_audit().entries, log.verify_audit().broken_at) == (3, None)
    pruned = [e.entry.content for e in log.audit_entries(since=later)]
    assert [content["through"] for content in pruned] == [2, 4]


def test_of_pruning_everything_the_head_stays(log):
    head = log.audit_head()
    assert log.prune_audit(NOW + timedelta(days=99), "retention", NOW) == 4
    assert log.audit_head() == head
    assert log.verify_audit(kept_head=head).broken_at is None


@pytest.mark.parametrize("looks", [0, 1])
def test_pruning_under_a_walk_is_no_fault(log, monkeypatch, looks):
    """It comes before the first page is read, or before the second."""
    monkeypatch.setattr("db.audit._PAGE", 2)
    walk, pages = log._sealed, []

    def sealed(*conditions):
        rows = walk(*conditions)
        for _ in range(2 * looks):
            yield next(rows)
        if not pages:
            pages.append(log.prune_audit(NOW + timedelta(days=3), "retention", NOW))
        yield from rows

    monkeypatch.setattr(log, "_sealed", sealed)
    told = log.verify_audit()
    assert (told.fault, told.entries, pages) == (None, 2, [3])


def test_entries_are_found_by_time_and_exam(log):
    record(log, 9, AuditKind.ACCESS, exam_id=None)
    log.seal_audit()
    assert len(list(log.audit_entries(exam_id=EXAM))) == 5
    days = [e.entry.content["n"] for e in log.audit_entries(since=NOW + timedelta(days=3))]
    assert days == [3, 4, 9]
    assert len(list(log.audit_entries(until=NOW + timedelta(days=1)))) == 1


def test_an_entry_is_plain_json_in_the_table(log):
    with log._engine.connect() as connection:
        content = connection.execute(text("SELECT content FROM audit WHERE number = 1")).scalar()
    assert json.loads(content)["n"] == 0
