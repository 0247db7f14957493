"""What carts measured and said, and the orders that results answer."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID, uuid5

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from db.clinical import Measurement, NewResult, OrderRef, Quantity
from db.records import NewMessage, PatientRef
from db.sessions import Sessions
from db.tables import OrderRow, ResultRow

_NEW_RESULT, _NEW_ORDER = insert(ResultRow), insert(OrderRow)


class Results(Sessions):
    """What carts measured and said."""

    def results_of_exam(self, exam_id: UUID) -> tuple[NewResult, ...]:
        """Return what came with an exam, in the order of its message."""
        return self._results(ResultRow.exam_id == exam_id)

    def results_of_message(self, message_id: UUID) -> tuple[NewResult, ...]:
        """Return what came in a message, with an ECG or without one."""
        return self._results(ResultRow.message_id == message_id)

    def _results(self, condition: Any) -> tuple[NewResult, ...]:  # noqa: ANN401 - SQL
        with self._reading() as session:
            rows = session.scalars(select(ResultRow).where(condition).order_by(ResultRow.ordinal))
            return tuple(map(_result, rows))


def add_results(session: Session, message: NewMessage, results: Sequence[NewResult]) -> None:
    """Keep a message's results; the exams that they belong to are there already."""
    rows = [_values(message, ordinal, result) for ordinal, result in enumerate(results)]
    if rows:
        session.connection().execute(_NEW_RESULT, rows)


def add_orders(session: Session, message: NewMessage, orders: Sequence[OrderRef]) -> None:
    """Keep a message's orders."""
    rows = [
        {
            "id": uuid5(message.id, f"order {ordinal}"),
            "message_id": message.id,
            "patient_identifier": order.patient.identifier,
            "patient_authority": order.patient.authority,
            "placer_order": order.placer_order,
            "filler_order": order.filler_order,
        }
        for ordinal, order in enumerate(orders)
    ]
    if rows:
        session.connection().execute(_NEW_ORDER, rows)


def placer_of(session: Session, patient: PatientRef, filler_order: str) -> str | None:
    """Return the one order of a patient that is known by the filler's number, or None."""
    placers = session.scalars(
        select(OrderRow.placer_order)
        .where(
            OrderRow.filler_order == filler_order,
            OrderRow.patient_identifier == patient.identifier,
            OrderRow.patient_authority.is_not_distinct_from(patient.authority),
        )
        .distinct()
    ).all()
    return placers[0] if len(placers) == 1 else None


def _values(message: NewMessage, ordinal: int, result: NewResult) -> dict[str, object]:
    acquired = result.acquired
    instant = acquired if isinstance(acquired, datetime) else None
    return {
        "id": uuid5(message.id, f"result {ordinal}"),
        "message_id": message.id,
        "ordinal": ordinal,
        "exam_id": None if result.exam is None else message.exam_id(result.exam),
        "patient_identifier": result.patient.identifier if result.patient else None,
        "patient_authority": result.patient.authority if result.patient else None,
        "acquired_at": instant,
        "acquired_on": acquired.date() if isinstance(acquired, datetime) else acquired,
        "placer_order": result.placer_order,
        "filler_order": result.filler_order,
        "measurements": [
            {"quantity": m.quantity.value, "value": m.value, "unit": m.unit}
            for m in result.measurements
        ],
        "statements": list(result.statements),
    }


def _result(row: ResultRow) -> NewResult:
    known = row.patient_identifier is not None
    return NewResult(
        patient=PatientRef(row.patient_identifier or "", row.patient_authority) if known else None,
        measurements=tuple(
            Measurement(Quantity(m["quantity"]), m["value"], m["unit"]) for m in row.measurements
        ),
        statements=tuple(row.statements),
        acquired=row.acquired_at or row.acquired_on,
        placer_order=row.placer_order,
        filler_order=row.filler_order,
    )
