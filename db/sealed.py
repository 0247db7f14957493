"""Columns whose values are sealed when the database was opened with keys, and plain otherwise.

A sealed value belongs to one row: it is written and read with the row's id, in both modes. What is
plain stays readable after keys are given, so that a database can be sealed while it is used.
Identifiers are found by a token that stands in a column beside them: of the value and an index key;
without keys, the value itself.
"""

from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from uuid import UUID, uuid5

import orjson
from sqlalchemy import (
    JSON,
    ColumnElement,
    Dialect,
    LargeBinary,
    String,
    Text,
    TypeDecorator,
    Uuid,
    false,
)
from sqlalchemy.exc import DontWrapMixin
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.sql.operators import OperatorType, like_op
from sqlalchemy.types import TypeEngine

from db.compress import expand, shrink
from db.errors import Corrupt
from db.keyring import MARK, MAX_INDEX_KEYS, Keyring
from model.errors import HisbundleError

TEXT_MARK = MARK.decode()
T = TypeVar("T")


class Sealed(Generic[T]):
    """A value of one row; no repr: it may be patient data."""

    def __init__(self, row_id: UUID, value: T) -> None:
        """Take a value to be written into a row."""
        self.row_id, self._value = row_id, value

    def open(self, row_id: UUID) -> T:
        """Return the value, as the one of this row.

        Raises:
            StoreUnusable: `key-missing`.
            Corrupt: `sealed-value-corrupt`: it is another row's, or was changed.
        """
        if row_id != self.row_id:
            raise Corrupt("sealed-value-corrupt", "a value of another row")
        return self._value


class _Stored(Sealed[T]):
    """One that was read."""

    def __init__(self, unseal: Callable[[UUID], T]) -> None:
        self._unseal = unseal

    def open(self, row_id: UUID) -> T:
        return self._unseal(row_id)


def row_id(first: UUID, *more: object) -> UUID:
    """Return what a row's values are bound to, of all columns of its key."""
    return uuid5(first, "\x1f".join(map(str, more))) if more else first


def sealed(id_: UUID, value: T | None) -> Sealed[T] | None:
    """Return a value to be written into a row, or None."""
    return None if value is None else Sealed(id_, value)


def opened(value: Sealed[T] | None, id_: UUID) -> T | None:
    """Return a value that was read from a row, or None."""
    return None if value is None else value.open(id_)


def give_keyring(dialect: Dialect, keyring: Keyring | None) -> None:
    """Let an engine's columns be sealed; each engine has a dialect of its own."""
    dialect.hisbundle_keyring = keyring  # type: ignore[attr-defined]


def keyring_of(dialect: Dialect) -> Keyring | None:
    """Return what an engine's columns are sealed with."""
    found: Keyring | None = getattr(dialect, "hisbundle_keyring", None)
    return found


def sealed_text(data: bytes) -> str:
    """Return what Keyring.seal returned as text, mark and id as they are."""
    mark, colon, body = data.partition(b":")
    return (mark + colon + b64encode(body)).decode()


def sealed_bytes(text: str) -> bytes:
    """Inverse of sealed_text.

    Raises:
        Corrupt: `sealed-value-corrupt`.
    """
    mark, colon, body = text.partition(":")
    try:
        return (mark + colon).encode() + b64decode(body, validate=True)
    except ValueError:
        raise Corrupt("sealed-value-corrupt", "no base64") from None


class SealedType(TypeDecorator[Sealed[Any]]):
    """A sealed column; `place` is `table.column`."""

    impl: TypeEngine[Any] | type[TypeEngine[Any]] = LargeBinary
    cache_ok = True

    def __init__(self, place: str) -> None:
        super().__init__()
        self.place = place

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:  # noqa: ANN401 - SQLAlchemy's
        """Seal; nothing at all stays nothing."""
        if not isinstance(value, Sealed):
            return self._nothing(value)
        keyring = keyring_of(dialect)
        plain = value.open(value.row_id)
        if keyring is None:
            return self.kept(plain)
        return self.packed(keyring.seal(self.encode(plain), self._bound_to(value.row_id)))

    def process_result_value(self, value: Any, dialect: Dialect) -> Sealed[Any] | None:  # noqa: ANN401
        """Return what opens once its row is told."""
        if value is None:
            return None
        if not self.is_sealed(value):
            return _Stored(lambda _: self.found(value))
        keyring = keyring_of(dialect) or Keyring((), ())
        return _Stored(
            lambda id_: self.decode(keyring.open(self.unpacked(value), self._bound_to(id_)))
        )

    def _bound_to(self, row_id: UUID) -> bytes:
        return f"{self.place}\x1f{row_id}".encode()

    def _nothing(self, value: object) -> object:
        if value is not None and value != b"":
            raise TypeError(f"{self.place} is written as Sealed(row id, value)")
        return value

    # How a value becomes bytes, and what is sealed a value of the column: bytes as they are.

    def kept(self, value: Any) -> Any:  # noqa: ANN401
        """Return what the column takes where there are no keys."""
        return value

    def found(self, value: Any) -> Any:  # noqa: ANN401
        """Inverse of kept."""
        return value

    def encode(self, value: Any) -> bytes:  # noqa: ANN401
        """Return what is sealed."""
        data: bytes = value
        return data

    def decode(self, data: bytes) -> Any:  # noqa: ANN401
        """Inverse of encode."""
        return data

    def packed(self, data: bytes) -> Any:  # noqa: ANN401
        """Return what the column takes."""
        return data

    def unpacked(self, value: Any) -> bytes:  # noqa: ANN401
        """Inverse of packed."""
        data: bytes = value
        return data

    def is_sealed(self, value: Any) -> bool:  # noqa: ANN401
        """Tell it from a plain value."""
        return bool(value.startswith(MARK))


class SealedBytes(SealedType):
    """Bytes as compress.shrink returns them; b"" stays b"": they were let go."""

    cache_ok = True


class SealedPackedJson(SealedBytes):
    """A large JSON object, compressed in both modes, as columns.PackedJson."""

    cache_ok = True

    def encode(self, value: Any) -> bytes:  # noqa: ANN401
        """Write and compress."""
        return shrink(orjson.dumps(value))

    def decode(self, data: bytes) -> Any:  # noqa: ANN401
        """Inverse of encode."""
        return orjson.loads(expand(data))

    def kept(self, value: Any) -> bytes:  # noqa: ANN401
        """Compress it in either mode."""
        return self.encode(value)

    def found(self, value: Any) -> Any:  # noqa: ANN401
        """Inverse of kept."""
        return self.decode(value)


class SealedText(SealedType):
    """Text: behind the key's id in base64."""

    impl: TypeEngine[Any] | type[TypeEngine[Any]] = String
    cache_ok = True

    def encode(self, value: str) -> bytes:
        """Return UTF-8."""
        return value.encode()

    def decode(self, data: bytes) -> str:
        """Inverse of encode."""
        return data.decode()

    def packed(self, data: bytes) -> str:
        """Keep mark and id readable."""
        return sealed_text(data)

    def unpacked(self, value: str) -> bytes:
        """Inverse of packed."""
        return sealed_bytes(value)

    def is_sealed(self, value: Any) -> bool:  # noqa: ANN401
        """Tell it from a plain value."""
        return isinstance(value, str) and value.startswith(TEXT_MARK)


class SealedLongText(SealedText):
    """Text where the column is TEXT."""

    impl = Text
    cache_ok = True


class SealedJson(SealedText):
    """A JSON object or array; sealed it is a JSON string."""

    impl = JSON
    cache_ok = True

    def __init__(self, place: str) -> None:
        super().__init__(place)
        self.impl.none_as_null = True

    def encode(self, value: Any) -> bytes:  # noqa: ANN401
        """Return it compressed."""
        return shrink(orjson.dumps(value))

    def decode(self, data: bytes) -> Any:  # noqa: ANN401
        """Inverse of encode."""
        return orjson.loads(expand(data))


class SoughtInPart(HisbundleError, DontWrapMixin):
    """A sealed identifier was looked for by a part of it: `filter-malformed`."""


@dataclass(frozen=True, repr=False)
class _Sought:
    """A value to look for, as one of the index keys has it; the last place stands for plain."""

    value: str
    place: int


class Token(TypeDecorator[str]):
    """What an identifier of one kind is found by; never read. `of`: the column beside it."""

    impl = String
    cache_ok = True

    def __init__(self, kind: str, of: str) -> None:
        super().__init__()
        self.kind, self.of = kind, of

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:  # noqa: ANN401
        """Return the token under the first index key, or the one that is looked for."""
        keyring = keyring_of(dialect)
        plain: str | None = value.value if isinstance(value, _Sought) else value
        if keyring is None or plain is None:
            return plain
        if not isinstance(value, _Sought):
            return keyring.token(self.kind, plain)
        if value.place == MAX_INDEX_KEYS:
            return plain
        keys = keyring.index_keys
        return keyring.token(self.kind, plain, keys[min(value.place, len(keys) - 1)])

    def coerce_compared_value(self, op: OperatorType | None, value: Any) -> TypeEngine[Any]:  # noqa: ANN401
        """Let jokers fit plain values alone."""
        return _Pattern() if op is like_op else self


class Pseudonym(TypeDecorator[UUID]):
    """What is the same for the same patient, to those who have no index key without saying whom."""

    impl = Uuid
    cache_ok = True

    def process_bind_param(self, value: UUID | None, dialect: Dialect) -> UUID | None:
        """Hash it with the first index key."""
        keyring = keyring_of(dialect)
        return value if value is None or keyring is None else keyring.pseudonym(value)


class _Pattern(TypeDecorator[str]):
    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Refuse it where there is nothing that it could fit."""
        if keyring_of(dialect) is not None:
            raise SoughtInPart("filter-malformed", "sealed identifiers are found whole, without *")
        return value


def is_one_of(
    token: InstrumentedAttribute[str | None], values: Iterable[str]
) -> ColumnElement[bool]:
    """Return the condition that an identifier is one of some, whichever key indexed it."""
    sought = [_Sought(v, place) for v in values for place in range(MAX_INDEX_KEYS + 1)]
    return token.in_(sought) if sought else false()


def is_same(token: InstrumentedAttribute[str | None], value: str | None) -> ColumnElement[bool]:
    """Return the condition that an identifier is this one, or that there is none either."""
    return token.is_(None) if value is None else is_one_of(token, [value])
