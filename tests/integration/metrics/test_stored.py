import threading
from datetime import timedelta

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from db.errors import StoreUnavailable
from integration.metrics import stored
from integration.metrics.stored import FRESH_S, SLOW_S, Stored
from tests.integration.metrics.conftest import NOW
from tests.integration.metrics.pages import read


@pytest.fixture
def found(store):
    registry = CollectorRegistry()
    registry.register(Stored(store, lambda: NOW + timedelta(seconds=7)))
    return lambda: read(generate_latest(registry))


def test_what_is_stored_and_what_waits(store, accept, found):
    accept(store, "1")
    accept(store, "2", refused="lead-unknown")
    told = found()
    assert told["hisbundle_up",] == 1
    assert told["hisbundle_waiting_ecgs", "live"] == 1
    assert told["hisbundle_waiting_ecgs", "backlog"] == 0
    assert told["hisbundle_oldest_waiting_seconds",] == 7
    assert told["hisbundle_stored_ecgs", "received"] == 1
    assert told["hisbundle_stored_messages", "refused"] == 1
    assert told["hisbundle_stored_refusals", "lead-unknown"] == 1
    assert told["hisbundle_refusing",] == 0
    assert told["hisbundle_database_bytes",] > 0


def test_a_failed_ecg_is_told_until_it_is_discarded(store, accept, found, monkeypatch):
    monkeypatch.setattr(stored, "FRESH_S", 0)
    (exam,) = accept(store, "1").exam_ids
    store.fail_exam(exam, "scoring-crashed")
    assert found()["hisbundle_failed_ecgs",] == 1
    store.discard(exam, "a test", "admin", NOW)
    told = found()
    assert told["hisbundle_failed_ecgs",] == 0


def test_a_database_that_is_away_is_told(store, found, monkeypatch):
    def away(_now):
        raise StoreUnavailable("store-unavailable", "gone")

    monkeypatch.setattr(store, "queues", away)
    told = found()
    assert told["hisbundle_up",] == 0
    assert ("hisbundle_database_bytes",) not in told


def test_counts_that_take_long_keep_no_page_waiting(store, accept, found, monkeypatch):
    now, counted, status = [0.0], threading.Event(), store.status
    monkeypatch.setattr(stored.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(stored, "_PATIENCE_S", 0.01)

    def slow(at):
        assert counted.wait(60)
        return status(at)

    monkeypatch.setattr(store, "status", slow)
    accept(store, "1")
    for _ in range(2):
        told = found()
        assert (told["hisbundle_up",], told["hisbundle_waiting_ecgs", "live"]) == (1, 1)
        assert ("hisbundle_stored_ecgs", "received") not in told
        now[0] += SLOW_S
    (counting,) = [t for t in threading.enumerate() if t.name == "counting"]
    counted.set()
    counting.join(60)
    assert found()["hisbundle_stored_ecgs", "received"] == 1


def test_counts_that_fail_leave_the_rest_of_the_page_and_the_last_ones(
    store, accept, found, monkeypatch, caplog
):
    now = [0.0]
    monkeypatch.setattr(stored.time, "monotonic", lambda: now[0])
    accept(store, "1")
    found()

    def too_long(_at):
        raise StoreUnavailable("store-unavailable", "QueryCanceled 57014")

    monkeypatch.setattr(store, "status", too_long)
    now[0] += SLOW_S
    told = found()
    assert (told["hisbundle_up",], told["hisbundle_stored_ecgs", "received"]) == (1, 1)
    assert "not counted reason=store-unavailable" in caplog.text


def test_a_full_database_is_told(store, found, monkeypatch):
    class Full:
        def check(self):
            raise StoreUnavailable("store-full", "no room")

    store.limit(Full())
    assert found()["hisbundle_refusing",] == 1


def test_the_database_is_asked_once_in_a_while(store, accept, found, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(stored.time, "monotonic", lambda: now[0])
    assert found()["hisbundle_waiting_ecgs", "live"] == 0
    accept(store, "1")
    assert found()["hisbundle_waiting_ecgs", "live"] == 0
    now[0] += FRESH_S
    told = found()
    assert told["hisbundle_waiting_ecgs", "live"] == 1
    assert told["hisbundle_stored_ecgs", "received"] == 0, "counts of everything are rarer"
