from datetime import timedelta

from db.sources import Heard, SourceVersion
from tests.db.conftest import NOW


def version(resource="Observation/1", number="1", minutes=0):
    return SourceVersion(resource, number, NOW + timedelta(minutes=minutes))


def test_a_cursor_moves_forward_alone(store):
    assert store.source_cursor("ehr", "A?x=1") is None
    store.advance_source("ehr", "A?x=1", NOW)
    store.advance_source("ehr", "A?x=1", NOW - timedelta(hours=1))
    assert store.source_cursor("ehr", "A?x=1") == NOW
    store.advance_source("ehr", "A?x=1", NOW + timedelta(hours=1))
    assert store.source_cursor("ehr", "A?x=1") == NOW + timedelta(hours=1)
    assert store.source_cursor("ehr", "A") is None
    assert store.source_cursor("other", "A?x=1") is None
    assert store.source_cursors() == {("ehr", "A?x=1"): NOW + timedelta(hours=1)}


def test_versions_are_seen_once_and_by_source(store):
    first, changed = version(), version(number="2")
    assert store.unseen("ehr", [first, changed]) == {("Observation/1", "1"), ("Observation/1", "2")}
    store.mark_seen("ehr", [first])
    store.mark_seen("ehr", [first])
    assert store.unseen("ehr", [first, changed]) == {("Observation/1", "2")}
    assert store.unseen("other", [first]) == {("Observation/1", "1")}
    assert store.unseen("ehr", []) == set()


def test_what_is_before_the_overlap_is_forgotten(store):
    old, new = version(), version("Observation/2", minutes=5)
    store.mark_seen("ehr", [old, new])
    store.mark_seen("other", [old])
    store.forget_seen("ehr", NOW + timedelta(minutes=1))
    assert store.unseen("ehr", [old, new]) == {("Observation/1", "1")}
    assert store.unseen("other", [old]) == set()


def test_event_numbers(store):
    heard = [store.hear_event("ehr", "Subscription/1", n, NOW) for n in (4, 5, 8, 7, 9)]
    assert heard == [Heard(None, 0), Heard(4, 0), Heard(5, 2), Heard(8, 0), Heard(8, 0)]
    assert store.hear_event("ehr", "Subscription/2", 0, NOW) == Heard(None, 0)
    assert store.hear_event("other", "Subscription/1", 0, NOW) == Heard(None, 0)
    assert store.hear_event("ehr", "Subscription/1", 0, NOW, restarted=True) == Heard(9, 0)
    assert store.hear_event("ehr", "Subscription/1", 1, NOW) == Heard(0, 0)
    counted = store.hear_event("ehr", "Subscription/1", 3, NOW, arrived=False)
    assert counted == Heard(1, 2)
    told = [(s.source, s.subscription, s.last_event, s.missed) for s in store.subscribed()]
    assert told == [
        ("ehr", "Subscription/1", 3, 4),
        ("ehr", "Subscription/2", 0, 0),
        ("other", "Subscription/1", 0, 0),
    ]
