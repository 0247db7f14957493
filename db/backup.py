"""A consistent copy of the whole database in one file, made while it is used, and the way back.

SQLite: its online backup. PostgreSQL: `pg_dump` and `pg_restore`, custom format. What is sealed
stays so; the keys are not in the copy.
"""

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import URL, inspect, make_url

from db.engine import open_engine
from db.errors import StoreUnavailable, StoreUnusable

_SIDE_FILES = ("-wal", "-shm")


def back_up(url: str, path: Path) -> None:
    """Write a copy to a file that is not there yet, its owner's alone; whole, or not at all.

    Raises:
        StoreUnusable: `backup-exists`; `backup-tool-missing`: there is no pg_dump.
        StoreUnavailable: `backup-failed`.
    """
    part = path.with_name(f"{path.name}.part")
    try:
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
        part.chmod(0o600)
        _copy(make_url(url), part)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        os.link(part, path)  # unlike a rename it replaces nothing
    except FileExistsError:
        raise StoreUnusable("backup-exists", f"{path} is there already") from None
    except (OSError, sqlite3.Error) as error:
        raise StoreUnavailable("backup-failed", f"{path}: {type(error).__name__}") from None
    finally:
        part.unlink(missing_ok=True)


def restore(url: str, path: Path) -> Path | None:
    """Put a copy in the database's place; nothing may be using it.

    A SQLite file that is there is set aside; a PostgreSQL database has to be empty.

    Returns:
        Where the file went that was there, or None.

    Raises:
        StoreUnusable: `backup-unreadable`: no whole copy of a Hisbundle; `database-not-empty`;
            `backup-tool-missing`: there is no pg_restore.
        StoreUnavailable: `backup-failed`.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        _refuse_filled(url)
        _run(parsed, "pg_restore", "--exit-on-error", "--single-transaction", "--no-owner", path)
        return None
    _look_through(path)
    own = Path(str(parsed.database))
    aside = _set_aside(own)
    own.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    back_up(f"sqlite:///{path}", own)
    return aside


def _copy(url: URL, part: Path) -> None:
    if url.get_backend_name() != "sqlite":
        _run(url, "pg_dump", "--format=custom", "--no-owner", f"--file={part}")
        return
    if not Path(str(url.database)).is_file():
        raise StoreUnusable("backup-unreadable", f"{url.database} is not there")
    with (
        closing(sqlite3.connect(str(url.database))) as source,
        closing(sqlite3.connect(part)) as copy,
    ):
        source.backup(copy)
        copy.execute("PRAGMA journal_mode=DELETE")  # one file, without any beside it


def _look_through(path: Path) -> None:
    """Raise unless it is a whole copy of a Hisbundle."""
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as copy:
            whole = copy.execute("PRAGMA quick_check").fetchall() == [("ok",)]
            copy.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.Error:
        whole = False
    if not whole:
        raise StoreUnusable("backup-unreadable", f"{path} is no whole copy of a database")


def _set_aside(path: Path) -> Path | None:
    if not path.exists():
        return None
    aside = path.with_name(f"{path.name}.before-restore-{datetime.now(UTC):%Y%m%dT%H%M%S.%f}")
    for end in ("", *_SIDE_FILES):
        beside = path.with_name(path.name + end)
        if beside.exists():
            shutil.move(beside, aside.with_name(aside.name + end))
    return aside


def _refuse_filled(url: str) -> None:
    engine = open_engine(url)
    try:
        if inspect(engine).get_table_names():
            raise StoreUnusable("database-not-empty", "restore into a database that is empty")
    finally:
        engine.dispose()


def _run(url: URL, tool: str, *arguments: str | Path) -> None:
    """Run a tool of PostgreSQL's on the database; the password goes where no list shows it."""
    found = shutil.which(tool)
    if found is None:
        raise StoreUnusable("backup-tool-missing", f"there is no {tool} here")
    place = url.set(drivername="postgresql", password=None).render_as_string()
    environment = os.environ | ({"PGPASSWORD": url.password} if url.password else {})
    command: Sequence[str | Path] = [found, f"--dbname={place}", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, check=False)  # noqa: S603
    if done.returncode:
        words = "its words may quote rows: run it by hand"
        raise StoreUnavailable("backup-failed", f"{tool} ended with {done.returncode}; {words}")
