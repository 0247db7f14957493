from datetime import timedelta
from uuid import UUID

from db.audit import AuditKind
from db.imports import Import
from db.records import BACKLOG, LIVE, Lane
from tests.db.conftest import NOW

LATER = NOW + timedelta(hours=1)


def begun(number, source="same", **changes):
    return Import(UUID(int=number), NOW, "admin", source, ("archive",), **changes)


def test_an_import_goes_on_where_it_stood_until_it_has_ended(store):
    first = store.begin_import(begun(1))
    assert first == begun(1)
    store.note_import(first.id, "b.dcm", {"imported": 2, "refused:lead-unknown": 1}, ended=None)
    again = store.begin_import(begun(2))
    assert (again.id, again.position, again.counts["imported"]) == (first.id, "b.dcm", 2)
    assert store.begin_import(begun(3, "other")).id == UUID(int=3)
    store.note_import(first.id, None, {}, ended=LATER)
    assert store.begin_import(begun(4)).id == UUID(int=4)
    assert {one.id.int: one.finished_at for one in store.imports(9)} == {1: LATER, 3: None, 4: None}


def test_an_import_is_in_the_audit_log_once(store):
    store.begin_import(begun(1))
    store.begin_import(begun(2))
    store.seal_audit()
    kinds = [sealed.entry.kind for sealed in store.audit_entries()]
    assert kinds == [AuditKind.OPERATION]


def test_what_an_archive_brings_is_claimed_apart_and_after_what_is_live(store, received):
    store.receive_as(Lane(BACKLOG, silent=True))
    old = received("old")
    store.receive_as(LIVE)
    live = received("live")
    assert store.backlog_waiting() == 1
    assert store.claim_waiting_exams(LATER, 9) == (live,)
    assert store.claim_waiting_exams(LATER, 9, backlog=True) == (old,)
    assert (store.load_exam(old).silent, store.load_exam(live).silent) == (True, False)
