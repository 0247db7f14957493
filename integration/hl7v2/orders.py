"""Orders for ECGs (ORM, OMG, OMI and what else has ORC): what results will refer to."""

from db.clinical import OrderRef
from integration.errors import Refused
from integration.hl7v2.measurements import is_ecg_order
from integration.hl7v2.message import Message, Segment
from integration.hl7v2.patient import patient_of
from integration.hl7v2.signals import Order
from model.errors import EcgError

_ORDERS = {"ORM", "OMG", "OMI", "OMP", "ORG", "ORI", "ORR"}
_MAX_ORDERS = 256


def placed_orders(message: Message) -> tuple[OrderRef, ...]:
    """Return the orders for ECGs whose patient and number are certain."""
    if message.header.message_type not in _ORDERS:
        return ()
    found: list[OrderRef] = []
    pids: tuple[Segment, ...] = ()
    orc: Segment | None = None
    for segment in message.segments():
        if segment.name == "PID":
            pids, orc = (segment,), None
        elif segment.name == "ORC":
            orc = segment
        elif segment.name == "OBR":
            found += _placed(message, Order(0, pids, segment), orc)
            orc = None
    return tuple(found[:_MAX_ORDERS])


def _placed(message: Message, order: Order, orc: Segment | None) -> list[OrderRef]:
    placer, filler = (_number(message, order.obr, orc, field) for field in (2, 3))
    if not placer or not is_ecg_order(message, order):
        return []
    try:
        return [OrderRef(patient_of(message, order.pids), placer, filler)]
    except (Refused, EcgError):
        return []


def _number(message: Message, obr: Segment | None, orc: Segment | None, field: int) -> str | None:
    """Return the number that OBR and ORC agree on, or the one that either has."""
    texts = {message.components(segment.field(field))[0] for segment in (obr, orc) if segment} - {
        ""
    }
    return texts.pop() if len(texts) == 1 else None
