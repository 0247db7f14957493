"""Chunks of continuous recordings: JSON as `chunk-event.schema.json` says, to a packet of a stream.

A chunk tells when it began by the device's clock: as a time, or as the number of its first sample
since a time, which is exact over gaps and restarts of the sender alike.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from importlib.resources import files

from db.records import Bed, NewExam
from integration.fhir.element import Element, blamed_on
from integration.kafka.event import (
    check_names,
    ecg_in,
    open_event,
    optional,
    patient_in,
    time_in,
)
from model.stitch import MAX_PACKET_S

TYPE = "ecg-chunk"
SCHEMA = files("integration.kafka") / "chunk-event.schema.json"
MAX_DEVICE = 64  # characters; with a CloudEvent's source and id it fits an index entry

_TIME = ("start", "epoch", "first_sample")
_WHOSE = ("patient", "bed")
_EVENT = frozenset(
    ("type", "version", "id", "device", *_TIME, *_WHOSE, "sampling_rate_hz", "leads")
)
_PLACE = ("unit", "room", "bed")
_BED = frozenset((*_PLACE, "facility"))
_MAX_SAMPLE = 2**53  # beyond it a JSON number is not exact


def decode_chunk_event(raw: bytes) -> tuple[str, str, NewExam]:
    """Read a chunk.

    Returns:
        Its device, its own id or "", and its samples.

    Raises:
        Refused: with the place; the reasons of `integration.kafka.event`, and `device-missing`,
            `time-missing`, `chunk-too-long`.
    """
    event = open_event(raw, TYPE, _EVENT)
    device = _device(event)
    ecg = ecg_in(event, None)
    ecg = replace(ecg, start=_start(event, ecg.sampling_rate_hz))
    if ecg.duration_s >= MAX_PACKET_S:
        detail = f"{MAX_PACKET_S:g} s or longer: an event of type ecg"
        raise event.refusal("chunk-too-long", detail, "leads")
    bed = _bed(event)
    patient = patient_in(event) if bed is None or "patient" in event else None
    with blamed_on(event.path):
        exam = NewExam(patient, ecg, ecg.start, bed=bed)
    return device, optional(event, "id") or "", exam


def _device(event: Element) -> str:
    device = event.text("device")
    if not device:
        raise event.refusal("device-missing", "whose clock the times are of", "device")
    if len(device) > MAX_DEVICE or not device.isprintable() or "^" in device:
        detail = f"at most {MAX_DEVICE} characters, all printable, no ^"
        raise event.refusal("field-malformed", detail, "device")
    return device


def _start(event: Element, rate_hz: float) -> datetime:
    """Return when the first sample was taken."""
    start, epoch = time_in(event, "start"), time_in(event, "epoch")
    counted = "first_sample" in event
    if start is not None and epoch is None and not counted:
        return start
    if start is not None or epoch is None or not counted:
        raise event.refusal("time-missing", "either start, or epoch and first_sample", "start")
    first = event.value["first_sample"]
    if type(first) is not int or not 0 <= first <= _MAX_SAMPLE:
        raise event.refusal("field-malformed", "a whole number, not negative", "first_sample")
    try:
        return epoch + timedelta(seconds=first / rate_hz)
    except OverflowError:
        raise event.refusal("time-malformed", "beyond the calendar", "first_sample") from None


def _bed(event: Element) -> Bed | None:
    """Return where the device is, named as the messages name it that tell who lies there."""
    bed = event.child("bed")
    if bed is None:
        return None
    check_names(bed, _BED)
    place = [optional(bed, name) or "" for name in _PLACE]
    if not place[0]:
        raise bed.refusal("field-missing", "a bed is in a unit", "unit")
    if any("^" in part for part in place):
        raise bed.refusal("field-malformed", "unit, room and bed are told apart")
    with blamed_on(bed.path):
        return Bed("^".join(place).rstrip("^"), optional(bed, "facility"))
