"""From a message's arrival to an exam's assessment."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from uuid import UUID, uuid5

from sqlalchemy import Executable, bindparam, func, insert, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session, defer

from db.beds import add_moves, associate, patient_in
from db.clinical import Clinical
from db.columns import LABEL_LENGTH
from db.compress import expand
from db.decisions import add_decision
from db.episodes import episode_finding
from db.errors import Corrupt, NotFound
from db.mapping import (
    assessment_row,
    delivery_row,
    exam_of,
    exam_values,
    message_values,
    order_values,
    patient_key,
    patient_values,
    report_row,
    review_of,
    waveform_values,
)
from db.oversight import raise_alert
from db.records import (
    FIRST_EPISODE,
    Assessed,
    Exam,
    ExamState,
    MessageState,
    NewAssessment,
    NewExam,
    NewMessage,
    Receipt,
    keepable,
)
from db.results import add_orders, add_results, placer_of
from db.sealed import opened
from db.sessions import Sessions
from db.tables import AssessmentRow, ExamRow, MessageRow, ReportRow, WaveformRow
from model.findings import Findings, Quality

_NOTHING_ELSE = Clinical()

# Built once: on the way of every message the building would take longer than the database.
_NEW_EXAM, _NEW_WAVEFORM = insert(ExamRow), insert(WaveformRow)
_NAMED = (
    (MessageRow.sender == bindparam("of_sender"))
    & (MessageRow.control_id == bindparam("of_control_id"))
    & (MessageRow.protocol == bindparam("of_protocol"))
    & (MessageRow.state != MessageState.REFUSED)
)
_NAMESAKE = select(MessageRow.id).where(_NAMED, MessageRow.id != bindparam("but"))
_MARK = update(MessageRow).where(_NAMED).values(conflict_at=bindparam("at"))


class Exams(Sessions):
    """Messages and exams."""

    def accept(
        self,
        message: NewMessage,
        state: MessageState,
        reason: str | None,
        answer: bytes,
        exams: Sequence[NewExam] = (),
        *,
        clinical: Clinical = _NOTHING_ELSE,
        rung: bool = False,
    ) -> Receipt:
        """Store a message, its answer and its exams, or return the first answer it got.

        A message that was refused and is not any more, because settings or software have changed
        since, is taken as if it came for the first time.

        Args:
            message: as it arrived.
            state: what became of it.
            reason: stable code, when refused.
            answer: to be sent once this returns.
            exams: its ECGs, in their order. A short one that says when it began is a packet, and
                waits for the others of its window. One that is known by its bed alone gets the
                patient who lay there, now or once it is told; it is never guessed.
            clinical: what else the message tells.
            rung: whether the caller rings a worker for each exam next: the sweep then waits its
                grace period; otherwise the next sweep rings.

        Raises:
            StoreUnavailable: nothing was stored.
        """
        if self._room is not None:
            self._room.check()
        # Compressed before the transaction: SQLite has one writer at a time.
        row = message_values(message, state, reason, answer)
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
            conflict = state != MessageState.REFUSED and _mark_conflict(session, message)
            return Receipt(message.id, answer, exam_ids, duplicate=False, conflict=conflict)

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

    def load_exam(self, exam_id: UUID) -> Exam:
        """Return an exam with its ECG.

        Raises:
            NotFound: no such exam, or one that is nobody's yet.
            Corrupt: its samples do not decode.
        """
        with self._reading() as session:
            row, waveform = _exam_rows(session, exam_id)
        return exam_of(row, waveform)

    def load_assessed(self, exam_id: UUID, version: int | None = None) -> Assessed:
        """Return an exam with what was found in it, as a version of its report tells it.

        Args:
            exam_id: of the exam.
            version: of the report; None: the newest.

        Raises:
            NotFound: no such exam or version, or none assessed yet.
            Corrupt: its samples do not decode.
        """
        which = ReportRow.newest if version is None else ReportRow.version == version
        with self._reading() as session:
            row, waveform = _exam_rows(session, exam_id)
            found = session.execute(
                select(AssessmentRow, ReportRow)
                .join(ReportRow, ReportRow.exam_id == AssessmentRow.exam_id)
                .where(AssessmentRow.exam_id == exam_id, which)
                .options(defer(ReportRow.bundle))
            ).one_or_none()
            episode = episode_finding(session, exam_id) if row.ordinal >= FIRST_EPISODE else None
        if found is None:
            raise NotFound("not-found", f"exam {exam_id} is not assessed, or has no such version")
        assessment, report = found
        findings = Findings.from_json(assessment.findings)
        if report.newest and episode is not None:  # as it stands now
            findings = replace(findings, episode=episode)
        return Assessed(
            exam_of(row, waveform),
            findings,
            assessment.assessed_at,
            report.version,
            report.status,
            report.issued_at,
            review_of(report),
        )

    def begin_scoring(self, exam_id: UUID) -> Exam | None:
        """Count one more attempt and return the exam; None when it does not wait for scoring.

        An exam whose samples do not decode any more ends here, as failed.
        """
        counted = (
            update(ExamRow)
            .where(ExamRow.id == exam_id, ExamRow.state == ExamState.RECEIVED)
            .values(attempts=ExamRow.attempts + 1, rung_at=datetime.now(UTC))
            .returning(ExamRow.id)
        )
        with self._writing() as session:
            if session.scalar(counted) is None:
                return None
            row, waveform = _exam_rows(session, exam_id)
        try:
            return exam_of(row, waveform)
        except Corrupt as error:
            self.fail_exam(exam_id, error.reason)
            return None

    def save_assessment(self, exam_id: UUID, new: NewAssessment) -> tuple[UUID, ...] | None:
        """Store what a worker found, if nobody was first.

        Returns:
            The deliveries made, due at once; None when the exam did not wait for scoring.
        """
        destinations = () if new.silent else tuple(dict.fromkeys(new.destinations))
        ids = tuple(uuid5(exam_id, destination) for destination in destinations)
        state, reason = _outcome(new.findings.quality, reported=not destinations)
        guarded = (
            update(ExamRow)
            .where(ExamRow.id == exam_id, ExamRow.state == ExamState.RECEIVED)
            .values(state=state, reason=reason, silent=new.silent)
            .returning(ExamRow.acquired_on, ExamRow.patient_identifier, ExamRow.patient_authority)
        )
        with self._writing() as session:
            won = session.execute(guarded).one_or_none()
            if won is None:
                return None
            session.add(assessment_row(exam_id, new))
            add_decision(session, exam_id, new)
            if new.critical:
                due_at = None if new.silent else new.answer_by
                raise_alert(session, exam_id, new.critical, new.assessed_at, due_at)
            session.add(report_row(exam_id, new, won.acquired_on))
            session.flush()
            # Rung as of now: whoever saves an assessment rings its deliveries next.
            now = new.assessed_at
            patient = patient_key(
                opened(won.patient_identifier, exam_id), opened(won.patient_authority, exam_id)
            )
            session.add_all(
                delivery_row(
                    id_, exam_id, destination, now, version=1, rung_at=now, patient=patient
                )
                for id_, destination in zip(ids, destinations, strict=True)
            )
        return ids

    def fail_exam(self, exam_id: UUID, reason: str) -> None:
        """Give up scoring an exam, if it still waits for it."""
        with self._writing() as session:
            session.execute(
                update(ExamRow)
                .where(ExamRow.id == exam_id, ExamRow.state == ExamState.RECEIVED)
                .values(state=ExamState.FAILED, reason=reason)
            )

    def claim_waiting_exams(
        self, older_than: datetime, limit: int, *, backlog: bool = False
    ) -> tuple[UUID, ...]:
        """Return exams that wait and were not rung since `older_than`, oldest first.

        They count as rung from now on, so that of several sweeps one gets each.

        Args:
            older_than: aware.
            limit: at most so many.
            backlog: those that an archive brought, instead of the live ones.
        """
        waiting = (
            select(ExamRow.id)
            .where(
                ExamRow.state == ExamState.RECEIVED,
                ExamRow.priority > 0 if backlog else ExamRow.priority == 0,
                or_(ExamRow.rung_at.is_(None), ExamRow.rung_at < older_than),
            )
            .order_by(ExamRow.priority, ExamRow.received_at)
            .limit(limit)
        )
        return self._claim(
            waiting,
            lambda ids: (
                update(ExamRow).where(ExamRow.id.in_(ids)).values(rung_at=datetime.now(UTC))
            ),
        )


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
    if connection.execute(_NAMESAKE, named | {"but": message.id}).scalar() is None:
        return False
    connection.execute(_MARK, named | {"at": message.received_at})
    return True


def _exam_rows(session: Session, exam_id: UUID) -> tuple[ExamRow, WaveformRow]:
    found = session.execute(
        select(ExamRow, WaveformRow)
        .join(WaveformRow, WaveformRow.exam_id == ExamRow.id)
        .where(ExamRow.id == exam_id)
    ).one_or_none()
    if found is None:
        raise NotFound("not-found", f"no exam {exam_id}")
    return found[0], found[1]


def _outcome(quality: Quality, *, reported: bool) -> tuple[ExamState, str | None]:
    if not quality.scorable:
        return ExamState.UNSCORABLE, quality.reasons[0]
    return (ExamState.DELIVERED if reported else ExamState.SCORED), None


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
