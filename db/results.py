"""What carts measured and said, and the orders that results answer."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID, uuid5

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from db.clinical import Measurement, NewResult, OrderRef, Quantity
from db.mapping import patient_of, patient_values
from db.records import NewMessage, PatientRef
from db.sealed import Sealed, is_one_of, is_same, opened, sealed
from db.sessions import Sessions
from db.tables import OrderRow, ResultRow

_NEW_RESULT, _NEW_ORDER = insert(ResultRow), insert(OrderRow)


class Results(Sessions):
    """What carts measured and said."""

    def results_of_exam(self, exam_id: UUID) -> tuple[NewResult, ...]:
        """Return what came with an exam, in the order of its message."""
        own = select(ResultRow).where(ResultRow.exam_id == exam_id).order_by(ResultRow.ordinal)
        with self._reading() as session:
            return tuple(map(_result, session.scalars(own)))


def add_results(session: Session, message: NewMessage, results: Sequence[NewResult]) -> None:
    """Keep a message's results; the exams that they belong to are there already."""
    rows = [_values(message, ordinal, result) for ordinal, result in enumerate(results)]
    if rows:
        session.connection().execute(_NEW_RESULT, rows)


def add_orders(session: Session, message: NewMessage, orders: Sequence[OrderRef]) -> None:
    """Keep a message's orders."""
    rows = [
        {
            "id": id_,
            "message_id": message.id,
            "placer_order": sealed(id_, order.placer_order),
            "filler_order": sealed(id_, order.filler_order),
            "filler_token": order.filler_order,
            **patient_values(id_, order.patient),
        }
        for id_, order in (
            (uuid5(message.id, f"order {ordinal}"), order) for ordinal, order in enumerate(orders)
        )
    ]
    if rows:
        session.connection().execute(_NEW_ORDER, rows)


def placer_of(session: Session, patient: PatientRef, filler_order: str) -> str | None:
    """Return the one order of a patient that is known by the filler's number, or None."""
    known = session.scalars(
        select(OrderRow).where(
            is_one_of(OrderRow.filler_token, [filler_order]),
            is_one_of(OrderRow.patient_token, [patient.identifier]),
            is_same(OrderRow.authority_token, patient.authority),
        )
    )
    placers = {row.placer_order.open(row.id) for row in known}
    return placers.pop() if len(placers) == 1 else None


def _values(message: NewMessage, ordinal: int, result: NewResult) -> dict[str, object]:
    acquired = result.acquired
    instant = acquired if isinstance(acquired, datetime) else None
    id_, patient = uuid5(message.id, f"result {ordinal}"), result.patient
    return {
        "id": id_,
        "message_id": message.id,
        "ordinal": ordinal,
        "exam_id": None if result.exam is None else message.exam_id(result.exam),
        "patient_identifier": sealed(id_, patient.identifier if patient else None),
        "patient_authority": sealed(id_, patient.authority if patient else None),
        "acquired_at": instant,
        "acquired_on": acquired.date() if isinstance(acquired, datetime) else acquired,
        "placer_order": sealed(id_, result.placer_order),
        "filler_order": sealed(id_, result.filler_order),
        "measurements": Sealed(
            id_,
            [
                {"quantity": m.quantity.value, "value": m.value, "unit": m.unit}
                for m in result.measurements
            ],
        ),
        "statements": Sealed(id_, list(result.statements)),
    }


def _result(row: ResultRow) -> NewResult:
    return NewResult(
        patient=patient_of(row),
        measurements=tuple(
            Measurement(Quantity(m["quantity"]), m["value"], m["unit"])
            for m in row.measurements.open(row.id)
        ),
        statements=tuple(row.statements.open(row.id)),
        acquired=row.acquired_at or row.acquired_on,
        placer_order=opened(row.placer_order, row.id),
        filler_order=opened(row.filler_order, row.id),
    )
