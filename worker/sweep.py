"""The sweep: rings again what waits in the database and has no task in the queue any more.

It is what makes losing the broker, a worker or the doorbell's thread harmless. Any number of
workers may sweep at once: the store hands each waiting row to one of them per grace period.
"""

import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

from kombu.exceptions import OperationalError

from db.errors import StoreUnavailable
from db.store import Store
from integration.queue import DELIVER, SCORE

BATCH = 500
_log = logging.getLogger(__name__)

Ring = Callable[[str, UUID], None]


def sweep_once(store: Store, ring: Ring, grace_s: float) -> int:
    """Ring what has waited longer than `grace_s` since it was last rung; return how many."""
    now = datetime.now(UTC)
    before = now - timedelta(seconds=grace_s)
    exams = store.claim_waiting_exams(before, BATCH)
    deliveries = store.claim_due_deliveries(now, before, BATCH)
    for exam_id in exams:
        ring(SCORE, exam_id)
    for delivery_id in deliveries:
        ring(DELIVER, delivery_id)
    return len(exams) + len(deliveries)


class Sweeper(threading.Thread):
    """Sweeps every `interval_s`; once at once, and then what is there already counts as lost."""

    def __init__(self, store: Store, ring: Ring, interval_s: float, grace_s: float) -> None:
        super().__init__(name="sweep", daemon=True)
        self._store = store
        self._ring = ring
        self._interval_s = interval_s
        self._grace_s = grace_s
        self._stopped = threading.Event()

    def run(self) -> None:
        """Sweep until stopped; whatever fails is tried again at the next round."""
        grace_s = 0.0
        while True:
            try:
                if swept := sweep_once(self._store, self._ring, grace_s):
                    _log.info("swept count=%d", swept)
                grace_s = self._grace_s
            except StoreUnavailable as error:
                _log.warning("sweep put off reason=%s", error.reason)
            except (OperationalError, OSError) as error:
                _log.warning("sweep put off error=%s", type(error).__name__)
            if self._stopped.wait(self._interval_s):
                return

    def stop(self) -> None:
        """End after the round under way."""
        self._stopped.set()
