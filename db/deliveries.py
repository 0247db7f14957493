"""Versions of reports on their way to their destinations; `versions` says in which order.

One patient's reports go to one destination in the order in which they were made: a later one waits
for an earlier one that is not there yet, as long as that is not the earlier one's own fault.
"""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, func, or_, select, update
from sqlalchemy.orm import Session, aliased

from db.circuits import read_circuits, take_permit
from db.decisions import add_delivery_end
from db.errors import NotFound
from db.records import Delivery, DeliveryState, ExamState
from db.sealed import Sealed, row_id
from db.sessions import Sessions
from db.tables import DeliveryRow, ExamRow, ReportRow

HOLDS_UP = 5  # tries at most that an earlier report may fail by itself and others wait for it
UNDELIVERABLE_REASON = "undeliverable"  # of an exam; what the destination said stands beside


class Deliveries(Sessions):
    """Deliveries."""

    def claim_due_deliveries(
        self, now: datetime, older_than: datetime, limit: int
    ) -> tuple[UUID, ...]:
        """Return deliveries due at `now` and not rung for this try since `older_than`.

        Those that wait for an earlier one are not due, nor those whose destination is away. They
        count as rung from now on, so that of several sweeps one gets each; longest due first.
        """
        due = (
            select(DeliveryRow.id)
            .where(
                DeliveryRow.state == DeliveryState.PENDING,
                DeliveryRow.next_attempt_at <= now,
                or_(DeliveryRow.rung_at.is_(None), DeliveryRow.rung_at < older_than),
                ~_behind(),
            )
            .order_by(DeliveryRow.next_attempt_at)
        )
        room = self._room_at_returning_destinations(now, older_than)
        claimed: list[UUID] = []
        for waiting in (
            due.where(DeliveryRow.destination.not_in(room)).limit(limit),
            *(due.where(DeliveryRow.destination == name).limit(n) for name, n in room.items() if n),
        ):
            claimed += self._claim(
                waiting,
                lambda ids: update(DeliveryRow).where(DeliveryRow.id.in_(ids)).values(rung_at=now),
            )
        return tuple(claimed)

    def _room_at_returning_destinations(
        self, now: datetime, older_than: datetime
    ) -> dict[str, int]:
        """Return how many more to ring for each destination that is away or comes back."""
        rung = select(func.count()).where(
            DeliveryRow.state == DeliveryState.PENDING, DeliveryRow.rung_at >= older_than
        )
        with self._reading() as session:
            room = {}
            for away in read_circuits(session):
                known = rung.where(DeliveryRow.destination == away.destination)
                room[away.destination] = max(away.room(now) - session.scalars(known).one(), 0)
        return room

    def claim_delivery(self, delivery_id: UUID, now: datetime, lease_s: float) -> Delivery | None:
        """Take a delivery for one try; None when it is not due or somebody else has it.

        None also when its destination is away, when an earlier one may be under way there, and when
        a later version goes there in its place.

        Until `lease_s` have passed nobody else gets it; after them it is due again, should this
        worker die with it.
        """
        taken = (
            update(DeliveryRow)
            .where(
                DeliveryRow.id == delivery_id,
                DeliveryRow.state == DeliveryState.PENDING,
                DeliveryRow.next_attempt_at <= now,
                ~_behind(),
            )
            .values(
                attempts=DeliveryRow.attempts + 1,
                next_attempt_at=now + timedelta(seconds=lease_s),
                leased_until=now + timedelta(seconds=lease_s),
                rung_at=None,
            )
            .returning(DeliveryRow.id)
        )
        with self._writing() as session:
            named = select(DeliveryRow.destination).where(DeliveryRow.id == delivery_id)
            destination = session.scalar(named)
            if destination is None:
                return None
            if session.scalar(taken) is None:
                _not_rung(session, delivery_id, now)
                return None
            if _supersede(session, delivery_id):
                return None
            if not take_permit(session, destination, now, lease_s):
                _give_back(session, delivery_id, now)
                return None
            row, report = session.execute(
                select(DeliveryRow, ReportRow.bundle)
                .join(ReportRow, _SAME_VERSION)
                .where(DeliveryRow.id == delivery_id)
            ).one()
        # Outside: a report that cannot be opened has cost its try.
        return _delivery(row, report)

    def record_delivered(self, delivery_id: UUID, answer: str) -> None:
        """Record a yes, whatever stood there: the report is at its destination.

        Earlier versions that did not get there are not missed any more.

        Raises:
            NotFound: no such delivery.
        """
        with self._writing() as session:
            exam_id = _lock_exam(session, delivery_id)
            row = session.scalars(select(DeliveryRow).where(DeliveryRow.id == delivery_id)).one()
            row.state, row.last_answer, row.leased_until = DeliveryState.DELIVERED, answer, None
            session.flush()
            session.execute(
                update(DeliveryRow)
                .where(
                    DeliveryRow.exam_id == exam_id,
                    DeliveryRow.destination == row.destination,
                    DeliveryRow.version < row.version,
                    DeliveryRow.state == DeliveryState.UNDELIVERABLE,
                )
                .values(state=DeliveryState.SUPERSEDED)
            )
            add_delivery_end(session, row, DeliveryState.DELIVERED)
            _settle(session, exam_id)

    def record_retry(
        self, delivery_id: UUID, answer: str, next_attempt_at: datetime, *, counted: bool = True
    ) -> None:
        """Record that a try failed and when the next one is due, unless the delivery has ended.

        Args:
            delivery_id: whose try.
            answer: what the other side said.
            next_attempt_at: aware.
            counted: whether it is one of the tries that a delivery has.

        Raises:
            NotFound: no such delivery.
        """
        with self._writing() as session:
            _lock_exam(session, delivery_id)
            session.execute(
                update(DeliveryRow)
                .where(DeliveryRow.id == delivery_id, DeliveryRow.state == DeliveryState.PENDING)
                .values(
                    attempts=DeliveryRow.attempts - (0 if counted else 1),
                    last_answer=answer,
                    next_attempt_at=next_attempt_at,
                    rung_at=None,
                    leased_until=None,
                )
            )
            _supersede(session, delivery_id)

    def record_undeliverable(self, delivery_id: UUID, answer: str) -> None:
        """Give a delivery up, unless it has ended.

        Raises:
            NotFound: no such delivery.
        """
        with self._writing() as session:
            exam_id = _lock_exam(session, delivery_id)
            row = session.scalars(select(DeliveryRow).where(DeliveryRow.id == delivery_id)).one()
            if row.state != DeliveryState.PENDING:
                return
            row.state, row.last_answer, row.leased_until = DeliveryState.UNDELIVERABLE, answer, None
            add_delivery_end(session, row, DeliveryState.UNDELIVERABLE)
            if _supersede(session, delivery_id):
                return
            session.execute(
                update(ExamRow)
                .where(ExamRow.id == exam_id, ExamRow.state == ExamState.SCORED)
                .values(state=ExamState.UNDELIVERABLE, reason=UNDELIVERABLE_REASON)
            )


_Other = aliased(DeliveryRow)
_SAME_WAY = (_Other.exam_id == DeliveryRow.exam_id) & (
    _Other.destination == DeliveryRow.destination
)
_SAME_VERSION = (ReportRow.exam_id == DeliveryRow.exam_id) & (
    ReportRow.version == DeliveryRow.version
)


def _delivery(row: DeliveryRow, report: Sealed[dict[str, Any]]) -> Delivery:
    return Delivery(
        id=row.id,
        exam_id=row.exam_id,
        version=row.version,
        destination=row.destination,
        state=row.state,
        attempts=row.attempts,
        next_attempt_at=row.next_attempt_at,
        last_answer=row.last_answer,
        report=report.open(row_id(row.exam_id, row.version)),
    )


def _behind() -> ColumnElement[bool]:
    """Whether an earlier version on the same way, or report on the patient, has not ended."""
    version = select(_Other.id).where(
        _SAME_WAY,
        _Other.version < DeliveryRow.version,
        _Other.state == DeliveryState.PENDING,
    )
    report = select(_Other.id).where(
        _Other.destination == DeliveryRow.destination,
        _Other.patient == DeliveryRow.patient,
        _Other.queued_at < DeliveryRow.queued_at,
        _Other.state == DeliveryState.PENDING,
        _Other.attempts <= HOLDS_UP,
    )
    return or_(version.exists(), report.exists())


def _not_rung(session: Session, delivery_id: UUID, now: datetime) -> None:
    """Let the sweep ring a delivery again once it may go."""
    session.execute(
        update(DeliveryRow)
        .where(
            DeliveryRow.id == delivery_id,
            DeliveryRow.state == DeliveryState.PENDING,
            DeliveryRow.next_attempt_at <= now,
        )
        .values(rung_at=None)
    )


def _give_back(session: Session, delivery_id: UUID, now: datetime) -> None:
    """Undo a claim."""
    session.execute(
        update(DeliveryRow)
        .where(DeliveryRow.id == delivery_id)
        .values(attempts=DeliveryRow.attempts - 1, next_attempt_at=now, leased_until=None)
    )


def _supersede(session: Session, delivery_id: UUID) -> bool:
    """End a delivery that has not arrived, if a later version goes the same way; tell whether."""
    later = select(_Other.id).where(_SAME_WAY, _Other.version > DeliveryRow.version)
    ended = (
        update(DeliveryRow)
        .where(
            DeliveryRow.id == delivery_id,
            DeliveryRow.state != DeliveryState.DELIVERED,
            later.exists(),
        )
        .values(state=DeliveryState.SUPERSEDED, leased_until=None)
        .returning(DeliveryRow.exam_id)
    )
    session.flush()
    exam_id = session.scalar(ended)
    if exam_id is None:
        return False
    _settle(session, exam_id)
    return True


def _settle(session: Session, exam_id: UUID) -> None:
    """Call an exam delivered once nothing of its report is missing anywhere."""
    missing = select(DeliveryRow.id).where(
        DeliveryRow.exam_id == exam_id,
        DeliveryRow.state.not_in([DeliveryState.DELIVERED, DeliveryState.SUPERSEDED]),
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
