"""What people have to see and can stop: critical findings until somebody answers; models' stops.

A critical finding waits for a clinician's decision on its report, or for word that they know of it.
Without either in time it is escalated, once. A stopped version of a model scores nothing, on any
worker, until it is started.
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from db.audit import AuditEntry, AuditKind, add_entry
from db.errors import NotFound
from db.sessions import Sessions
from db.tables import AssessmentRow, ExamRow
from db.upkeep_tables import AlertRow, ModelStopRow


@dataclass(frozen=True)
class ModelStop:
    """A version of a model that nobody may use.

    Attributes:
        model: `name@version`.
        actor: who stopped it.
    """

    model: str
    at: datetime
    actor: str
    why: str


@dataclass(frozen=True)
class Rehearsal:
    """What silent ECGs would have flagged.

    Attributes:
        assessed: silent ECGs that were assessed.
        flagged: those with at least one flag.
        critical: those with a critical finding.
    """

    assessed: int
    flagged: int
    critical: int

    @property
    def flagged_per_100(self) -> float | None:
        """Flags in 100 ECGs, or None without any."""
        return 100.0 * self.flagged / self.assessed if self.assessed else None


class Oversight(Sessions):
    """Critical findings, stops, silent ECGs."""

    def unanswered_alerts(self, now: datetime, limit: int) -> tuple[UUID, ...]:
        """Return exams whose critical findings nobody answered in time, to be escalated."""
        late = (
            select(AlertRow.exam_id)
            .where(
                AlertRow.answered_at.is_(None),
                AlertRow.escalated_at.is_(None),
                AlertRow.due_at <= now,
            )
            .order_by(AlertRow.due_at)
            .limit(limit)
        )
        with self._reading() as session:
            return tuple(session.scalars(late))

    def open_alerts(self) -> tuple[int, int]:
        """Return how many critical findings are not answered, and how many of them escalated."""
        waiting = select(func.count(), func.count(AlertRow.escalated_at)).where(
            AlertRow.answered_at.is_(None)
        )
        with self._reading() as session:
            total, escalated = session.execute(waiting).one()
        return total, escalated

    def stop_model(self, stop: ModelStop) -> None:
        """Let nobody use a version of a model, also in the audit log; again: another reason."""
        with self._writing() as session:
            session.merge(
                ModelStopRow(model=stop.model, at=stop.at, actor=stop.actor, why=stop.why)
            )
            content = {"stopped": stop.model, "why": stop.why}
            add_entry(session, AuditEntry(AuditKind.OPERATION, stop.at, stop.actor, None, content))

    def start_model(self, model: str, actor: str, now: datetime) -> None:
        """Let a version of a model be used again, also in the audit log.

        Raises:
            NotFound: it is not stopped.
        """
        gone = delete(ModelStopRow).where(ModelStopRow.model == model)
        with self._writing() as session:
            if session.scalar(gone.returning(ModelStopRow.model)) is None:
                raise NotFound("not-found", f"{model} is not stopped")
            content = {"started": model}
            add_entry(session, AuditEntry(AuditKind.OPERATION, now, actor, None, content))

    def model_stops(self) -> tuple[ModelStop, ...]:
        """Return the stops in force."""
        with self._reading() as session:
            rows = session.scalars(select(ModelStopRow).order_by(ModelStopRow.model)).all()
        return tuple(ModelStop(row.model, row.at, row.actor, row.why) for row in rows)

    def models_used(self) -> dict[str, int]:
        """Return `name@version` of the models that were asked first -> how many ECGs."""
        counted = select(AssessmentRow.model, func.count()).group_by(AssessmentRow.model)
        with self._reading() as session:
            return {model or "": count for model, count in session.execute(counted)}

    def rehearsal(self) -> Rehearsal:
        """Return what silent ECGs would have flagged."""
        of = select(func.count()).select_from(ExamRow).where(ExamRow.silent.is_(True))
        assessed = of.join(AssessmentRow, AssessmentRow.exam_id == ExamRow.id)
        with self._reading() as session:
            return Rehearsal(
                session.scalars(assessed).one(),
                session.scalars(assessed.where(AssessmentRow.flagged != ",")).one(),
                session.scalars(of.join(AlertRow, AlertRow.exam_id == ExamRow.id)).one(),
            )


def raise_alert(
    session: Session, exam_id: UUID, codes: tuple[str, ...], now: datetime, due_at: datetime | None
) -> None:
    """Note critical findings; without a time for an answer nobody is asked for one.

    What was found before and waits for an answer is escalated no later because of them.
    """
    former = session.get(AlertRow, exam_id)
    if former is not None:
        codes = (former.codes, *codes)
        if due_at and former.answered_at is None and former.escalated_at is None:
            due_at = min(due_at, former.due_at)
    session.merge(
        AlertRow(
            exam_id=exam_id,
            codes=",".join(codes),
            raised_at=now,
            due_at=due_at or now,
            answered_at=now if due_at is None else None,
            escalated_at=None,
        )
    )


def answer_alert(session: Session, exam_id: UUID, now: datetime) -> None:
    """Note that a clinician has decided on the report, or knows of the finding."""
    _note(session, exam_id, answered_at=now)


def escalate_alert(session: Session, exam_id: UUID, now: datetime) -> None:
    """Note that nobody had, in time."""
    _note(session, exam_id, escalated_at=now)


def _note(session: Session, exam_id: UUID, **when: datetime) -> None:
    session.execute(
        update(AlertRow)
        .where(AlertRow.exam_id == exam_id, AlertRow.answered_at.is_(None))
        .values(**when)
    )
