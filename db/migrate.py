"""Bring a database to this version's schema, or say that it is not."""

from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, event

from db.engine import WRITES, faults, open_engine
from db.errors import StoreUnusable

VERSIONS = Path(__file__).parent / "migrations" / "versions"


def upgrade(url: str) -> None:
    """Run what is missing of the migrations, in one transaction; nothing when none is.

    Any number of processes may do so at once; in one process one thread (Alembic keeps globals).

    Raises:
        StoreUnavailable: the database cannot be reached, or others keep its tables locked.
        StoreUnusable: the URL is not supported, or the schema is a later version's.
    """
    engine = open_engine(url).execution_options(**{WRITES: True})
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _without_references)
    try:
        with faults(), engine.begin() as connection:
            _refuse_unknown(connection)
            command.upgrade(_config(connection), "head")
            if engine.dialect.name == "sqlite":
                _check_references(connection)
    finally:
        engine.dispose()


def _without_references(connection: Any, _record: object) -> None:  # noqa: ANN401 - sqlite3's
    """SQLite changes a table by copying it; dropping the old one must not look like deleting."""
    connection.execute("PRAGMA foreign_keys=OFF")


def _check_references(connection: Connection) -> None:
    if connection.exec_driver_sql("PRAGMA foreign_key_check").first() is not None:
        raise StoreUnusable("references-broken", "a row refers to one that is not there")


def check(url: str) -> None:
    """Return when the schema is this version's.

    Raises:
        StoreUnavailable: the database cannot be reached.
        StoreUnusable: `schema-behind`: run `hisbundle migrate`; `schema-unknown`: it is a later
            version's.
    """
    engine = open_engine(url)
    try:
        with faults(), engine.begin() as connection:
            _refuse_unknown(connection)
            if _current(connection) != set(ScriptDirectory.from_config(_config()).get_heads()):
                raise StoreUnusable("schema-behind", "run `hisbundle migrate`")
    finally:
        engine.dispose()


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


def _refuse_unknown(connection: Connection) -> None:
    known = {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
    if not _current(connection) <= known:
        raise StoreUnusable("schema-unknown", "a later version of Hisbundle migrated this database")


def _current(connection: Connection) -> set[str]:
    return set(MigrationContext.configure(connection).get_current_heads())
