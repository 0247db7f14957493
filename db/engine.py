"""One engine for both databases, and the databases' faults in our own words."""

import json
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import Session

from db.errors import StoreUnavailable, StoreUnusable
from db.keyring import Keyring
from db.sealed import give_keyring

WRITES = "hisbundle_writes"  # execution option of engines whose transactions write

_WAIT_FOR_LOCK_MS = 5_000
_CONNECT_TIMEOUT_S = 5
_POSTGRES_OPTIONS = (
    f"-c statement_timeout=30000 -c lock_timeout={_WAIT_FOR_LOCK_MS} "
    "-c idle_in_transaction_session_timeout=60000"
)

# hide_parameters: statements go into exceptions, their values (patient data) never.
_COMMON = {
    "hide_parameters": True,
    "json_serializer": partial(json.dumps, allow_nan=False, separators=(",", ":")),
    "pool_timeout": 10,
}


def open_engine(url: str, keyring: Keyring | None = None) -> Engine:
    """Return an engine; it connects on first use, but a SQLite file is made at once.

    Args:
        url: `sqlite:///path` or `postgresql://...`.
        keyring: what `sealed` columns are sealed with; None: they stay plain.

    Raises:
        StoreUnusable: `database-unsupported`.
        StoreUnavailable: `store-unavailable`: the SQLite file cannot be made.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise StoreUnusable("database-unsupported", "the database URL is malformed") from None
    match parsed.get_backend_name():
        case "sqlite":
            engine = _sqlite(parsed)
        case "postgresql" | "postgres":
            engine = _postgresql(parsed)
        case other:
            raise StoreUnusable("database-unsupported", f"{other} is neither of the two supported")
    give_keyring(engine.dialect, keyring)
    return engine


@contextmanager
def faults() -> Iterator[None]:
    """Tell whatever a database complains about as StoreUnavailable.

    The driver's text is dropped, also as a cause: PostgreSQL quotes rows in its details. What has
    no code never got as far: of a connection that fails the first line is told.
    """
    try:
        yield
    except DBAPIError as error:
        raise StoreUnavailable("store-unavailable", _name(error.orig)) from None
    except PoolTimeoutError:
        raise StoreUnavailable("store-unavailable", "no free connection") from None


def without_hurry(session: Session) -> None:
    """Let this transaction's statements take as long as they need: they go through whole tables.

    Otherwise PostgreSQL ends each that takes longer than anything that somebody waits for.
    """
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("SET LOCAL statement_timeout = 0"))


def _name(error: BaseException | None) -> str:
    """Return the fault's class and its code, SQLSTATE or SQLite's name for it, or why none came."""
    code = getattr(error, "sqlstate", None) or getattr(error, "sqlite_errorname", None)
    name = type(error).__name__
    if code is None and name == "OperationalError" and hasattr(error, "sqlstate"):
        return str(error).partition("\n")[0]
    return f"{name} {code or ''}".strip()


def _postgresql(url: URL) -> Engine:
    return create_engine(
        url.set(drivername="postgresql+psycopg"),
        pool_pre_ping=True,
        connect_args={"connect_timeout": _CONNECT_TIMEOUT_S, "options": _POSTGRES_OPTIONS},
        **_COMMON,
    )


def _sqlite(url: URL) -> Engine:
    if url.database in {None, "", ":memory:"}:
        raise StoreUnusable("database-unsupported", "SQLite needs a file: sqlite:///path")
    _make_private_file(Path(str(url.database)))
    engine = create_engine(url.set(drivername="sqlite+pysqlite"), **_COMMON)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _make_private_file(path: Path) -> None:
    """SQLite gives its -wal and -shm files the mode of the database file."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise StoreUnavailable("store-unavailable", f"SQLite file: {error.strerror}") from None


def _prepare_sqlite(connection: Any, _record: object) -> None:  # noqa: ANN401 - sqlite3's or a wrapper
    # The driver's own BEGIN comes too late and is never IMMEDIATE; _begin_sqlite sends ours.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={_WAIT_FOR_LOCK_MS}")
    _switch_to_wal(cursor)
    # In WAL mode NORMAL syncs at checkpoints only: a power failure would take commits that were
    # acknowledged to a sender, who then never sends again. FULL syncs at every commit.
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _switch_to_wal(cursor: sqlite3.Cursor) -> None:
    """Make the file a WAL file, once for ever.

    Processes that open a new file at the same moment are in each other's way here, and
    busy_timeout does not apply to this one step.
    """
    deadline = time.monotonic() + _WAIT_FOR_LOCK_MS / 1000
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY  # whichever kind of busy
            if not busy or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that reads first and then writes fails at once, without waiting, when another
    # one wrote in between; IMMEDIATE takes the write lock first, and busy_timeout applies.
    writes = connection.get_execution_options().get(WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
