"""Group commit: transactions that wait at the same time become one, with one sync to the disk.

SQLite has one writer at a time, and with `synchronous=FULL` each commit waits for the disk. While
one group commits, the next one gathers; each caller returns after the commit that holds its work.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, TypeVar

from sqlalchemy.orm import Session

MAX_GROUP = 64

T = TypeVar("T")


class _Work:
    """What one caller wants done, and what came of it."""

    def __init__(self, job: Callable[[Session], Any]) -> None:
        self.job = job
        self.result: Any = None
        self.error: BaseException | None = None
        self.leads = False
        self.told = threading.Event()  # that it is done, or leads the next group


class GroupCommit:
    """Runs jobs in shared transactions; thread-safe."""

    def __init__(self, transaction: Callable[[], AbstractContextManager[Session]]) -> None:
        """Take what opens a transaction that commits at its end."""
        self._transaction = transaction
        self._lock = threading.Lock()
        self._waiting: deque[_Work] = deque()
        self._busy = False

    def run(self, job: Callable[[Session], T]) -> T:
        """Return what `job` returned, once it is committed.

        A job may run twice: when one of a group fails, the group is rolled back, and each of its
        jobs has a transaction of its own. What fails before or after all jobs fails them all.
        """
        work = _Work(job)
        with self._lock:
            self._waiting.append(work)
            work.leads = not self._busy
            self._busy = True
        if not work.leads:
            work.told.wait()
        if work.leads:
            self._lead()
        if work.error is not None:
            raise work.error
        result: T = work.result
        return result

    def _lead(self) -> None:
        """Commit those who wait, the caller among them, and name the next leader."""
        with self._lock:
            group = [self._waiting.popleft() for _ in range(min(len(self._waiting), MAX_GROUP))]
        self._commit(group)
        with self._lock:
            if self._waiting:
                self._waiting[0].leads = True
                self._waiting[0].told.set()
            else:
                self._busy = False
        for work in group:
            work.told.set()

    def _commit(self, group: Sequence[_Work]) -> None:
        running: _Work | None = None
        try:
            with self._transaction() as session:
                session.connection()  # begins: what fails here is no job's fault
                for running in group:
                    running.result = running.job(session)
                running = None
        except BaseException as error:  # noqa: BLE001 - each caller raises it as its own
            if running is not None and len(group) > 1:
                for work in group:
                    self._commit([work])
                return
            for work in group:
                work.error = error
