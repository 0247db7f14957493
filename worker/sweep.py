"""The sweep: rings what waits and has no task in the queue, gives packets to their streams.

It is what makes losing the broker, a worker or a ring harmless. Any number of workers may sweep at
once: the store hands each waiting row to one of them per grace period.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol
from uuid import UUID

from kombu.exceptions import OperationalError

from db.errors import StoreUnavailable
from db.store import Store
from integration.critical import CriticalSettings
from integration.queue import DELIVER, READ_ON, SCORE
from worker.episodes import tell_episodes
from worker.escalation import escalate_once
from worker.heartbeat import Heartbeat
from worker.pipeline import SHORT_SAMPLES

BATCH = 500
TOGETHER = 4  # ECGs of an archive in a task: they share a commit
BACKLOG_AHEAD = 4  # tasks in the queue beyond which an archive waits: what is urgent comes after
BACKLOG_EVERY_S = 0.1  # while there is one
UPKEEP_S = 1.0
STREAMS_S = 0.25
PACKETS = 2_000  # given to their streams in one transaction
STREAM_LEASE_S = 60.0  # a stream this long without a word from its task is rung again
HEAD_TOLD_S = 600.0
BROKEN_S = 1.0  # after a chore that broke: one that always does shall not fill the log
_log = logging.getLogger(__name__)


class Ring(Protocol):
    """Adds a task to the queue."""

    def __call__(self, task: str, /, *ids: UUID) -> None:
        """Add it, with the ids that it is about."""


@dataclass(frozen=True)
class Doorbell:
    """The queue, as far as the sweep needs it: how many tasks wait, and how to add one."""

    depth: Callable[[], int]
    ring: Ring


def sweep_once(store: Store, doorbell: Doorbell, grace_s: float, *, silent: bool = False) -> int:
    """Ring what was never rung, or last longer than `grace_s` ago; return how many.

    In silent mode no delivery is rung.

    While the queue is deep nothing is rung: what seems lost is only waiting in it, and ringing it
    again would make the queue grow for ever.
    """
    if doorbell.depth() >= BATCH:
        return 0
    now = datetime.now(UTC)
    before = now - timedelta(seconds=grace_s)
    exams = store.claim_waiting_exams(before, BATCH)
    deliveries = () if silent else store.claim_due_deliveries(now, before, BATCH)
    for exam_id in exams:
        doorbell.ring(SCORE, exam_id)
    for delivery_id in deliveries:
        doorbell.ring(DELIVER, delivery_id)
    return len(exams) + len(deliveries)


def sweep_backlog(store: Store, doorbell: Doorbell, grace_s: float) -> bool:
    """Keep the queue filled with a few tasks of archives; return whether to look again soon."""
    before = datetime.now(UTC) - timedelta(seconds=grace_s)
    ahead = doorbell.depth()
    busy = ahead >= BACKLOG_AHEAD
    while ahead < BACKLOG_AHEAD:
        exams = store.claim_waiting_exams(before, TOGETHER, backlog=True)
        if not exams:
            break
        busy = True
        for task in _tasks(store, exams):
            doorbell.ring(SCORE, *task)
            ahead += 1
    return busy


def _tasks(store: Store, exams: Sequence[UUID]) -> list[list[UUID]]:
    """Return one task, and one more for each exam that would keep the others waiting."""
    alone = store.to_score_alone(exams, SHORT_SAMPLES)
    together = [exam_id for exam_id in exams if exam_id not in alone]
    tasks = [[exam_id] for exam_id in exams if exam_id in alone]
    return [together, *tasks] if together else tasks


def sweep_streams(store: Store, doorbell: Doorbell) -> int:
    """Give packets to their streams, ring for each stream that is worth a look; return how many."""
    while store.adopt_packets(PACKETS) == PACKETS:
        pass
    room = BATCH - doorbell.depth()
    streams = store.claim_streams(datetime.now(UTC), max(room, 0), STREAM_LEASE_S)
    for stream_id in streams:
        doorbell.ring(READ_ON, stream_id)
    return len(streams)


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
        critical: CriticalSettings,
        heartbeat: Heartbeat | None = None,
        silent: bool = False,
    ) -> None:
        super().__init__(name="sweep", daemon=True)
        self._store = store
        self._doorbell = doorbell
        self._interval_s = self._wait_s = interval_s
        self._grace_s, self._later_grace_s = first_grace_s, grace_s
        self._upkeep_at = self._head_at = self._streams_at = self._ring_at = 0.0
        self._critical = critical
        self._heartbeat = heartbeat
        self._silent = silent
        self._ending = threading.Event()

    def run(self) -> None:
        """Sweep until stopped; whatever fails is tried again at the next round."""
        while not self._ending.is_set():
            if self._heartbeat is not None:
                self._heartbeat.beat()
            self._round()
            self._ending.wait(min(self._wait_s, STREAMS_S))

    def _round(self) -> None:
        """Do what is due; an outage ends the round, one chore that breaks does not."""
        for chore in self._due():
            try:
                chore()
            except StoreUnavailable as error:
                _log.warning("sweep put off reason=%s", error.reason)
                return
            except (OperationalError, OSError) as error:
                _log.warning("sweep put off error=%s", type(error).__name__)
                return
            except Exception:  # noqa: BLE001 - without this thread nothing would be rung any more
                _log.exception("sweep broke")
                self._ending.wait(BROKEN_S)

    def _due(self) -> Iterator[Callable[[], None]]:
        """Yield the chores that are due; one that an outage ends stays so."""
        if time.monotonic() >= self._upkeep_at:
            yield from (self._tell_episodes, self._escalate, self._seal)
            self._upkeep_at = time.monotonic() + UPKEEP_S
        if time.monotonic() >= self._streams_at:
            yield self._sweep_streams
            self._streams_at = time.monotonic() + STREAMS_S
        yield self._sweep

    def _tell_episodes(self) -> None:
        tell_episodes(self._store, self._critical, datetime.now(UTC))

    def _escalate(self) -> None:
        escalate_once(self._store, datetime.now(UTC))

    def _seal(self) -> None:
        sealed = self._store.seal_audit()
        if sealed and time.monotonic() >= self._head_at:
            # Kept with the logs, elsewhere, it shows whether the chain's end was cut off.
            _log.info("audit head number=%d sha256=%s", *self._store.audit_head())
            self._head_at = time.monotonic() + HEAD_TOLD_S

    def _sweep_streams(self) -> None:
        sweep_streams(self._store, self._doorbell)

    def _sweep(self) -> None:
        store, doorbell = self._store, self._doorbell
        if time.monotonic() >= self._ring_at:
            self._ring_at = time.monotonic() + self._interval_s
            if swept := sweep_once(store, doorbell, self._grace_s, silent=self._silent):
                _log.debug("swept count=%d", swept)
        busy = sweep_backlog(store, doorbell, self._grace_s)
        self._wait_s = min(self._interval_s, BACKLOG_EVERY_S) if busy else self._interval_s
        self._grace_s = self._later_grace_s

    def stop(self) -> None:
        """End after the round under way."""
        self._ending.set()
