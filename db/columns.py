"""What columns of the tables are made of."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import orjson
from sqlalchemy import (
    DateTime,
    Dialect,
    Enum,
    Index,
    LargeBinary,
    MetaData,
    String,
    TypeDecorator,
    text,
)
from sqlalchemy.orm import DeclarativeBase, MappedAsDataclass

from db.compress import expand, shrink

REASON_LENGTH = 64
LABEL_LENGTH = 200  # MSH-10 has at most 199 characters in any version of HL7 v2
ANSWER_LENGTH = 2_000


class UtcDateTime(TypeDecorator[datetime]):
    """An instant: aware in, aware and in UTC out, on both databases."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse naive times; SQLite keeps no zone, so everything goes in as UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without zone is no instant")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """PostgreSQL answers in the session's zone, SQLite without one."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Label(TypeDecorator[str]):
    """Text from outside that is only shown and searched: cut, and with what no database takes.

    PostgreSQL refuses U+0000 and index entries of some kilobytes, both refuse lone surrogates; a
    message must be recorded none the less. Never for identifiers: two could become one.
    """

    impl = String
    cache_ok = True

    def __init__(self, length: int) -> None:
        super().__init__(length)
        self._length = length

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Cut and replace; the same in a search as in storage."""
        if value is None:
            return None
        return value[: self._length].replace("\0", "?").encode(errors="replace").decode()


class PackedJson(TypeDecorator[dict[str, Any]]):
    """A large JSON object that is never searched in: compressed text, a quarter of its size."""

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(self, value: dict[str, Any] | None, dialect: Dialect) -> bytes | None:
        """Write and compress."""
        return None if value is None else shrink(orjson.dumps(value))

    def process_result_value(self, value: bytes | None, dialect: Dialect) -> dict[str, Any] | None:
        """Expand and read."""
        if value is None:
            return None
        found: dict[str, Any] = orjson.loads(expand(value))
        return found


def state_column(states: type[StrEnum], name: str) -> Enum:
    """Return short text and a CHECK: a new state is an ordinary migration on both databases."""
    return Enum(
        states,
        name=name,
        native_enum=False,
        create_constraint=True,
        length=16,
        values_callable=lambda members: [member.value for member in members],
    )


def partial_index(name: str, *columns: str, where: str, unique: bool = False) -> Index:
    """Return an index over the few rows that `where` keeps."""
    kept = text(where)
    return Index(name, *columns, unique=unique, sqlite_where=kept, postgresql_where=kept)


class Base(MappedAsDataclass, DeclarativeBase, kw_only=True, repr=False, eq=False):
    """No repr: a row may hold patient data."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
