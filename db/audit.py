"""The audit log: what was decided, sent, confirmed and looked at; append-only and hash-chained.

An entry is written in the transaction of what it tells of. Soon after, `seal_audit` gives it the
next number and the hash of itself and of its predecessor's hash, so that from then on no entry can
be changed, taken out or put in between without the chain breaking. Sealing apart from writing keeps
one chain without making every transaction of every worker wait for every other one.

What the chain cannot see is its own end being cut off: whoever keeps the head (`audit_head`, also
in the process log) elsewhere, sees that too.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, delete, func, select
from sqlalchemy.orm import Session

from db.sessions import Sessions
from db.upkeep_tables import AuditRow

GENESIS = "0" * 64  # stands before the first entry
_LOCK = 0x4845_4152_5453  # of PostgreSQL's advisory locks: one process seals at a time
_PAGE = 1000
_PRUNED_AT_ONCE = 5000  # a tenth of a second on SQLite, for which whoever writes has to wait


class AuditKind(StrEnum):
    """What an entry tells of."""

    DECISION = "decision"  # a model's findings on an ECG
    DELIVERY = "delivery"  # a report's end at a destination
    CONFIRMATION = "confirmation"  # what a clinician made of a report
    ACCESS = "access"  # somebody read a report, a page or an ECG
    OPERATION = "operation"  # an administrator's act: a replay, an import, a discard
    PRUNED = "pruned"  # older entries were removed, as retention says


@dataclass(frozen=True)
class AuditEntry:
    """One entry; no patient data in it.

    Attributes:
        kind: what it tells of.
        at: when it happened.
        actor: who: a program, an authenticated client, an operator's name.
        exam_id: of which ECG, if of one.
        content: plain values.
    """

    kind: AuditKind
    at: datetime
    actor: str
    exam_id: UUID | None
    content: dict[str, Any]


@dataclass(frozen=True)
class SealedEntry:
    """An entry with its place in the chain.

    Attributes:
        number: from 1, without gaps.
        sha256: of the entry and of `previous`.
        previous: hash of the entry before, or GENESIS.
    """

    entry: AuditEntry
    number: int
    sha256: str
    previous: str


@dataclass(frozen=True)
class Verification:
    """What came of a walk along the chain.

    Attributes:
        entries: sealed ones that were read.
        head: number and hash of the last one, or (0, GENESIS).
        unsealed: entries that wait to be sealed.
        broken_at: number of the first entry that does not fit, or None.
        fault: what is wrong there: `changed`, `missing`, `cut-off`, `other-head`.
    """

    entries: int
    head: tuple[int, str]
    unsealed: int
    broken_at: int | None = None
    fault: str | None = None


def add_entry(session: Session, entry: AuditEntry) -> None:
    """Write an entry in the caller's transaction."""
    session.add(
        AuditRow(
            at=entry.at,
            kind=entry.kind,
            actor=entry.actor,
            exam_id=entry.exam_id,
            content=_canonical(entry.content),
        )
    )


class Audit(Sessions):
    """The audit log."""

    def record_audit(self, *entries: AuditEntry) -> None:
        """Write entries on their own, all or none."""

        def write(session: Session) -> None:
            for entry in entries:
                add_entry(session, entry)

        self._commit(write)

    def seal_audit(self, limit: int = _PAGE) -> int:
        """Chain up to `limit` entries that are not yet; return how many."""
        unsealed = select(AuditRow).where(AuditRow.number.is_(None))
        with self._reading() as session:
            if session.scalars(unsealed.limit(1)).first() is None:
                return 0
        with self._writing() as session:
            if session.get_bind().dialect.name == "postgresql":
                session.execute(select(func.pg_advisory_xact_lock(_LOCK)))
            number, head = _head(session)
            rows = session.scalars(unsealed.order_by(AuditRow.id).limit(limit)).all()
            for row in rows:
                number += 1
                row.number, row.previous = number, head
                row.sha256 = head = _hash(row, number, head)
        return len(rows)

    def audit_head(self) -> tuple[int, str]:
        """Return number and hash of the last entry: to be kept where nobody here can write."""
        with self._reading() as session:
            return _head(session)

    def verify_audit(self, kept_head: tuple[int, str] | None = None) -> Verification:
        """Walk along the whole chain.

        Args:
            kept_head: a head that was noted elsewhere: the chain has to hold it.
        """
        while True:
            first = self._first_number()
            told = self._walk(kept_head)
            if told.fault != "missing" or self._first_number() == first:
                return told
            # Entries were pruned while it walked: it begins anew, where the chain does now.

    def _first_number(self) -> int | None:
        with self._reading() as session:
            return session.scalar(select(func.min(AuditRow.number)))

    def _walk(self, kept_head: tuple[int, str] | None) -> Verification:
        number, head, entries = 0, GENESIS, 0
        seen = kept_head is None or kept_head == (0, GENESIS)
        with self._reading() as session:
            unsealed = session.scalars(select(func.count()).where(AuditRow.number.is_(None))).one()
        for row in self._sealed():
            entries += 1
            if fault := self._fault(row, number, head):
                return Verification(entries, (number, head), unsealed, number + 1, fault)
            number, head = int(row.number or 0), str(row.sha256)
            seen = seen or (number, head) == kept_head
        if not seen and kept_head is not None:
            cut = kept_head[0] > number
            fault = "cut-off" if cut else "other-head"
            at = number + 1 if cut else kept_head[0]
            return Verification(entries, (number, head), unsealed, at, fault)
        return Verification(entries, (number, head), unsealed)

    def _fault(self, row: AuditRow, number: int, head: str) -> str | None:
        """Return what is wrong with the entry after number `number`, whose hash is `head`."""
        begins_later = number == 0 and row.number != 1
        if begins_later:
            if not self._pruned(int(row.number or 0) - 1, str(row.previous)):
                return "missing"
        elif row.number != number + 1:
            return "missing"
        elif row.previous != head:
            return "changed"
        sound = row.sha256 == _hash(row, int(row.number or 0), str(row.previous))
        return None if sound else "changed"

    def _pruned(self, through: int, sha256: str) -> bool:
        """Whether an entry says that all up to `through` were removed."""
        told = select(AuditRow.content).where(AuditRow.kind == AuditKind.PRUNED)
        with self._reading() as session:
            contents = [json.loads(content) for content in session.scalars(told)]
        return any((c["through"], c["sha256"]) == (through, sha256) for c in contents)

    def audit_entries(
        self,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        exam_id: UUID | None = None,
    ) -> Iterator[SealedEntry]:
        """Yield sealed entries in their order, from `since` on and before `until`."""
        conditions: list[ColumnElement[bool]] = []
        if since is not None:
            conditions.append(AuditRow.at >= since)
        if until is not None:
            conditions.append(AuditRow.at < until)
        if exam_id is not None:
            conditions.append(AuditRow.exam_id == exam_id)
        yield from (_entry(row) for row in self._sealed(*conditions))

    def prune_audit(
        self,
        before: datetime,
        actor: str,
        now: datetime,
        told: Callable[[int], None] = lambda _: None,
    ) -> int:
        """Remove sealed entries from before, from the chain's beginning; return how many.

        It takes short transactions. What each removed is itself an entry, which holds the hash that
        the rest goes on from: the chain is sound after each.

        Args:
            before: older ones go.
            actor: who asked for it.
            now: the present.
            told: hears how many more entries are gone.
        """
        with self._reading() as session:
            number, _ = _head(session)
            kept = session.scalar(select(func.min(AuditRow.number)).where(AuditRow.at >= before))
        end = number if kept is None else kept  # the head itself always stays
        count = 0
        while gone := self._prune_front(end, actor, now):
            count += gone
            told(gone)
        return count

    def _prune_front(self, end: int, actor: str, now: datetime) -> int:
        """Remove the first entries, of those with numbers below `end`; return how many."""
        first = (
            select(AuditRow.number, AuditRow.sha256)
            .where(AuditRow.number < end)
            .order_by(AuditRow.number)
            .limit(_PRUNED_AT_ONCE)
        )
        with self._writing() as session:
            piece = session.execute(first).all()
            if not piece:
                return 0
            through, sha256 = piece[-1]
            content = {"through": through, "sha256": sha256}
            add_entry(session, AuditEntry(AuditKind.PRUNED, now, actor, None, content))
            session.execute(delete(AuditRow).where(AuditRow.number <= through))
        return len(piece)

    def _sealed(self, *conditions: ColumnElement[bool]) -> Iterator[AuditRow]:
        """Yield sealed rows in their order, a page at a time: nobody waits for a long reader."""
        page = select(AuditRow).where(*conditions).order_by(AuditRow.number).limit(_PAGE)
        after = 0
        while True:
            with self._reading() as session:
                rows = session.scalars(page.where(AuditRow.number > after)).all()
            if not rows:
                return
            yield from rows
            after = rows[-1].number or 0


def _head(session: Session) -> tuple[int, str]:
    last = session.execute(
        select(AuditRow.number, AuditRow.sha256)
        .where(AuditRow.number.is_not(None))
        .order_by(AuditRow.number.desc())
        .limit(1)
    ).one_or_none()
    return (0, GENESIS) if last is None else (last[0] or 0, last[1] or GENESIS)


def _hash(row: AuditRow, number: int, previous: str) -> str:
    parts = [
        number,
        previous,
        row.at.isoformat(),
        str(row.kind),
        row.actor,
        str(row.exam_id or ""),
        row.content,
    ]
    return hashlib.sha256(_canonical(parts).encode()).hexdigest()


def _canonical(value: object) -> str:
    """Return the one JSON text of a value, so that its hash is always the same."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _entry(row: AuditRow) -> SealedEntry:
    entry = AuditEntry(AuditKind(row.kind), row.at, row.actor, row.exam_id, json.loads(row.content))
    return SealedEntry(entry, int(row.number or 0), str(row.sha256), str(row.previous))
