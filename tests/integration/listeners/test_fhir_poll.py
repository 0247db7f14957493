"""Turns at a source; that it is read, over real servers, is tested in journey."""

import asyncio
import threading
import time
from datetime import UTC, datetime

import pytest

from db.errors import StoreUnavailable
from integration.errors import Refused, TryLater
from integration.fhir.settings import SmartSettings, SourceSettings
from integration.fhir_source import Taken
from integration.listeners.fhir_poll import Poller, pollers_of

SETTINGS = SourceSettings(base_url="http://127.0.0.1:9", interval_s=60, settle_s=3, heartbeat_s=30)


class Source:
    """Does what the test says, in place of a reading."""

    name = "ehr"

    def __init__(self, *results):
        self.results, self.running, self.most = list(results), 0, 0
        self.lock = threading.Lock()

    def poll(self, goes_on):
        with self.lock:
            self.running += 1
            self.most = max(self.most, self.running)
        try:
            assert goes_on()
            result = self.results.pop(0)
            if isinstance(result, Exception):
                raise result
            return result
        finally:
            with self.lock:
                self.running -= 1


@pytest.mark.parametrize(
    ("result", "pause_s", "problem"),
    [
        (Taken(1, unsettled=False), 60, None),
        (Taken(0, unsettled=True), 4, None),
        (TryLater("source-unavailable", "status 503"), 60, "source-unavailable"),
        (TryLater("source-unavailable", "status 429", 100.0), 100, "source-unavailable"),
        (Refused("source-refused", "status 401"), 60, "source-refused"),
        (RuntimeError("ZZCANARY"), 60, "internal-error"),
    ],
)
def test_a_turn(store, result, pause_s, problem):
    poller = Poller(Source(result), store, SETTINGS)
    before = store.clock()
    assert poller.turn()
    state = store.source_states()["ehr"]
    assert state.problem == problem
    assert pause_s <= (state.due_at - before).total_seconds() < pause_s + 30
    assert not poller.turn()


def test_the_store_is_away(store, monkeypatch):
    def away(*_):
        raise StoreUnavailable("store-unavailable", "locked")

    monkeypatch.setattr(store, "take_source", away)
    assert not Poller(Source(), store, SETTINGS).turn()


def test_of_several_listeners_one_reads_at_a_time(store):
    source = Source(*[Taken(0, unsettled=False)] * 40)
    pollers = [Poller(source, store, SETTINGS) for _ in range(4)]

    def turns(poller):
        for _ in range(10):
            store.hasten_source("ehr", datetime(2026, 1, 1, tzinfo=UTC))
            poller.turn()

    threads = [threading.Thread(target=turns, args=[poller]) for poller in pollers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert source.most == 1
    assert len(source.results) < 40


def test_a_silent_subscription_is_told_once(store, caplog):
    store.hear_event("ehr", "Subscription/1", 1, datetime(2026, 1, 1, tzinfo=UTC))
    poller = Poller(Source(*[Taken(0, unsettled=False)] * 3), store, SETTINGS)

    def turn():
        caplog.clear()
        store.hasten_source("ehr", datetime(2026, 1, 1, tzinfo=UTC))
        assert poller.turn()
        return ["source ehr is silent subscription=Subscription/1" in caplog.messages]

    assert turn() == [True]
    assert turn() == [False]
    store.hear_event("ehr", "Subscription/1", 1, store.clock())
    assert turn() == [False]


def test_it_stops_in_the_middle_of_a_reading(store):
    entered = threading.Event()

    class Long(Source):
        def poll(self, goes_on):
            entered.set()
            while goes_on():
                time.sleep(0.01)
            raise TryLater("source-interrupted", "stop")

    async def run():
        stop = asyncio.Event()
        running = asyncio.create_task(Poller(Long(), store, SETTINGS).run(stop))
        await asyncio.to_thread(entered.wait, 30)
        stop.set()
        await asyncio.wait_for(running, 30)

    asyncio.run(run())
    assert store.source_states()["ehr"].problem == "source-interrupted"


def test_pollers_of_the_settings(store, tmp_path):
    smart = SETTINGS.model_copy(update={"smart": SmartSettings(client_id="us")})
    both = pollers_of({"ehr": SETTINGS, "other": smart}, None, store, tmp_path)
    assert both[1].turn()
    assert store.source_states()["other"].problem == "token-unavailable"
    poller = both[0]
    assert poller.source.name == "ehr"
    assert poller.turn()
    assert store.source_states()["ehr"].problem == "source-unavailable"
