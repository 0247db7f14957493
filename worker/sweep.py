"""The sweep: rings what waits in the database and has no task in the queue, stitches packets.

It is what makes losing the broker, a worker or a ring harmless. Any number of workers may sweep at
once: the store hands each waiting row to one of them per grace period.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from kombu.exceptions import OperationalError

from db.errors import StoreUnavailable
from db.store import Store
from integration.queue import DELIVER, SCORE
from worker.stitching import stitch_once

BATCH = 500
STITCH_S = 1.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Doorbell:
    """The queue, as far as the sweep needs it: how many tasks wait, and how to add one."""

    depth: Callable[[], int]
    ring: Callable[[str, UUID], None]


def sweep_once(store: Store, doorbell: Doorbell, grace_s: float) -> int:
    """Ring what was never rung, or last longer than `grace_s` ago; return how many.

    While the queue is deep nothing is rung: what seems lost is only waiting in it, and ringing it
    again would make the queue grow for ever.
    """
    if doorbell.depth() >= BATCH:
        return 0
    now = datetime.now(UTC)
    before = now - timedelta(seconds=grace_s)
    exams = store.claim_waiting_exams(before, BATCH)
    deliveries = store.claim_due_deliveries(now, before, BATCH)
    for exam_id in exams:
        doorbell.ring(SCORE, exam_id)
    for delivery_id in deliveries:
        doorbell.ring(DELIVER, delivery_id)
    return len(exams) + len(deliveries)


class Sweeper(threading.Thread):
    """Sweeps every `interval_s`, the first time with a grace of its own."""

    def __init__(
        self,
        store: Store,
        doorbell: Doorbell,
        *,
        interval_s: float,
        grace_s: float,
        first_grace_s: float,
    ) -> None:
        super().__init__(name="sweep", daemon=True)
        self._store = store
        self._doorbell = doorbell
        self._interval_s = interval_s
        self._grace_s = grace_s
        self._stitch_at = 0.0
        self._first_grace_s = first_grace_s
        self._ending = threading.Event()

    def run(self) -> None:
        """Sweep until stopped; whatever fails is tried again at the next round."""
        grace_s = self._first_grace_s
        while not self._ending.is_set():
            try:
                self._stitch()
                if swept := sweep_once(self._store, self._doorbell, grace_s):
                    _log.debug("swept count=%d", swept)
                grace_s = self._grace_s
            except StoreUnavailable as error:
                _log.warning("sweep put off reason=%s", error.reason)
            except (OperationalError, OSError) as error:
                _log.warning("sweep put off error=%s", type(error).__name__)
            self._ending.wait(self._interval_s)

    def _stitch(self) -> None:
        """Make windows of packets, a second after the last time; packets come no faster."""
        if time.monotonic() >= self._stitch_at:
            stitch_once(self._store, datetime.now(UTC))
            self._stitch_at = time.monotonic() + STITCH_S

    def stop(self) -> None:
        """End after the round under way."""
        self._ending.set()
