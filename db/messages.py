"""From a message's arrival to its exams."""

import hashlib
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import cache
from uuid import UUID

from sqlalchemy import Executable, bindparam, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from db.beds import add_moves, associate, hold_beds, patient_in
from db.clinical import Incoming
from db.columns import LABEL_LENGTH
from db.compress import expand
from db.errors import NotFound
from db.mapping import (
    exam_values,
    message_values,
    order_values,
    patient_values,
    waveform_values,
)
from db.records import ExamState, MessageState, NewExam, NewMessage, Receipt, keepable
from db.results import add_orders, add_results, placer_of
from db.sealed import opened
from db.sessions import Sessions
from db.tables import ExamRow, MessageRow, WaveformRow

# Built once: on the way of every message the building would take longer than the database.
_NEW_EXAM, _NEW_WAVEFORM = insert(ExamRow), insert(WaveformRow)
_NAMED = (
    (MessageRow.sender == bindparam("of_sender"))
    & (MessageRow.control_id == bindparam("of_control_id"))
    & (MessageRow.protocol == bindparam("of_protocol"))
    & (MessageRow.state != MessageState.REFUSED)
)
_NAMESAKE = (
    select(MessageRow.id, MessageRow.conflict_at)
    .where(_NAMED, MessageRow.id != bindparam("but"))
    .limit(1)
)
_MARK = (
    update(MessageRow)
    .where(MessageRow.id == bindparam("marked"))
    .values(conflict_at=bindparam("at"))
)


class Messages(Sessions):
    """Messages."""

    def accept(self, incoming: Incoming, *, rung: bool = False) -> Receipt:
        """Store one message; see accept_all."""
        (receipt,) = self.accept_all([incoming], rung=rung)
        return receipt

    def accept_all(self, incoming: Sequence[Incoming], *, rung: bool = False) -> list[Receipt]:
        """Store messages, their answers and exams in one transaction, one after the other.

        Of one that is there already the receipt has the first answer that it got. A message that
        was refused and is not any more, because settings or software have changed since, is taken
        as if it came for the first time.

        Args:
            incoming: in the order of their arrival.
            rung: whether the caller rings a worker for each exam next: the sweep then waits its
                grace period; otherwise the next sweep rings.

        Returns:
            A receipt for each.

        Raises:
            StoreUnavailable: nothing was stored.
        """
        if self._room is not None:
            self._room.check()
        # Compressed before the transaction: SQLite has one writer at a time.
        jobs = [self._storing(one, rung=rung) for one in incoming]
        moved = any(one.clinical.moves for one in incoming)
        asks = any(exam.patient is None for one in incoming for exam in one.exams)

        def store(session: Session) -> list[Receipt]:
            if moved or asks:
                hold_beds(session, moved=moved)
            return [job(session) for job in jobs]

        return self._commit(store)

    def answers_to(self, protocol: str, control_id: str) -> tuple[bytes, ...]:
        """Return what the messages of this control id were answered that were taken.

        Args:
            protocol: as `NewMessage` has it.
            control_id: of any sender's; one that is too long to be kept whole has none.
        """
        if not keepable(control_id) or len(control_id) > LABEL_LENGTH:
            return ()
        taken = select(MessageRow.id, MessageRow.answer).where(
            MessageRow.control_id == control_id,
            MessageRow.protocol == protocol,
            MessageRow.state == MessageState.ACCEPTED,
        )
        with self._reading() as session:
            return tuple(expand(answer.open(id_)) for id_, answer in session.execute(taken))

    def message_raw(self, message_id: UUID) -> bytes:
        """Return a message's bytes.

        Raises:
            NotFound: no such message, or its bytes were let go by retention.
        """
        with self._reading() as session:
            found = session.scalar(select(MessageRow.raw).where(MessageRow.id == message_id))
        raw = opened(found, message_id)
        if not raw:
            raise NotFound("not-found", f"no message {message_id}, or not its bytes any more")
        return expand(raw)

    def _storing(self, one: Incoming, *, rung: bool) -> Callable[[Session], Receipt]:
        """Return what stores a message in a transaction."""
        message, exams, clinical = one.message, one.exams, one.clinical
        row = message_values(message, one.state, one.reason, one.answer)
        rung_at = message.received_at if rung else None
        exam_rows = [
            exam_values(message, i, exam, rung_at, self._lane) for i, exam in enumerate(exams)
        ]
        waveforms = [waveform_values(message.exam_id(i), e.ecg) for i, e in enumerate(exams)]

        def store(session: Session) -> Receipt:
            if not _insert_if_new_or_mended(session, row):
                first = session.scalars(
                    select(MessageRow.answer).where(MessageRow.id == message.id)
                ).one()
                return Receipt(message.id, expand(first.open(message.id)), (), duplicate=True)
            resolved: list[dict[str, object]] = []
            if exam_rows:
                resolved = [
                    _resolve(session, message.exam_id(i), *pair)
                    for i, pair in enumerate(zip(exam_rows, exams, strict=True))
                ]
                session.connection().execute(_NEW_EXAM, resolved)
                session.connection().execute(_NEW_WAVEFORM, waveforms)
            add_results(session, message, clinical.results)
            add_orders(session, message, clinical.orders)
            add_moves(session, message, clinical.moves)
            exam_ids = (
                *(message.exam_id(i) for i, exam in enumerate(resolved) if _is_known(exam)),
                *associate(session, clinical.moves, rung_at),
            )
            conflict = one.state != MessageState.REFUSED and _mark_conflict(session, message)
            return Receipt(message.id, one.answer, exam_ids, duplicate=False, conflict=conflict)

        return store


def _insert_if_new_or_mended(session: Session, values: dict[str, object]) -> bool:
    """Insert a message; return False when it is there, also when another one inserts it now."""
    statement = _upsert(session.get_bind().dialect.name)
    return session.connection().execute(statement, values).scalar() is not None


@cache
def _upsert(dialect: str) -> Executable:
    insert = (postgresql.insert if dialect == "postgresql" else sqlite.insert)(MessageRow)
    return insert.on_conflict_do_update(
        index_elements=["id"],
        set_={name: insert.excluded[name] for name in ("state", "reason", "answer")},
        where=(MessageRow.state == MessageState.REFUSED)
        & (insert.excluded.state != MessageState.REFUSED),
    ).returning(MessageRow.id)


def _mark_conflict(session: Session, message: NewMessage) -> bool:
    """Mark this message and its namesakes, if the sender has used its control id before.

    One that was refused does not count: sent again mended, under the same id, it is what it was.
    """
    if not message.control_id:
        return False
    if session.get_bind().dialect.name == "postgresql":
        # Of two that arrive at the same time, the second has to see the first.
        name = f"{message.protocol}\x1f{message.sender}\x1f{message.control_id}"
        key = int.from_bytes(
            hashlib.sha256(name.encode(errors="replace")).digest()[:8], signed=True
        )
        session.execute(select(func.pg_advisory_xact_lock(key)))
    named = {
        "of_sender": message.sender,
        "of_control_id": message.control_id,
        "of_protocol": message.protocol,
    }
    connection = session.connection()
    other = connection.execute(_NAMESAKE, named | {"but": message.id}).first()
    if other is None:
        return False
    # Any one tells of all: two are marked at once, so among more each is marked already. Senders
    # are in the field that give every message the same control id.
    unmarked = [message.id] if other.conflict_at else [message.id, other.id]
    marks = [{"marked": id_, "at": message.received_at} for id_ in unmarked]
    connection.execute(_MARK, marks)
    return True


def _resolve(
    session: Session, exam_id: UUID, values: dict[str, object], exam: NewExam
) -> dict[str, object]:
    """Return an exam's row with what earlier messages know of it: who lay in its bed, its order."""
    patient = exam.patient
    if patient is None and exam.bed and isinstance(exam.acquired, datetime):
        patient = patient_in(session, exam.bed, exam.acquired)
    if patient is None:
        return values | {"state": ExamState.UNASSOCIATED, "rung_at": None}
    placer = exam.placer_order
    if placer is None and exam.filler_order is not None:
        placer = placer_of(session, patient, exam.filler_order)
    return values | patient_values(exam_id, patient) | order_values(exam_id, placer)


def _is_known(exam: dict[str, object]) -> bool:
    return exam["state"] == ExamState.RECEIVED
