"""What is so in the database now, and beside it the events and the drift that it tells of.

Counts of everything take long where much is stored, longer than Prometheus waits: they are made
beside the page, which has the last ones.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable
from datetime import datetime

from prometheus_client.core import Metric

from db.circuits import Circuit
from db.errors import StoreUnavailable
from db.measures import Queues
from db.store import Store
from integration.metrics.drift import look_for_drift
from integration.metrics.events import Events
from integration.metrics.families import by, single

FRESH_S = 5.0  # queues and events are looked at again
SLOW_S = 300.0  # counts of everything, and drift
_PATIENCE_S = 2.0  # a page waits for them; where little is stored, its first has them
_log = logging.getLogger(__name__)


class Stored:
    """Collects from the database; whoever asks too soon gets what was found last."""

    def __init__(self, store: Store, clock: Callable[[], datetime]) -> None:
        """Take the store, and what tells the aware time."""
        self._store, self._clock = store, clock
        self._events = Events(store)
        self._lock = threading.Lock()
        self._queues: list[Metric] = []
        self._slow: list[Metric] = []
        self._queues_at = self._slow_at = float("-inf")
        self._counting = threading.Thread()

    def describe(self) -> Iterable[Metric]:
        """Return nothing: to be registered is no reason to look into the database."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Return the families."""
        with self._lock:
            try:
                self._look()
            except StoreUnavailable as error:
                _log.warning("not measured reason=%s", error.reason)
                return [_up(answers=False), *self._events.collect()]
            return [_up(answers=True), *self._queues, *self._slow, *self._events.collect()]

    def _look(self) -> None:
        now = time.monotonic()
        if now - self._queues_at >= FRESH_S:
            self._events.follow()
            queues = self._store.queues(self._clock())
            self._queues = [
                *_waiting(queues),
                *_deliveries(queues, self._store.circuits()),
                *_room(self._store),
            ]
            self._queues_at = now
        if now - self._slow_at >= SLOW_S and not self._counting.is_alive():
            self._slow_at = now
            self._counting = threading.Thread(target=self._count, name="counting", daemon=True)
            self._counting.start()
            self._counting.join(_PATIENCE_S)

    def _count(self) -> None:
        try:
            now = self._clock()
            self._slow = _counts(self._store, now) + look_for_drift(self._store, now)
        except StoreUnavailable as error:
            _log.warning("not counted reason=%s", error.reason)


def _up(*, answers: bool) -> Metric:
    return single("hisbundle_up", "Whether the database answers", float(answers))


def _waiting(queues: Queues) -> list[Metric]:
    return [
        by(
            "lane",
            "hisbundle_waiting_ecgs",
            "ECGs that wait for a worker, live ones and those of archives",
            {"live": queues.waiting, "backlog": queues.backlog},
        ),
        single(
            "hisbundle_oldest_waiting_seconds",
            "Age of the live ECG that has waited longest for a worker; 0 when none does",
            queues.oldest_exam_s,
        ),
        single(
            "hisbundle_failed_ecgs",
            "ECGs that could not be scored and were neither replayed nor discarded yet",
            queues.failed,
        ),
    ]


def _deliveries(queues: Queues, circuits: Iterable[Circuit]) -> list[Metric]:
    return [
        by(
            "destination",
            "hisbundle_due_deliveries",
            "Deliveries that were not made yet",
            queues.due,
        ),
        by(
            "destination",
            "hisbundle_oldest_due_seconds",
            "Age of the oldest report among them, whenever it is tried next",
            queues.oldest_due_s,
        ),
        by(
            "destination",
            "hisbundle_lost_deliveries",
            "Deliveries that were given up and neither replayed nor discarded yet",
            queues.lost,
        ),
        by(
            "destination",
            "hisbundle_circuit_failures",
            "Of destinations that do not take reports: failures in a row",
            {circuit.destination: circuit.failures for circuit in circuits},
        ),
    ]


def _room(store: Store) -> list[Metric]:
    return [
        single(
            "hisbundle_refusing",
            "Whether new messages are put off because there is no room for them",
            float(store.full),
        ),
        single(
            "hisbundle_database_bytes",
            "Size of the database",
            store.database_bytes(),
        ),
    ]


def _counts(store: Store, now: datetime) -> list[Metric]:
    status = store.status(now)
    return [
        by("state", "hisbundle_stored_messages", "Messages by state", status.messages),
        by("state", "hisbundle_stored_ecgs", "ECGs by state", status.exams),
        by("state", "hisbundle_stored_deliveries", "Deliveries by state", status.deliveries),
        by("reason", "hisbundle_stored_refusals", "Refused messages by reason", status.refusals),
        single(
            "hisbundle_conflicts",
            "Messages that share a control id with another one of their sender",
            status.conflicts,
        ),
    ]
