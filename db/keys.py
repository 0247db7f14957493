"""Which keys a database needs, and bringing all of it under the first ones.

Each key is noted before it is first used, with a proof of what it is: who opens the database with a
key missing, or with another one of its name, is told so and writes nothing others could not read.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    LargeBinary,
    Select,
    Table,
    Text,
    and_,
    case,
    cast,
    delete,
    func,
    or_,
    select,
    tuple_,
    type_coerce,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from db.audit import AuditEntry, AuditKind, add_entry
from db.columns import Base
from db.engine import without_hurry
from db.errors import Corrupt, StoreUnusable
from db.keyring import MARK, Key, Keyring
from db.records import DeliveryState
from db.sealed import (
    Sealed,
    SealedBytes,
    SealedJson,
    SealedType,
    Token,
    keyring_of,
    row_id,
    sealed_bytes,
    sealed_text,
)
from db.sessions import Sessions
from db.tables import DeliveryRow, MessageRow
from db.upkeep_tables import KeyRow

SEAL, INDEX = "seal", "index"  # kinds of keys
_PIECE = 50  # rows a transaction: a listener that waits for the lock waits shortly
_PROOF = "hisbundle"
_JSON_MARK = '"\\u0002'  # MARK at the beginning of a JSON string


@dataclass(frozen=True)
class KeyUse:
    """How many values a key holds.

    Attributes:
        kind: `seal` or `index`.
        id: None: those that are plain.
    """

    kind: str
    id: str | None
    count: int


class Keys(Sessions):
    """Keys of the database."""

    def check_keys(self) -> None:
        """Return when everything here can be opened, the keys that write noted from now on.

        Raises:
            StoreUnusable: `key-missing`: a key is not given that something may be sealed with;
                `key-wrong`: one is given that is not what went by its name.
        """
        keyring = keyring_of(self._engine.dialect)
        with self._reading() as session:
            noted = session.scalars(select(KeyRow)).all()
            empty = session.scalars(select(MessageRow.id).limit(1)).first() is None
        for row in noted:
            _prove(row, keyring)
        if keyring is None:
            return
        known, now = {(row.kind, row.id) for row in noted}, datetime.now(UTC)
        new = [
            {
                "kind": kind,
                "id": key.id,
                "since": now,
                "proof": _proof(keyring, kind, key),
                "complete_at": now if empty else None,
            }
            for kind, key in _writing(keyring)
            if (kind, key.id) not in known
        ]
        if new:
            with self._writing() as session:
                on_postgresql = session.get_bind().dialect.name == "postgresql"
                insert = (postgresql.insert if on_postgresql else sqlite.insert)(KeyRow)
                session.execute(insert.on_conflict_do_nothing(), new)

    def sealable_rows(self) -> int:
        """Return how many rows there are that have something to seal."""
        with self._reading() as session:
            without_hurry(session)
            return sum(
                session.scalars(select(func.count()).select_from(table)).one()
                for table in _tables()
            )

    def reseal(self, told: Callable[[int], None] = lambda _: None) -> int:
        """Bring everything under the first keys, in short transactions; return rows changed.

        What is there already is passed over, so it goes on where it was killed. Meanwhile
        everything is read and found as ever.

        Args:
            told: hears how many more rows were looked at.

        Raises:
            StoreUnusable: `key-missing`: there are no keys.
        """
        keyring = keyring_of(self._engine.dialect)
        if keyring is None:
            raise StoreUnusable("key-missing", "the settings name no keys")
        changed = sum(self._reseal(table, keyring, told) for table in _tables())
        with self._writing() as session:
            without_hurry(session)
            # Of what has ended nobody needs to know any more which were one patient's.
            ended = DeliveryRow.state != DeliveryState.PENDING
            named = ended & DeliveryRow.patient.is_not(None)
            session.execute(update(DeliveryRow).where(named).values(patient=None))
            session.execute(
                update(KeyRow).where(_writes(keyring)).values(complete_at=datetime.now(UTC))
            )
        return changed

    def is_resealed(self) -> bool:
        """Tell whether all was brought under the first keys, or under none where there are none."""
        keyring = keyring_of(self._engine.dialect)
        if keyring is None:
            return True
        complete = select(func.count()).where(_writes(keyring), KeyRow.complete_at.is_not(None))
        with self._reading() as session:
            return session.scalars(complete).one() == len((SEAL, INDEX))

    def _reseal(self, table: Table, keyring: Keyring, told: Callable[[int], None]) -> int:
        changed = 0
        key = list(table.primary_key)
        page = select(*key, _is_stale(table, keyring)).order_by(*key).limit(_PIECE)
        after: Sequence[Any] = ()
        while True:
            later = page.where(tuple_(*key) > tuple_(*after)) if after else page
            with self._reading() as session:
                rows = session.execute(later).all()
            if not rows:
                return changed
            if stale := [row[:-1] for row in rows if row[-1]]:
                with self._writing() as session:
                    changed += sum(_reseal_row(session, table, found) for found in stale)
            after = rows[-1][:-1]
            told(len(rows))

    def key_uses(self) -> tuple[KeyUse, ...]:
        """Return how many values each key that is noted holds; it looks at all of them."""
        with self._reading() as session:
            without_hurry(session)
            noted = [(row.kind, row.id) for row in session.scalars(select(KeyRow))]
            names = [(SEAL, None), (INDEX, None), *noted]
            counts = [0] * len(names)
            for table in _tables():
                found = session.execute(_counting(table, names)).one()
                counts = [count + (more or 0) for count, more in zip(counts, found, strict=True)]
        return tuple(KeyUse(*name, count) for name, count in zip(names, counts, strict=True))

    def forget_keys(self, actor: str) -> tuple[KeyUse, ...]:
        """Return the keys that hold nothing and do not write, noted no longer; also audited.

        The settings can do without them, once nothing runs any more that writes with them.
        """
        keyring = keyring_of(self._engine.dialect)
        writing = {(kind, key.id) for kind, key in _writing(keyring)} if keyring else set()
        unused = tuple(
            use
            for use in self.key_uses()
            if use.id is not None and not use.count and (use.kind, use.id) not in writing
        )
        if unused:
            with self._writing() as session:
                for use in unused:
                    gone = (KeyRow.kind == use.kind) & (KeyRow.id == use.id)
                    session.execute(delete(KeyRow).where(gone))
                content = {"keys_forgotten": [f"{use.kind} {use.id}" for use in unused]}
                now = datetime.now(UTC)
                add_entry(session, AuditEntry(AuditKind.OPERATION, now, actor, None, content))
        return unused


def _writing(keyring: Keyring) -> Iterator[tuple[str, Key]]:
    yield SEAL, keyring.keys[0]
    yield INDEX, keyring.index_keys[0]


def _writes(keyring: Keyring) -> ColumnElement[bool]:
    return or_(*(and_(KeyRow.kind == kind, KeyRow.id == key.id) for kind, key in _writing(keyring)))


def _proof(keyring: Keyring, kind: str, key: Key) -> str:
    if kind == INDEX:
        return keyring.token(_PROOF, _PROOF, key)
    return sealed_text(keyring.seal(_PROOF.encode(), key.mark))


def _prove(row: KeyRow, keyring: Keyring | None) -> None:
    given: Sequence[Key] = ()
    if keyring is not None:
        given = keyring.keys if row.kind == SEAL else keyring.index_keys
    key = next((key for key in given if key.id == row.id), None)
    if keyring is None or key is None:
        raise StoreUnusable("key-missing", f"the settings have no {row.kind} key {row.id}")
    try:
        if row.kind == INDEX:
            right = keyring.token(_PROOF, _PROOF, key) == row.proof
        else:
            right = keyring.open(sealed_bytes(row.proof), key.mark) == _PROOF.encode()
    except Corrupt:
        right = False
    if not right:
        raise StoreUnusable("key-wrong", f"{row.kind} key {row.id} is not what went by that name")


def _tables() -> list[Table]:
    return [table for table in Base.metadata.sorted_tables if _sealed(table)]


def _sealed(table: Table) -> list[Column[Any]]:
    return [column for column in table.c if isinstance(column.type, SealedType)]


def _tokens(table: Table) -> list[tuple[Column[Any], Column[Any]]]:
    """Return each token with the identifier that it stands for."""
    return [(c, table.c[c.type.of]) for c in table.c if isinstance(c.type, Token)]


def _is_stale(table: Table, keyring: Keyring) -> ColumnElement[bool]:
    """Return the condition that some value of a row is not under the first keys."""
    seal, index = keyring.keys[0].mark, keyring.index_keys[0].mark
    sealed = [and_(_is_there(c), ~_begins(c, seal)) for c in _sealed(table)]
    return or_(*sealed, *(and_(_is_there(of), ~_begins(c, index)) for c, of in _tokens(table)))


def _counting(table: Table, names: Sequence[tuple[str, str | None]]) -> Select[Any]:
    """Return how many values of a table are under each key."""
    columns = {SEAL: _sealed(table), INDEX: [token for token, _ in _tokens(table)]}
    counts = []
    for kind, id_ in names:
        hits = [
            and_(_is_there(c), ~_begins(c, MARK)) if id_ is None else _begins(c, Key(id_, b"").mark)
            for c in columns[kind]
        ]
        counts.append(sum((func.sum(case((hit, 1), else_=0)) for hit in hits), 0 * func.count()))
    return select(*counts).select_from(table)


def _is_there(column: Column[Any]) -> ColumnElement[bool]:
    if isinstance(column.type, SealedBytes):
        return func.length(type_coerce(column, LargeBinary)) > 0
    return column.is_not(None)


def _begins(column: Column[Any], mark: bytes) -> ColumnElement[bool]:
    """Return the condition that what is stored begins with a mark; false where nothing is."""
    if isinstance(column.type, SealedBytes):
        raw = type_coerce(column, LargeBinary)
        return func.substr(raw, 1, len(mark), type_=LargeBinary) == mark
    head = mark.decode()
    if isinstance(column.type, SealedJson):
        head = head.replace(MARK.decode(), _JSON_MARK)
    plain = func.coalesce(cast(column, Text), "")
    return func.substr(plain, 1, len(head), type_=Text) == head


def _reseal_row(session: Session, table: Table, found: Sequence[Any]) -> bool:
    """Write a row's values again as they are; tell whether it was still there."""
    key = list(table.primary_key)
    own = and_(*(column == value for column, value in zip(key, found, strict=True)))
    row = session.execute(select(table).where(own).with_for_update()).mappings().one_or_none()
    if row is None:
        return False
    id_ = row_id(*found)
    plain = {c.name: row[c.name].open(id_) for c in _sealed(table) if row[c.name] is not None}
    values: dict[str, Any] = {name: Sealed(id_, v) for name, v in plain.items() if v != b""}
    values |= {token.name: plain.get(of.name) for token, of in _tokens(table)}
    session.execute(update(table).where(own).values(values))
    return True
