"""What has come to a halt: refused messages, failed ECGs, reports that were given up; conflicts.

Each can be done again (`replays`) or discarded, which only says that nobody needs to look at it any
more: nothing of it is deleted.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, case, func, literal, null, select
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased

from db.audit import AuditEntry, AuditKind, add_entry
from db.errors import NotFound
from db.filters import Subject
from db.records import DeliveryState, ExamState, MessageState
from db.sessions import Sessions
from db.tables import DeliveryRow, ExamRow, MessageRow
from db.upkeep_tables import DiscardRow

_NAMESAKES_SHOWN = 20
_ANSWER_SHOWN = 80  # characters by which answers are told apart
CONFLICT = "control-id-conflict"  # stands for the reason of messages that share a control id


@dataclass(frozen=True)
class Halted:
    """What came to a halt for the same reason.

    Attributes:
        subject: messages, ECGs or deliveries.
        reason: stable code; of a delivery, its destination and what was answered.
        count: how many.
        oldest: received, of a delivery: due.
        newest: likewise.
        example: id of one of them.
    """

    subject: Subject
    reason: str
    count: int
    oldest: datetime
    newest: datetime
    example: UUID


@dataclass(frozen=True)
class Letter:
    """One of them, without what it says of a patient.

    Attributes:
        sender: of its message.
        control_id: of its message.
        size: bytes of its message.
        detail: of a delivery, what was answered.
        namesakes: of a message in conflict, the others of its sender and control id.
    """

    subject: Subject
    id: UUID
    message_id: UUID
    reason: str | None
    sender: str
    control_id: str
    received_at: datetime
    size: int
    detail: str | None
    discarded: str | None
    namesakes: tuple[UUID, ...] = ()


_READ = ("message_id", "reason", "sender", "control_id", "received_at", "size", "detail")


class DeadLetters(Sessions):
    """Reading and discarding them."""

    def halted(self) -> tuple[Halted, ...]:
        """Return them by reason, the most frequent first."""
        with self._reading() as session:
            groups = [group for kind in _KINDS for group in _grouped(session, kind)]
        return tuple(sorted(groups, key=lambda group: -group.count))

    def letter(self, id_: UUID) -> Letter:
        """Return a message, ECG or delivery by its id.

        Raises:
            NotFound: there is none.
        """
        with self._reading() as session:
            for subject, query in _letters(id_):
                row = session.execute(query).one_or_none()
                if row is not None:
                    why = session.scalar(select(DiscardRow.why).where(DiscardRow.subject_id == id_))
                    values: dict[str, Any] = dict(zip(_READ, row, strict=True))
                    if values["reason"] == CONFLICT:
                        values["namesakes"] = _namesakes(session, id_)
                    return Letter(subject=subject, id=id_, discarded=why, **values)
        raise NotFound("not-found", f"no message, ECG or delivery {id_}")

    def discard(self, id_: UUID, why: str, actor: str, now: datetime) -> None:
        """Say that one needs no more looking at; also in the audit log.

        Raises:
            NotFound: there is none.
        """
        letter = self.letter(id_)
        if letter.discarded is not None:
            return
        with self._writing() as session:
            session.merge(
                DiscardRow(subject_id=id_, subject=letter.subject, at=now, actor=actor, why=why)
            )
            content = {"discarded": str(id_), "subject": letter.subject.value, "why": why}
            add_entry(session, AuditEntry(AuditKind.OPERATION, now, actor, None, content))


@dataclass(frozen=True)
class _Kind:
    """A way to come to a halt."""

    subject: Subject
    where: ColumnElement[bool]
    reason: ColumnElement[str]
    key: InstrumentedAttribute[UUID]
    at: InstrumentedAttribute[datetime]


_ANSWER = func.substr(func.coalesce(DeliveryRow.last_answer, ""), 1, _ANSWER_SHOWN)
_KINDS = (
    _Kind(
        Subject.MESSAGE,
        MessageRow.state == MessageState.REFUSED,
        func.coalesce(MessageRow.reason, ""),
        MessageRow.id,
        MessageRow.received_at,
    ),
    _Kind(
        Subject.MESSAGE,
        MessageRow.conflict_at.is_not(None),
        literal(CONFLICT),
        MessageRow.id,
        MessageRow.received_at,
    ),
    _Kind(
        Subject.EXAM,
        ExamRow.state == ExamState.FAILED,
        func.coalesce(ExamRow.reason, ""),
        ExamRow.id,
        ExamRow.received_at,
    ),
    _Kind(
        Subject.DELIVERY,
        DeliveryRow.state == DeliveryState.UNDELIVERABLE,
        DeliveryRow.destination + ": " + _ANSWER,
        DeliveryRow.id,
        DeliveryRow.next_attempt_at,
    ),
)


def not_discarded(key: InstrumentedAttribute[UUID]) -> ColumnElement[bool]:
    """Return the condition that nobody has said of a subject that it needs no more looking at."""
    return key.not_in(select(DiscardRow.subject_id))


def _grouped(session: Session, kind: _Kind) -> list[Halted]:
    where = and_(kind.where, not_discarded(kind.key))
    of = select(kind.reason.label("why"), kind.key.label("id"), kind.at.label("at"))
    rows = of.where(where).subquery()
    counted = select(rows.c.why, func.count(), func.min(rows.c.at), func.max(rows.c.at))
    newest = select(rows.c.id).order_by(rows.c.at.desc(), rows.c.id).limit(1)
    return [
        Halted(
            kind.subject,
            why,
            count,
            oldest,
            latest,
            session.scalars(newest.where(rows.c.why == why)).one(),
        )
        for why, count, oldest, latest in session.execute(counted.group_by(rows.c.why))
    ]


def _namesakes(session: Session, id_: UUID) -> tuple[UUID, ...]:
    own, other = MessageRow, aliased(MessageRow)
    same = and_(
        other.sender == own.sender,
        other.control_id == own.control_id,
        other.protocol == own.protocol,
        other.conflict_at.is_not(None),
        other.id != own.id,
    )
    found = select(other.id).join(own, same).where(own.id == id_).order_by(other.received_at)
    return tuple(session.scalars(found.limit(_NAMESAKES_SHOWN)))


def _letters(id_: UUID) -> list[tuple[Subject, Select[*tuple[Any, ...]]]]:
    """Return for each subject what a Letter needs, in its order."""
    message = (MessageRow.sender, MessageRow.control_id, MessageRow.received_at)
    size, nothing = MessageRow.original_size, null()
    conflict = case((MessageRow.conflict_at.is_not(None), CONFLICT))
    reason = func.coalesce(MessageRow.reason, conflict)
    exam = select(MessageRow.id, ExamRow.reason, *message, size, nothing)
    delivery = select(MessageRow.id, DeliveryRow.state, *message, size, DeliveryRow.last_answer)
    return [
        (
            Subject.MESSAGE,
            select(MessageRow.id, reason, *message, size, nothing).where(MessageRow.id == id_),
        ),
        (Subject.EXAM, exam.join_from(ExamRow, MessageRow).where(ExamRow.id == id_)),
        (
            Subject.DELIVERY,
            delivery.select_from(DeliveryRow)
            .join(ExamRow, ExamRow.id == DeliveryRow.exam_id)
            .join(MessageRow, MessageRow.id == ExamRow.message_id)
            .where(DeliveryRow.id == id_),
        ),
    ]
