"""Room for what comes in: refused early and in words, before the disk is full and nothing works.

Room below the first watermark is told in the log, below the second one new messages are not taken:
their senders hear that they shall come again. Work on what is here goes on meanwhile.
"""

import logging
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from db.errors import StoreUnavailable

_LOOK_EVERY_S = 5.0
_TELL_EVERY_S = 600.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limits:
    """Watermarks.

    Attributes:
        warn_free_bytes: of the disk of a SQLite file.
        refuse_free_bytes: likewise.
        max_database_bytes: of the database itself, or None; told from nine tenths on.
    """

    warn_free_bytes: int
    refuse_free_bytes: int
    max_database_bytes: int | None = None


class Room:
    """Looks every few seconds; thread-safe."""

    def __init__(
        self, limits: Limits, folder: Path | None, database_bytes: Callable[[], int]
    ) -> None:
        """Take the limits and what is measured.

        Args:
            limits: watermarks.
            folder: where a SQLite file lies; None for a database elsewhere.
            database_bytes: size of the database.
        """
        self._limits = limits
        self._folder = folder
        self._database_bytes = database_bytes
        self._lock = threading.Lock()
        self._looked = self._told = float("-inf")
        self._fault: str | None = None

    def check(self) -> None:
        """Return while there is room.

        Raises:
            StoreUnavailable: `store-full`.
        """
        with self._lock:
            now = time.monotonic()
            if now - self._looked >= _LOOK_EVERY_S:
                self._looked = now
                self._look(now)
            fault = self._fault
        if fault is not None:
            raise StoreUnavailable("store-full", fault)

    def _look(self, now: float) -> None:
        free = None if self._folder is None else shutil.disk_usage(self._folder).free
        limits, most = self._limits, self._limits.max_database_bytes
        size = 0 if most is None else self._database_bytes()
        self._fault, scarce = None, False
        if free is not None:
            scarce = free < limits.warn_free_bytes
            if free < limits.refuse_free_bytes:
                self._fault = f"only {free} bytes of the disk are free"
        if most is not None:
            scarce = scarce or size > 0.9 * most
            if size > most:
                self._fault = f"the database has {size} bytes"
        if (scarce or self._fault) and now - self._told >= _TELL_EVERY_S:
            self._told = now
            told = logging.ERROR if self._fault else logging.WARNING
            _log.log(
                told, "room is scarce free=%s database=%s refusing=%s", free, size, self._fault
            )
