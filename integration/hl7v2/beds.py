"""Beds and who moves between them: PV1-3 (PL), OBR-10, and ADT events (HL7 v2.5.1, chapter 3).

A location counts as a bed where its third component names one, or where a sender writes facility,
unit and bed in one word (`EUH-4TN-T435`). A ward or a room holds several patients.
"""

import re
from collections.abc import Iterator
from datetime import datetime, tzinfo

from db.clinical import BedMove
from db.records import Bed
from integration.errors import Refused
from integration.hl7v2.message import Message, Segment, part
from integration.hl7v2.patient import patient_of
from integration.hl7v2.signals import Order
from integration.hl7v2.times import parse_time
from model.errors import EcgError

# Table 0003. After these the patient lies where PV1-3 says; pending moves (A05, A14 to A16) are
# no moves yet.
_ARRIVES = {"A01", "A02", "A04", "A06", "A07", "A08", "A10", "A17", "A22"}
_LEAVES = {"A03", "A09", "A21"}
_TAKEN_BACK = {"A11", "A12", "A13", "A32", "A33", "A52", "A53"}
_VISIT_TIMES = {"A01": 44, "A04": 44, "A03": 45}  # PV1-44 admitted, PV1-45 discharged
_ONE_WORD = re.compile(r"[^\s_/-]+(?:[_/-][^\s_/-]+){2,}")
_FACILITY = 4  # PL.4
_MAX_MOVES = 64


def bed_of(message: Message, order: Order) -> Bed | None:
    """Return where an order's ECG was recorded; OBR-10 must not contradict PV1-3."""
    visit = _bed(message, order.pv1.field(3)) if order.pv1 else None
    word = order.obr.field(10) if order.obr else b""
    at_order = None if message.delimiters.component in word.strip() else _bed(message, word)
    if visit and at_order and visit.name != at_order.name:
        return None
    return visit or at_order


def bed_moves(message: Message, zone: tzinfo | None) -> tuple[BedMove, ...]:
    """Return the moves that an ADT message tells, as far as patient, bed and time are certain.

    Args:
        message: of any type; only ADT tells moves.
        zone: of times without an offset, or None: such a time is none.
    """
    trigger = message.header.trigger
    if message.header.message_type != "ADT":
        return ()
    if trigger not in _ARRIVES | _LEAVES | _TAKEN_BACK:
        return ()
    moves = []
    for evn, pid, pv1 in _visits(message):
        try:
            at = _moment(message, evn, pv1, zone)
            bed = _bed(message, pv1.field(3)) if pv1 and trigger in _ARRIVES else None
            if at and (bed or trigger != "A08"):  # an update without a bed moves nobody
                patient = patient_of(message, (pid,))
                moves.append(BedMove(patient, at, bed, trigger in _TAKEN_BACK))
        except (Refused, EcgError):
            continue  # nobody is told apart by this visit; the message is kept
    return tuple(moves[:_MAX_MOVES])


def _visits(message: Message) -> Iterator[tuple[Segment | None, Segment, Segment | None]]:
    """Yield (EVN, PID, PV1) of each patient: a swap (A17) has two."""
    evn: Segment | None = None
    pid: Segment | None = None
    pv1: Segment | None = None
    for segment in message.segments():
        if segment.name == "EVN":
            evn = segment
        elif segment.name == "PID":
            if pid:
                yield evn, pid, pv1
            pid, pv1 = segment, None
        elif segment.name == "PV1":
            pv1 = segment
    if pid:
        yield evn, pid, pv1


def _moment(
    message: Message, evn: Segment | None, pv1: Segment | None, zone: tzinfo | None
) -> datetime | None:
    """Return when it happened: EVN-6, the visit's own time, or when it was recorded (EVN-2)."""
    number = _VISIT_TIMES.get(message.header.trigger)
    candidates = [(evn, 6), (pv1, number or 0), (evn, 2)]
    for segment, field in candidates:
        text = message.components(segment.field(field))[0] if segment and field else ""
        try:
            moment = parse_time(text, zone, ("EVN", 1, 2))
        except Refused:
            continue
        if isinstance(moment, datetime):
            return moment
    return None


def _bed(message: Message, location: bytes) -> Bed | None:
    """Read PL; of a component that is an HD or a coded text its first part names it."""
    first = location.strip().split(message.delimiters.repetition, 1)[0]
    parts = [
        message.subcomponents(component)[0]
        for component in first.split(message.delimiters.component, _FACILITY)[:_FACILITY]
    ]
    place = [part(parts, n).replace("^", " ") for n in (1, 2, 3)]
    if not place[2] and (place[1] or not _ONE_WORD.fullmatch(place[0])):
        return None
    return Bed("^".join(place).rstrip("^"), part(parts, _FACILITY) or None)
