"""ECG events: JSON as `ecg-event.schema.json` says, to an ECG in millivolts."""

from importlib.resources import files

from db.records import NewExam
from integration.fhir.element import blamed_on
from integration.kafka.event import ecg_in, open_event, optional, patient_in, time_in

TYPE = "ecg"
SCHEMA = files("integration.kafka") / "ecg-event.schema.json"

_HEAD = ("type", "version", "id", "patient", "start", "placer_order", "filler_order")
_EVENT = frozenset((*_HEAD, "sampling_rate_hz", "leads"))


def decode_ecg_event(raw: bytes) -> tuple[str, NewExam]:
    """Read an event.

    Returns:
        Its own id, or "", and the ECG.

    Raises:
        Refused: with the place; the reasons of `integration.kafka.event`.
    """
    event = open_event(raw, TYPE, _EVENT)
    start = time_in(event, "start")
    ecg, patient = ecg_in(event, start), patient_in(event)
    orders = optional(event, "placer_order"), optional(event, "filler_order")
    with blamed_on(event.path):
        exam = NewExam(patient, ecg, start, *orders)
    return optional(event, "id") or "", exam
