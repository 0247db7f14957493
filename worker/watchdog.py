"""A hard time limit for pools that cannot kill a task: the whole worker ends instead.

Celery enforces `task_time_limit` only in its prefork pool. A thread cannot be killed, so the
process goes; its supervisor starts another, and the sweep rings what it held.
"""

import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

EXIT_STUCK = 70  # EX_SOFTWARE of sysexits.h
_log = logging.getLogger(__name__)


class Watchdog(threading.Thread):
    """Ends the process when a task under `watch` runs longer than `limit_s`."""

    def __init__(self, limit_s: float) -> None:
        super().__init__(name="watchdog", daemon=True)
        self._limit_s = limit_s
        self._since: dict[int, float] = {}

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Time the block in the current thread."""
        self._since[threading.get_ident()] = time.monotonic()
        try:
            yield
        finally:
            del self._since[threading.get_ident()]

    def run(self) -> None:
        """Look a few times within each limit."""
        while True:
            time.sleep(min(1.0, self._limit_s / 4))
            oldest = min(list(self._since.values()), default=None)
            if oldest is not None and time.monotonic() - oldest > self._limit_s:
                _log.critical("task stuck limit_s=%g; worker ends", self._limit_s)
                os._exit(EXIT_STUCK)
