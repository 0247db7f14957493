"""Bring a database to this version's schema, or say that it is not."""

from functools import cache
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, event

from db.engine import WRITES, faults, open_engine
from db.errors import StoreUnusable

_WAIT_FOR_OTHERS_MS = 60_000
VERSIONS = Path(__file__).parent / "migrations" / "versions"


def upgrade(url: str, *, later: bool = False) -> None:
    """Run what is missing of the migrations, in one transaction; nothing when none is.

    Any number of processes may do so at once; in one process one thread (Alembic keeps globals).

    Args:
        url: of the database.
        later: leave a later version's schema as it is, instead of refusing it.

    Raises:
        StoreUnavailable: the database cannot be reached, or others keep its tables locked.
        StoreUnusable: the URL is not supported, or the schema is a later version's.
    """
    engine = open_engine(url).execution_options(**{WRITES: True})
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare_to_migrate)
    try:
        with faults(), engine.begin() as connection:
            # To look for broken references is to read the whole database: not at every start.
            if _is_later(connection, allowed=later) or _is_current(connection):
                return
            command.upgrade(_config(connection), "head")
            if engine.dialect.name == "sqlite":
                _check_references(connection)
    finally:
        engine.dispose()


def _prepare_to_migrate(connection: Any, _record: object) -> None:  # noqa: ANN401 - sqlite3's
    # SQLite changes a table by copying it; dropping the old one must not look like deleting.
    connection.execute("PRAGMA foreign_keys=OFF")
    # Who migrates at the same time may copy large tables.
    connection.execute(f"PRAGMA busy_timeout={_WAIT_FOR_OTHERS_MS}")


def _check_references(connection: Connection) -> None:
    if connection.exec_driver_sql("PRAGMA foreign_key_check").first() is not None:
        raise StoreUnusable("references-broken", "a row refers to one that is not there")


def check(url: str, *, later: bool = False) -> None:
    """Return when the schema is this version's.

    Args:
        url: of the database.
        later: return also when it is a later version's, which has to serve this one too.

    Raises:
        StoreUnavailable: the database cannot be reached.
        StoreUnusable: `schema-behind`: run `hisbundle migrate`; `schema-unknown`: it is a later
            version's.
    """
    engine = open_engine(url)
    try:
        with faults(), engine.begin() as connection:
            if _is_later(connection, allowed=later):
                return
            if not _is_current(connection):
                raise StoreUnusable("schema-behind", "run `hisbundle migrate`")
    finally:
        engine.dispose()


def outdated(revision: str | None) -> bool:
    """Tell whether a schema is older than this version's; one that is newer still serves it."""
    return revision is None or revision in _earlier()


@cache
def _earlier() -> frozenset[str]:
    script = ScriptDirectory.from_config(_config())
    return frozenset(one.revision for one in script.walk_revisions()) - set(script.get_heads())


def revise(url: str, message: str, folder: Path = VERSIONS) -> None:
    """Write a migration from what `tables` has and the up-to-date database at `url` lacks.

    For developers: `python -c 'from db.migrate import revise; revise("sqlite:///x.db", "why")'`.
    Read and correct what it wrote: autogenerate sees neither CHECKs nor renamed columns.
    """
    engine = open_engine(url)
    try:
        with faults(), engine.begin() as connection:
            config = _config(connection)
            config.set_main_option("version_locations", f"{VERSIONS}\n{folder}")
            config.set_main_option("path_separator", "newline")
            number = 1 + len(list(ScriptDirectory.from_config(config).walk_revisions()))
            command.revision(
                config,
                message,
                autogenerate=True,
                rev_id=f"{number:04}",
                version_path=str(folder),
            )
    finally:
        engine.dispose()


def _config(connection: Connection | None = None) -> Config:
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", "db:migrations")
    return config


def _is_later(connection: Connection, *, allowed: bool) -> bool:
    """Tell whether a later version migrated this database; raise StoreUnusable unless allowed."""
    known = {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
    later = not _current(connection) <= known
    if later and not allowed:
        raise StoreUnusable("schema-unknown", "a later version of Hisbundle migrated this database")
    return later


def _is_current(connection: Connection) -> bool:
    return _current(connection) == set(ScriptDirectory.from_config(_config()).get_heads())


def _current(connection: Connection) -> set[str]:
    return set(MigrationContext.configure(connection).get_current_heads())
