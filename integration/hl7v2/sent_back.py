"""Our own report as an EHR sends it back by ORU^R01: read as if it had put it by FHIR.

An order is ours by its filler's number (OBR-3), `id^HISBUNDLE` as `report` writes it.

| OBR-25                                 | status           |
|----------------------------------------|------------------|
| F                                      | final            |
| C                                      | amended          |
| X, W, or C with every OBX-11 W, D or X | entered-in-error |
| any other, P above all                 | decides nothing  |

The conclusion is what its impressions say that are not withdrawn, as carts' statements are read;
OBR-32 says who, OBR-22 when, PID-3 whose.
"""

from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from uuid import UUID

from integration.errors import Refused, as_refused
from integration.fhir import codes
from integration.fhir.codes import Json
from integration.hl7v2.measurements import measured
from integration.hl7v2.message import Message, Segment, part
from integration.hl7v2.patient import patient_of
from integration.hl7v2.report import FILLER
from integration.hl7v2.signals import Order, is_withdrawn
from integration.hl7v2.times import parse_time
from model.errors import EcgError

_STATUS = {"F": "final", "C": "amended", "X": "entered-in-error", "W": "entered-in-error"}
_OID = "urn:oid:"


@dataclass(frozen=True)
class SentBack:
    """A decision of an EHR.

    Attributes:
        exam_id: whose report.
        report: DiagnosticReport with what of it was told.
        at: aware; when it was decided, as far as told.
        obr: the segment that it stands in.
    """

    exam_id: UUID
    report: Json = field(repr=False)
    at: datetime | None
    obr: Segment

    def placed(self, refused: Refused) -> Refused:
        """Return a refusal of the report with the field that it comes from."""
        element = refused.expression.removeprefix("DiagnosticReport.").partition("[")[0]
        places = {
            "status": self.obr.at(25),
            "conclusion": ("OBX", 1, 5),
            "resultsInterpreter": self.obr.at(32),
            "subject": ("PID", 1, 3),
        }
        place = places.get(element, self.obr.at(3))
        return Refused(refused.reason, refused.detail, place)


def is_ours(message: Message, order: Order) -> bool:
    """Tell whether an order is a report of ours."""
    if order.obr is None or message.header.message_type != "ORU":
        return False
    return part(message.components(order.obr.field(3)), 2) == FILLER


def sent_back(message: Message, order: Order, zone: tzinfo | None) -> SentBack | None:
    """Return what an order of ours decides; None: nothing.

    Raises:
        Refused: `report-unknown`, `patient-missing`, `patient-ambiguous`.
    """
    obr = order.obr
    status = _status(message, order)
    if obr is None or status is None:
        return None
    try:
        patient = patient_of(message, order.pids)
    except EcgError as error:
        raise as_refused(error) from None
    exam_id = _id(message, obr)
    report = {
        "resourceType": "DiagnosticReport",
        "identifier": [{"system": codes.ID, "value": str(exam_id)}],
        "status": status,
        "subject": {"identifier": {"value": patient.identifier}},
        "conclusion": " ".join(measured(message, order)[1]),
        "resultsInterpreter": _interpreters(message, obr),
    }
    return SentBack(exam_id, report, _moment(message, obr, zone), obr)


def _status(message: Message, order: Order) -> str | None:
    told = message.text(order.obr.field(25)) if order.obr else ""
    results = order.observations
    if told == "C" and results and all(is_withdrawn(message, obx) for obx in results):
        return "entered-in-error"
    return _STATUS.get(told)


def _id(message: Message, obr: Segment) -> UUID:
    try:
        return UUID(message.components(obr.field(3))[0])
    except ValueError:
        raise Refused("report-unknown", "there is no report with this id", obr.at(3)) from None


def _interpreters(message: Message, obr: Segment) -> list[Json]:
    """Return OBR-32 (NDL) as References: id, name, and the id's authority where that is an OID."""
    first = obr.field(32).split(message.delimiters.repetition, 1)[0]
    person = message.subcomponents(first.split(message.delimiters.component, 1)[0])
    if not any(person):
        return []
    oid = part(person, 10) if part(person, 11) == "ISO" else ""
    identifier = {"value": person[0]} | ({"system": f"{_OID}{oid}"} if oid else {})
    name = " ".join(filter(None, (part(person, 3), part(person, 2))))
    return [{"identifier": identifier, "display": name}]


def _moment(message: Message, obr: Segment, zone: tzinfo | None) -> datetime | None:
    try:
        moment = parse_time(message.components(obr.field(22))[0], zone, obr.at(22))
    except Refused:
        return None
    return moment if isinstance(moment, datetime) else None
