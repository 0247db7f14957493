"""Locks that hold among all processes on one database."""

import hashlib
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import func, select

from db.sessions import Sessions

_here: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)


class Locks(Sessions):
    """Locks by name."""

    @contextmanager
    def exclusively(self, name: str) -> Iterator[None]:
        """Hold a lock: in PostgreSQL among all workers, with SQLite in this process.

        SQLite is the embedded default's, which has one worker. Keep it short and seldom: a
        connection waits meanwhile.
        """
        with _here[name]:
            if self._engine.dialect.name == "sqlite":
                yield
                return
            key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], signed=True)
            with self._reading() as session:
                session.execute(select(func.pg_advisory_xact_lock(key)))
                yield
