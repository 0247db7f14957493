"""What is kept for how long: only what has ended goes, and nothing that is held.

A message's row, its hash, its answer and its exams' states stay, so that a message that comes again
after its bytes are gone is still the same message and makes no second ECG. What goes: the bytes of
messages, the samples of ECGs, assessments with their reports, refused messages as a whole, and of
continuous recordings the samples and windows; their episodes stay, with the ECGs that tell of them.
Errors have a period of their own, because they are wanted for longer. Of ECGs that belong to one
message each goes by its own age and state; the message's bytes stay for the last of them.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, delete, func, or_, select, text, update
from sqlalchemy.orm import Session

from db.audit import Audit, AuditEntry, AuditKind, add_entry
from db.engine import faults
from db.errors import NotFound
from db.records import DeliveryState, ExamState, MessageState
from db.sealed import is_one_of, opened, sealed
from db.stream_tables import ChunkRow, EpisodeRow, StreamRow, WindowRow
from db.streaming import StreamState
from db.tables import AssessmentRow, DeliveryRow, ExamRow, MessageRow, ReportRow, WaveformRow
from db.upkeep_tables import AlertRow, AuditRow, DiscardRow, HoldRow

_PIECE = 500  # rows a transaction: a listener that waits for the lock waits shortly
_GONE = b""  # stands where a message's bytes were; what shrink returns is never empty
_ENDED = (ExamState.DELIVERED, ExamState.UNSCORABLE, ExamState.STITCHED)
_HALTED = (ExamState.FAILED, ExamState.UNDELIVERABLE)

_Rows = Select[*tuple[Any, ...]]
_Take = Callable[[Session, Sequence[UUID]], None]


@dataclass(frozen=True)
class Periods:
    """How long each kind is kept; None: for ever."""

    messages: timedelta | None = None
    waveforms: timedelta | None = None
    assessments: timedelta | None = None
    errors: timedelta | None = None
    audit: timedelta | None = None
    recordings: timedelta | None = None


@dataclass(frozen=True)
class Pruned:
    """How many went, or would go."""

    messages: int = 0
    waveforms: int = 0
    assessments: int = 0
    errors: int = 0  # refused messages; samples of halted ECGs; bytes of the messages of those
    audit: int = 0
    recordings: int = 0  # packets


@dataclass(frozen=True)
class Hold:
    """Somebody's word that what belongs to a patient or an ECG has to stay.

    Attributes:
        patient_identifier: every ECG of this patient, whoever assigned it; or None.
        exam_id: this ECG; or None.
    """

    id: UUID
    at: datetime
    actor: str
    why: str
    patient_identifier: str | None
    exam_id: UUID | None


class Retention(Audit):
    """Pruning and holding."""

    def prunable(self, periods: Periods, now: datetime) -> Pruned:
        """Return how many `prune` would take; nothing is changed."""
        counts: dict[str, int] = {}
        with self._reading() as session:
            for kind, period in _given(periods):
                due = [rows.subquery() for rows in _due_rows(session, kind, now - period)]
                counted = (select(func.count()).select_from(rows) for rows in due)
                counts[kind] = sum(session.scalars(count).one() for count in counted)
        return Pruned(**counts)

    def prune(
        self,
        periods: Periods,
        now: datetime,
        actor: str,
        told: Callable[[int], None] = lambda _: None,
    ) -> Pruned:
        """Take what is past its period, in short transactions; also in the audit log.

        Args:
            periods: how long each kind is kept.
            now: the present.
            actor: who asked for it.
            told: hears how many more rows are gone.
        """
        counts: dict[str, int] = {}
        for kind, period in _given(periods):
            before = now - period
            if kind == "audit":
                counts[kind] = self.prune_audit(before, actor, now, told)
                continue
            counts[kind] = 0
            while taken := self._prune_piece(kind, before):
                counts[kind] += taken
                told(taken)
        pruned = Pruned(**counts)
        if any(counts.values()):
            content = {"pruned": counts}
            self.record_audit(AuditEntry(AuditKind.OPERATION, now, actor, None, content))
        return pruned

    def _prune_piece(self, kind: str, before: datetime) -> int:
        with self._writing() as session:
            if kind == "recordings":
                return _take_packets(session, before)
            for rows, take in _due(kind, before, _held_by(session)):
                if ids := session.scalars(rows.limit(_PIECE)).all():
                    take(session, ids)
                    return len(ids)
        return 0

    def add_hold(self, hold: Hold) -> None:
        """Record a hold, also in the audit log."""
        with self._writing() as session:
            session.add(
                HoldRow(
                    id=hold.id,
                    at=hold.at,
                    actor=hold.actor,
                    why=hold.why,
                    patient_identifier=sealed(hold.id, hold.patient_identifier),
                    exam_id=hold.exam_id,
                )
            )
            content = {"hold": str(hold.id), "why": hold.why}
            add_entry(
                session,
                AuditEntry(AuditKind.OPERATION, hold.at, hold.actor, hold.exam_id, content),
            )

    def release_hold(self, hold_id: UUID, actor: str, now: datetime) -> None:
        """End a hold, also in the audit log.

        Raises:
            NotFound: no such hold.
        """
        gone = delete(HoldRow).where(HoldRow.id == hold_id).returning(HoldRow.id)
        with self._writing() as session:
            if session.scalar(gone) is None:
                raise NotFound("not-found", f"no hold {hold_id}")
            content = {"released": str(hold_id)}
            add_entry(session, AuditEntry(AuditKind.OPERATION, now, actor, None, content))

    def holds(self) -> tuple[Hold, ...]:
        """Return the holds, oldest first, without their patients: one of no ECG is of a patient."""
        columns = (HoldRow.id, HoldRow.at, HoldRow.actor, HoldRow.why, HoldRow.exam_id)
        with self._reading() as session:
            rows = session.execute(select(*columns).order_by(HoldRow.at)).all()
        return tuple(Hold(row.id, row.at, row.actor, row.why, None, row.exam_id) for row in rows)

    def database_bytes(self) -> int:
        """Return the size of the database: of its pages in SQLite, as PostgreSQL tells it."""
        sqlite = "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()"
        postgresql = "SELECT pg_database_size(current_database())"
        with self._reading() as session:
            found = session.get_bind().dialect.name
            return int(session.scalar(text(sqlite if found == "sqlite" else postgresql)) or 0)

    def vacuum(self) -> None:
        """Give freed space of SQLite back to the disk; it needs as much again while it works.

        PostgreSQL's autovacuum lets freed space be used again by itself.
        """
        if self._engine.dialect.name == "sqlite":
            with faults(), closing(self._engine.raw_connection()) as connection:
                connection.cursor().execute("VACUUM")  # never inside a transaction


def _given(periods: Periods) -> list[tuple[str, timedelta]]:
    values = ((f.name, getattr(periods, f.name)) for f in fields(Periods))
    return [(kind, period) for kind, period in values if period is not None]


def _due_rows(session: Session, kind: str, before: datetime) -> list[_Rows]:
    """Return selects of what is past its time."""
    match kind:
        case "recordings":
            return [_due_packets(session, before)]
        case "audit":
            return [select(AuditRow.id).where(AuditRow.at < before, AuditRow.number.is_not(None))]
        case _:
            return [rows for rows, _ in _due(kind, before, _held_by(session))]


def _due(kind: str, before: datetime, held: ColumnElement[bool]) -> list[tuple[_Rows, _Take]]:
    """Return selects of the ids of what is past its time, each with what takes them."""
    ended, halted = _past(_ENDED, before, held), _past(_HALTED, before, held)
    old = MessageRow.received_at < before
    there = MessageRow.raw != _GONE
    refused = MessageRow.state == MessageState.REFUSED
    match kind:
        case "messages":
            kept = select(ExamRow.message_id).where(or_(ExamRow.state.not_in(_ENDED), held))
            idle = MessageRow.id.not_in(kept)
            return [(select(MessageRow.id).where(old, there, ~refused, idle), _take_raw)]
        case "waveforms":
            return [(_of_exams(WaveformRow, ended), _take_waveforms)]
        case "assessments":
            return [(_of_exams(AssessmentRow, ended), _take_assessments)]
        case _:  # errors
            theirs = MessageRow.id.in_(select(ExamRow.message_id).where(halted))
            wanted = select(ExamRow.id).where(
                ExamRow.message_id == MessageRow.id, ~or_(ended, halted)
            )
            return [
                (select(MessageRow.id).where(old, refused), _take_refused),
                (_of_exams(WaveformRow, halted), _take_waveforms),
                (select(MessageRow.id).where(there, theirs, ~wanted.exists()), _take_raw),
            ]


def _past(
    states: Sequence[ExamState], before: datetime, held: ColumnElement[bool]
) -> ColumnElement[bool]:
    """Whether an exam in one of these states is past its time."""
    old = ExamRow.received_at < before
    return and_(old, ~held, ExamRow.state.in_(states), ~_on_its_way(), ~_goes_on())


def _of_exams(table: type[WaveformRow | AssessmentRow], which: ColumnElement[bool]) -> Select[UUID]:
    return select(table.exam_id).join(ExamRow, ExamRow.id == table.exam_id).where(which)


def _held_by(session: Session) -> ColumnElement[bool]:
    """Return the condition that an exam is held, now; patients are looked for by name."""
    holds = session.scalars(select(HoldRow)).all()
    names = _names(holds)
    exams = [hold.exam_id for hold in holds if hold.exam_id is not None]
    of_patient = and_(ExamRow.patient_token.is_not(None), is_one_of(ExamRow.patient_token, names))
    return or_(of_patient, ExamRow.id.in_(exams))


def _names(holds: Iterable[HoldRow]) -> set[str]:
    return {name for name in map(_held_patient, holds) if name is not None}


def _due_packets(session: Session, before: datetime) -> Select[UUID, datetime]:
    """Return a select of the packets of continuous recordings that are past their time.

    Those of windows that no worker has read yet stay, however old they are.
    """
    held = is_one_of(StreamRow.patient_token, _names(session.scalars(select(HoldRow))))
    read = or_(StreamRow.state == StreamState.OVER, ChunkRow.start < StreamRow.made_to)
    return (
        select(ChunkRow.stream_id, ChunkRow.start)
        .join(StreamRow, StreamRow.id == ChunkRow.stream_id)
        .where(ChunkRow.start < before, ~held, read)
    )


def _take_packets(session: Session, before: datetime) -> int:
    """Take the oldest packets of a few streams, with the windows that they were read in."""
    due = _due_packets(session, before).order_by(ChunkRow.stream_id, ChunkRow.start)
    last = {row.stream_id: row.start for row in session.execute(due.limit(_PIECE))}
    count = 0
    for stream_id, start in last.items():
        own = (ChunkRow.stream_id == stream_id) & (ChunkRow.start <= start)
        count += session.execute(delete(ChunkRow).where(own)).rowcount  # type: ignore[attr-defined]
        windows = (WindowRow.stream_id == stream_id) & (WindowRow.start <= start)
        session.execute(delete(WindowRow).where(windows))
    return count


def _held_patient(row: HoldRow) -> str | None:
    return opened(row.patient_identifier, row.id)


def _on_its_way() -> ColumnElement[bool]:
    """Whether some delivery of the exam has not ended."""
    pending = select(DeliveryRow.id).where(
        DeliveryRow.exam_id == ExamRow.id, DeliveryRow.state == DeliveryState.PENDING
    )
    return pending.exists()


def _goes_on() -> ColumnElement[bool]:
    """Whether the report on an exam will be made anew, to tell how its episode goes on or ended."""
    episode = (
        select(EpisodeRow.id)
        .join(AssessmentRow, AssessmentRow.exam_id == EpisodeRow.exam_id)
        .where(EpisodeRow.exam_id == ExamRow.id, EpisodeRow.told.is_(False))
    )
    return episode.exists()


def _take_raw(session: Session, ids: Sequence[UUID]) -> None:
    session.execute(update(MessageRow).where(MessageRow.id.in_(ids)).values(raw=_GONE))


def _take_waveforms(session: Session, ids: Sequence[UUID]) -> None:
    session.execute(delete(WaveformRow).where(WaveformRow.exam_id.in_(ids)))


def _take_assessments(session: Session, ids: Sequence[UUID]) -> None:
    for table in (DeliveryRow, ReportRow, AssessmentRow, AlertRow):
        session.execute(delete(table).where(table.exam_id.in_(ids)))


def _take_refused(session: Session, ids: Sequence[UUID]) -> None:
    session.execute(delete(DiscardRow).where(DiscardRow.subject_id.in_(ids)))
    session.execute(delete(MessageRow).where(MessageRow.id.in_(ids)))
