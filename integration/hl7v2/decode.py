"""A message to ECGs in millivolts, or to a stable reason why not (STANDARDS: shapes A and B).

Whatever a message's type, its OBX segments decide whether it carries ECGs: senders use ORU^R01,
ORU^W01 and others. What is certain is taken; the rest is refused with its place. A message without
waveforms is ordinary traffic and never an error.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, tzinfo
from enum import StrEnum

from db.records import NewExam
from integration.errors import Refused, as_refused
from integration.hl7v2.generic import generic_signals
from integration.hl7v2.header import Header, parse_header
from integration.hl7v2.message import Message, Segment
from integration.hl7v2.patient import patient_of
from integration.hl7v2.signals import Order, Recording, recordings
from integration.hl7v2.times import parse_time, zone_of
from integration.hl7v2.wcm import scalar_named_like_lead, wcm_signals
from model.errors import EcgError

_BATCH = ("FHS", "BHS", "BTS", "FTS", "MSH")  # MSH: a second message in the same frame


class Kind(StrEnum):
    """What a message is to us."""

    ECG = "ecg"
    OTHER = "other"


@dataclass(frozen=True)
class Decoded:
    """A message that was understood.

    Attributes:
        header: its MSH.
        kind: whether it carries ECGs.
        exams: the ECGs, in the order of the message; empty when `kind` is OTHER.
        notes: what was left out, and why.
    """

    header: Header
    kind: Kind
    exams: tuple[NewExam, ...] = field(repr=False)
    notes: tuple[Refused, ...] = ()


def decode(raw: bytes, *, default_charset: str = "ascii", zone: tzinfo | None = None) -> Decoded:
    """Read a message.

    Args:
        raw: what stood in the frame.
        default_charset: Python codec of messages whose MSH-18 is empty.
        zone: of time stamps without an offset in a message whose MSH-7 has none either; None: such
            a stamp counts by its date alone.

    Raises:
        Refused: with a reason of `integration.errors.ANSWERS` and, where known, the place.
    """
    header = parse_header(raw, default_charset)
    message = Message(raw, header, default_charset)
    if not header.control_id:
        raise Refused("control-id-missing", "MSH-10 is empty", ("MSH", 1, 10))
    if header.version and header.version.split(".")[0] != "2":
        raise Refused("version-unsupported", "not HL7 version 2", ("MSH", 1, 12))
    orders = list(_orders(message))
    found = recordings(
        (order, generic_signals(message, order) + wcm_signals(message, order)) for order in orders
    )
    if not found:
        if strangers := [refused for order in orders for refused in order.passed_over]:
            raise strangers[0]
        _refuse_scalars(message, orders)
        return Decoded(header, Kind.OTHER, ())
    stamps = zone_of(header.sent_at) or zone
    notes = tuple(note for order in orders for note in order.passed_over)
    return Decoded(header, Kind.ECG, tuple(_exam(message, r, stamps) for r in found), notes)


def _orders(message: Message) -> Iterator[Order]:
    """Yield the groups of OBX with the OBR and PID that govern them.

    Raises:
        Refused: `batch-unsupported`; `samples-malformed` for a line break inside a waveform.
    """
    pids: tuple[Segment, ...] = ()
    patient, order, last = 0, Order(0, (), None), ""
    for segment in message.segments():
        if segment.name in _BATCH:
            raise Refused("batch-unsupported", "one message a frame", segment.at(0))
        if segment.name == "PID":
            yield order
            # PIDs that follow each other at once describe one patient, and have to agree.
            pids = (*pids, segment) if not order.observations and order.obr is None else (segment,)
            patient += 1
            order = Order(patient, pids, None)
        elif segment.name == "OBR":
            yield order
            order = Order(patient, pids, segment)
        elif segment.name == "OBX":
            order.observations.append(segment)
        elif not segment.name and last == "OBX":
            _refuse_broken_array(order.observations[-1])
        last = segment.name
    yield order


def _refuse_broken_array(obx: Segment) -> None:
    """A line that is no segment may be the rest of a text, but not of a waveform."""
    if obx.field(2).strip() in (b"NA", b"MA"):
        raise Refused("samples-malformed", "a line break among the samples", obx.at(5))


def _refuse_scalars(message: Message, orders: list[Order]) -> None:
    for order in orders:
        if obx := scalar_named_like_lead(message, order):
            raise Refused("waveform-unsupported", "one number is no waveform", obx.at(5))


def _exam(message: Message, recording: Recording, zone: tzinfo | None) -> NewExam:
    order, first = recording.orders[0], recording.signals[0]
    ecg = recording.ecg()
    acquired = parse_time(
        message.components(first.start)[0] if first.start else "", zone, first.start_at
    )
    if isinstance(acquired, datetime):
        ecg = replace(ecg, start=acquired)
    try:
        return NewExam(
            patient=patient_of(message, order.pids),
            ecg=ecg,
            acquired=acquired,
            placer_order=_order_number(message, order, 2),
            filler_order=_order_number(message, order, 3),
        )
    except EcgError as error:  # an identifier that cannot be kept
        raise as_refused(error) from None


def _order_number(message: Message, order: Order, number: int) -> str | None:
    value = order.obr.field(number) if order.obr else b""
    return message.components(value)[0] or None
