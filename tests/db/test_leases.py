from datetime import timedelta
from uuid import UUID

from db.leases import SourceState
from tests.db.conftest import NOW
from tests.db.test_exams import at_once

ONE, OTHER = UUID(int=1), UUID(int=2)


def later(seconds):
    return NOW + timedelta(seconds=seconds)


def test_one_at_a_time(store):
    assert store.take_source("ehr", ONE, NOW, 60)
    assert not store.take_source("ehr", OTHER, later(59), 60)
    assert store.take_source("other", OTHER, NOW, 60)
    assert store.keep_source("ehr", ONE, later(30), 60)
    assert not store.keep_source("ehr", OTHER, later(30), 60)
    assert not store.take_source("ehr", OTHER, later(89), 60)
    store.release_source("ehr", OTHER, later(50), later(51), None)  # not its turn
    assert not store.take_source("ehr", OTHER, later(52), 60)
    store.release_source("ehr", ONE, later(60), later(70), "source-unavailable")
    assert store.source_states()["ehr"] == SourceState(later(70), later(60), "source-unavailable")
    assert not store.take_source("ehr", OTHER, later(69), 60)
    assert store.take_source("ehr", OTHER, later(70), 60)


def test_who_dies_with_a_turn_loses_it(store):
    assert store.take_source("ehr", ONE, NOW, 60)
    assert store.take_source("ehr", OTHER, later(60), 60)
    assert not store.keep_source("ehr", ONE, later(61), 60)


def test_a_turn_comes_earlier(store):
    store.hasten_source("ehr", NOW)  # never read: due anyway
    assert store.source_states() == {}
    assert store.take_source("ehr", ONE, NOW, 60)
    store.release_source("ehr", ONE, NOW, later(600), None)
    store.hasten_source("ehr", later(5))
    store.hasten_source("ehr", later(7))
    assert not store.take_source("ehr", ONE, later(4), 60)
    assert store.take_source("ehr", ONE, later(5), 60)


def test_a_turn_that_goes_on_is_followed_by_another(store):
    assert store.take_source("ehr", ONE, NOW, 60)
    store.hasten_source("ehr", later(5))
    assert not store.take_source("ehr", OTHER, later(6), 60)
    store.release_source("ehr", ONE, later(10), later(600), None)
    assert store.take_source("ehr", OTHER, later(10), 60)


def test_of_many_at_once_one_gets_it(store):
    store.take_source("ehr", ONE, NOW, 1)
    taken = at_once(8, lambda n: store.take_source("ehr", UUID(int=10 + n), later(2), 60))
    assert taken.count(True) == 1
