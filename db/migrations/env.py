"""Alembic's entry: runs or compares on the connection that `db.migrate` hands over."""

from typing import Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext
from sqlalchemy import Connection, TypeDecorator, text

import db.stream_tables
import db.tables
import db.upkeep_tables  # noqa: F401 - they fill Base.metadata
from db.columns import Base

_LOCK = 0x48495342  # any number, the same for ever: two processes migrate one after the other


def _render(kind: str, item: object, _context: AutogenContext) -> str | Literal[False]:
    """Write SQLAlchemy's own type for ours: a migration must not change when `tables` does."""
    if kind == "type" and isinstance(item, TypeDecorator):
        return f"sa.{item.impl_instance!r}"
    return False


def _run(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        # Waiting for a lock stops everybody behind us and stays limited; work of our own may last.
        connection.execute(text("SET LOCAL statement_timeout = 0"))
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        render_as_batch=connection.dialect.name == "sqlite",
        render_item=_render,
    )
    context.run_migrations()


_run(context.config.attributes["connection"])
