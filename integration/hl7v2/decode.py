"""A message to ECGs in millivolts and what else it tells, or to a stable reason why not.

Whatever a message's type, its OBX segments decide whether it carries ECGs: senders use ORU^R01,
ORU^W01, ORF^R04 and others. What is certain is taken; the rest is refused with its place. A message
without ECGs is ordinary traffic and never an error; what it tells of measurements, beds and orders
is kept. The shapes: `generic` (A), `wcm` (B), `measurements` (C), `embedded` (D).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, tzinfo
from enum import StrEnum
from types import MappingProxyType

from db.clinical import Clinical, NewResult
from db.records import Bed, NewExam, PatientRef, keepable
from integration.errors import Refused, as_refused
from integration.formats import DecodedEcg
from integration.hl7v2.beds import bed_moves, bed_of
from integration.hl7v2.embedded import embedded
from integration.hl7v2.generic import generic_signals
from integration.hl7v2.header import Header, parse_header
from integration.hl7v2.measurements import measured
from integration.hl7v2.message import Message, Segment
from integration.hl7v2.orders import placed_orders
from integration.hl7v2.patient import patient_of
from integration.hl7v2.sent_back import SentBack, is_ours, sent_back
from integration.hl7v2.signals import Order, Recording, recordings
from integration.hl7v2.times import parse_time, zone_of
from integration.hl7v2.wcm import scalar_named_like_lead, wcm_signals
from model.errors import EcgError

_BATCH = ("FHS", "BHS", "BTS", "FTS", "MSH")  # MSH: a second message in the same frame
_NO_DIALECT: Mapping[str, str] = MappingProxyType({})


class Kind(StrEnum):
    """What a message is to us."""

    ECG = "ecg"
    MEASUREMENTS = "measurements"  # of a cart, without the ECG
    DOCUMENT = "document"  # a PDF, a picture, a text, or a link
    MOVEMENT = "movement"  # of a patient between beds
    ORDER = "order"
    REPORT = "report"  # of ours, sent back
    OTHER = "other"


@dataclass(frozen=True)
class Decoded:
    """A message that was understood.

    Attributes:
        header: its MSH.
        kind: what it is to us; ECG whenever it carries one.
        exams: the ECGs, waveforms before files; empty when `kind` is another.
        clinical: what else it tells.
        notes: what was left out, and why.
        sent_back: what it decides on a report of ours.
    """

    header: Header
    kind: Kind
    exams: tuple[NewExam, ...] = field(repr=False)
    clinical: Clinical
    notes: tuple[Refused, ...] = ()
    sent_back: SentBack | None = None


def decode(
    raw: bytes,
    *,
    default_charset: str = "ascii",
    zone: tzinfo | None = None,
    dialect: Mapping[str, str] = _NO_DIALECT,
) -> Decoded:
    """Read a message.

    Args:
        raw: what stood in the frame.
        default_charset: Python codec of messages whose MSH-18 is empty.
        zone: of time stamps without an offset in a message whose MSH-7 has none either; None: such
            a stamp counts by its date alone.
        dialect: the sender's own word for a lead -> the lead.

    Raises:
        Refused: with a reason of `integration.errors.ANSWERS` and, where known, the place.
    """
    header = parse_header(raw, default_charset)
    message = Message(raw, header, default_charset, dialect)
    if not header.control_id:
        raise Refused("control-id-missing", "MSH-10 is empty", ("MSH", 1, 10))
    if header.version and header.version.split(".")[0] != "2":
        raise Refused("version-unsupported", "not HL7 version 2", ("MSH", 1, 12))
    every = list(_orders(message))
    reports = [order for order in every if is_ours(message, order)]
    orders = [order for order in every if not is_ours(message, order)]
    stamps = zone_of(header.sent_at) or zone
    found = recordings(
        (order, generic_signals(message, order) + wcm_signals(message, order)) for order in orders
    )
    files = [(order, embedded(message, order, stamps)) for order in orders]
    carriers = [(r.orders, _exam(message, r, stamps)) for r in found]
    carriers += [
        ((order,), _exam_of_file(message, order, ecg, stamps))
        for order, file in files
        for ecg in file.ecgs
    ]
    clinical = Clinical(
        results=tuple(_results(message, orders, [own for own, _ in carriers], stamps)),
        moves=bed_moves(message, stamps),
        orders=placed_orders(message),
    )
    documents = any(file.documents for _, file in files)
    kind = Kind.ECG if carriers else _kind(clinical, documents, bool(reports))
    notes = tuple(note for order in orders for note in order.passed_over)
    if kind in (Kind.OTHER, Kind.MOVEMENT, Kind.ORDER):
        if notes:
            raise notes[0]
        _refuse_scalars(message, orders)
    exams = tuple(exam for _, exam in carriers)
    return Decoded(header, kind, exams, clinical, notes, _decision(message, reports, stamps))


def _kind(clinical: Clinical, documents: bool, reports: bool) -> Kind:  # noqa: FBT001 - of five
    if clinical.results:
        return Kind.MEASUREMENTS
    if documents:
        return Kind.DOCUMENT
    if reports:
        return Kind.REPORT
    if clinical.moves:
        return Kind.MOVEMENT
    return Kind.ORDER if clinical.orders else Kind.OTHER


def _decision(message: Message, reports: list[Order], zone: tzinfo | None) -> SentBack | None:
    found = [one for order in reports if (one := sent_back(message, order, zone))]
    if len(found) > 1:  # of which one might be taken and another one not
        detail = "one report a message is decided on"
        raise Refused("decision-malformed", detail, found[1].obr.at(3))
    return found[0] if found else None


def _orders(message: Message) -> Iterator[Order]:
    """Yield the groups of OBX with the OBR, PV1 and PID that govern them.

    Raises:
        Refused: `batch-unsupported`; `samples-malformed` for a line break inside a waveform.
    """
    pids: tuple[Segment, ...] = ()
    pv1: Segment | None = None
    patient, order, broken = 0, Order(0, (), None), _Broken()
    for segment in message.segments():
        if segment.name in _BATCH:
            raise Refused("batch-unsupported", "one message a frame", segment.at(0))
        if not segment.name:
            broken.go_on(segment)
            continue
        broken.mend()
        if segment.name == "PID":
            yield order
            # PIDs that follow each other at once describe one patient, and have to agree.
            pids = (*pids, segment) if not order.observations and order.obr is None else (segment,)
            patient, pv1 = patient + 1, None
            order = Order(patient, pids, None)
        elif segment.name == "PV1":
            pv1 = segment
            order = replace(order, pv1=segment)
        elif segment.name == "OBR":
            yield order
            order = Order(patient, pids, segment, pv1)
        elif segment.name == "OBX":
            order.observations.append(segment)
        broken = _Broken(segment if segment.name == "OBX" else None)
    broken.mend()
    yield order


@dataclass
class _Broken:
    """Lines that are no segment, which go on with the OBX before them: a text or a file."""

    obx: Segment | None = None
    lines: list[Segment] = field(default_factory=list)

    def go_on(self, line: Segment) -> None:
        """Take one more line; among samples none is taken."""
        if self.obx and self.obx.field(2).strip() in (b"NA", b"MA"):
            raise Refused("samples-malformed", "a line break among the samples", self.obx.at(5))
        self.lines.append(line)

    def mend(self) -> None:
        """Put the lines back where they belong, if the field that broke was OBX-5."""
        if not self.obx or not self.lines or len(self.obx.fields) != 6:  # OBX-5 is the last
            return
        ended = next((n for n, line in enumerate(self.lines) if len(line.fields) > 1), None)
        parts = self.lines if ended is None else self.lines[: ended + 1]
        self.obx.fields[5] = b"\n".join([self.obx.fields[5], *(line.fields[0] for line in parts)])
        self.obx.fields.extend(parts[-1].fields[1:])


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
    patient, bed = _whose(message, order)
    try:
        return NewExam(patient, ecg, acquired, *_numbers(message, order), bed)
    except EcgError as error:  # an identifier that cannot be kept
        raise as_refused(error) from None


def _exam_of_file(message: Message, order: Order, file: DecodedEcg, zone: tzinfo | None) -> NewExam:
    patient, bed = _whose(message, order)
    acquired = file.acquired or _when(message, order, zone)
    try:
        return NewExam(patient, file.ecg, acquired, *_numbers(message, order), bed)
    except EcgError as error:
        raise as_refused(error) from None


def _whose(message: Message, order: Order) -> tuple[PatientRef | None, Bed | None]:
    """Return the patient and the bed; without a patient the bed has to be certain.

    Raises:
        Refused: `patient-missing`, `patient-ambiguous`.
    """
    try:
        bed = bed_of(message, order)
        try:
            return patient_of(message, order.pids), bed
        except Refused as missing:
            if missing.reason != "patient-missing" or bed is None:
                raise
            return None, bed
    except EcgError as error:
        raise as_refused(error) from None


def _results(
    message: Message, orders: list[Order], carriers: list[tuple[Order, ...]], zone: tzinfo | None
) -> Iterator[NewResult]:
    for order in orders:
        measurements, statements = measured(message, order)
        if not measurements and not statements:
            continue
        try:
            patient = patient_of(message, order.pids)
        except (Refused, EcgError):
            patient = None
        placer, filler = (n if keepable(n or "") else None for n in _numbers(message, order))
        yield NewResult(
            patient,
            measurements,
            statements,
            _when(message, order, zone),
            placer,
            filler,
            exam=_exam_beside(order, carriers),
        )


def _exam_beside(order: Order, carriers: list[tuple[Order, ...]]) -> int | None:
    """Return which ECG a result belongs to: its order's, or the only one of its patient."""
    own = [i for i, orders in enumerate(carriers) if any(o is order for o in orders)]
    patients = [i for i, orders in enumerate(carriers) if orders[0].patient == order.patient]
    return next((found[0] for found in (own, patients) if len(found) == 1), None)


def _when(message: Message, order: Order, zone: tzinfo | None) -> datetime | date | None:
    """Return OBR-7 where it is a time; results and files do not hang on it."""
    value, place = order.start()
    try:
        return parse_time(message.components(value)[0], zone, place)
    except Refused:
        return None


def _numbers(message: Message, order: Order) -> tuple[str | None, str | None]:
    """Return the numbers of the placer (OBR-2) and of the filler (OBR-3)."""
    values = [order.obr.field(number) if order.obr else b"" for number in (2, 3)]
    placer, filler = (message.components(value)[0] or None for value in values)
    return placer, filler
