"""Reports on their way to their destinations."""

from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from db.errors import NotFound
from db.records import Delivery, DeliveryState, ExamState
from db.sessions import Sessions
from db.tables import DeliveryRow, ExamRow, ReportRow

UNDELIVERABLE_REASON = "undeliverable"  # of an exam; what the destination said stands beside


class Deliveries(Sessions):
    """Deliveries."""

    def claim_due_deliveries(
        self, now: datetime, older_than: datetime, limit: int
    ) -> tuple[UUID, ...]:
        """Return deliveries due at `now` and not rung for this try since `older_than`.

        They count as rung from now on, so that of several sweeps one gets each; longest due first.
        """
        waiting = (
            select(DeliveryRow.id)
            .where(
                DeliveryRow.state == DeliveryState.PENDING,
                DeliveryRow.next_attempt_at <= now,
                or_(DeliveryRow.rung_at.is_(None), DeliveryRow.rung_at < older_than),
            )
            .order_by(DeliveryRow.next_attempt_at)
            .limit(limit)
        )
        return self._claim(
            waiting,
            lambda ids: update(DeliveryRow).where(DeliveryRow.id.in_(ids)).values(rung_at=now),
        )

    def claim_delivery(self, delivery_id: UUID, now: datetime, lease_s: float) -> Delivery | None:
        """Take a delivery for one try; None when it is not due or somebody else has it.

        Until `lease_s` have passed nobody else gets it; after them it is due again, should this
        worker die with it.
        """
        taken = (
            update(DeliveryRow)
            .where(
                DeliveryRow.id == delivery_id,
                DeliveryRow.state == DeliveryState.PENDING,
                DeliveryRow.next_attempt_at <= now,
            )
            .values(
                attempts=DeliveryRow.attempts + 1,
                next_attempt_at=now + timedelta(seconds=lease_s),
                rung_at=None,
            )
            .returning(DeliveryRow.id)
        )
        with self._writing() as session:
            if session.scalar(taken) is None:
                return None
            row, report = session.execute(
                select(DeliveryRow, ReportRow.bundle)
                .join(ReportRow, ReportRow.exam_id == DeliveryRow.exam_id)
                .where(DeliveryRow.id == delivery_id)
            ).one()
        return Delivery(
            id=row.id,
            exam_id=row.exam_id,
            destination=row.destination,
            state=row.state,
            attempts=row.attempts,
            next_attempt_at=row.next_attempt_at,
            last_answer=row.last_answer,
            report=report,
        )

    def record_delivered(self, delivery_id: UUID, answer: str) -> None:
        """Record a yes, whatever stood there: the report is at its destination.

        Raises:
            NotFound: no such delivery.
        """
        with self._writing() as session:
            exam_id = _lock_exam(session, delivery_id)
            session.execute(
                update(DeliveryRow)
                .where(DeliveryRow.id == delivery_id)
                .values(state=DeliveryState.DELIVERED, last_answer=answer)
            )
            missing = select(DeliveryRow.id).where(
                DeliveryRow.exam_id == exam_id, DeliveryRow.state != DeliveryState.DELIVERED
            )
            session.execute(
                update(ExamRow)
                .where(
                    ExamRow.id == exam_id,
                    ExamRow.state.in_([ExamState.SCORED, ExamState.UNDELIVERABLE]),
                    ~missing.exists(),
                )
                .values(state=ExamState.DELIVERED, reason=None)
            )

    def record_retry(self, delivery_id: UUID, answer: str, next_attempt_at: datetime) -> None:
        """Record that a try failed and when the next one is due, unless the delivery has ended.

        Raises:
            NotFound: no such delivery.
        """
        with self._writing() as session:
            _lock_exam(session, delivery_id)
            session.execute(
                update(DeliveryRow)
                .where(DeliveryRow.id == delivery_id, DeliveryRow.state == DeliveryState.PENDING)
                .values(last_answer=answer, next_attempt_at=next_attempt_at, rung_at=None)
            )

    def record_undeliverable(self, delivery_id: UUID, answer: str) -> None:
        """Give a delivery up, unless it has ended.

        Raises:
            NotFound: no such delivery.
        """
        with self._writing() as session:
            exam_id = _lock_exam(session, delivery_id)
            given_up = session.scalar(
                update(DeliveryRow)
                .where(DeliveryRow.id == delivery_id, DeliveryRow.state == DeliveryState.PENDING)
                .values(state=DeliveryState.UNDELIVERABLE, last_answer=answer)
                .returning(DeliveryRow.id)
            )
            if given_up is None:
                return
            session.execute(
                update(ExamRow)
                .where(ExamRow.id == exam_id, ExamRow.state == ExamState.SCORED)
                .values(state=ExamState.UNDELIVERABLE, reason=UNDELIVERABLE_REASON)
            )


def _lock_exam(session: Session, delivery_id: UUID) -> UUID:
    """Return a delivery's exam, locked.

    Without the lock the last two deliveries of an exam, recorded at the same time, would each see
    the other one still pending.
    """
    exam_id = session.scalar(
        select(ExamRow.id)
        .join(DeliveryRow, DeliveryRow.exam_id == ExamRow.id)
        .where(DeliveryRow.id == delivery_id)
        .with_for_update(of=ExamRow)
    )
    if exam_id is None:
        raise NotFound("not-found", f"no delivery {delivery_id}")
    return exam_id
