"""What events have in common: JSON of known names, a patient, leads with their samples.

Nothing is guessed: a name that the schema does not know is refused, since it may change what the
rest means.
"""

import base64
import binascii
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from db.records import PatientRef
from integration.errors import Refused
from integration.fhir.element import Element, blamed_on
from integration.fhir.parsing import parse_object
from integration.hl7v2.units import mv_per
from model.ecg import LEADS_12, MAX_AMPLITUDE_MV, MAX_SAMPLES, Ecg

VERSION = 1

_PATIENT = frozenset(("identifier", "authority"))
_LEAD = frozenset(["name", "unit", "resolution", "samples", "samples_int16le", "missing"])
_UNITS = ("mV", "uV", "nV", "V")
_INT32 = 2**31
_NOWHERE = ("", 1, 0)


def open_event(raw: bytes, type_: str, known: frozenset[str]) -> Element:
    """Return the object of an event.

    Args:
        raw: the payload.
        type_: that it has to have.
        known: names that it may have.

    Raises:
        Refused: `json-malformed`, `json-too-complex`, `event-unsupported`, `field-malformed`.
    """
    event = Element(parse_object(raw), "event")
    if event.value.get("type") != type_:
        raise event.refusal("event-unsupported", f"an event of type {type_} is read here", "type")
    version = event.value.get("version")
    if version != VERSION or isinstance(version, bool | float):
        raise event.refusal("event-unsupported", f"version {VERSION} is read here", "version")
    check_names(event, known)
    return event


def patient_in(event: Element) -> PatientRef:
    """Return whose an event is.

    Raises:
        Refused: `patient-missing`, `field-malformed`.
    """
    patient = event.child("patient")
    if patient is None or not patient.text("identifier"):
        raise event.refusal("patient-missing", "nobody's ECG", "patient.identifier")
    check_names(patient, _PATIENT)
    with blamed_on(patient.path):
        return PatientRef(patient.text("identifier"), optional(patient, "authority"))


def ecg_in(event: Element, start: datetime | None) -> Ecg:
    """Return the samples of an event.

    Args:
        event: with `sampling_rate_hz` and `leads`.
        start: of the first sample, aware, or None.

    Raises:
        Refused: `rate-missing`, `rate-out-of-range`, `lead-missing`, `lead-unknown`,
            `lead-duplicate`, `unit-unknown`, `resolution-missing`, `resolution-out-of-range`,
            `samples-missing`, `samples-malformed`, `samples-out-of-range`, `lengths-differ`,
            `amplitude-implausible`, `field-malformed`.
    """
    rate = event.number("sampling_rate_hz")
    if rate is None:
        raise event.refusal("rate-missing", "samples a second", "sampling_rate_hz")
    leads = event.items("leads")
    if not leads:
        raise event.refusal("lead-missing", "no lead", "leads")
    rows, names, steps_mv = [], [], []
    for lead in leads:
        check_names(lead, _LEAD)
        names.append(_name(lead))
        steps_mv.append(_step_mv(lead))
        rows.append(_millivolts(lead, steps_mv[-1]))
    if len({len(row) for row in rows}) > 1:
        raise event.refusal("lengths-differ", "all leads have the same length", "leads")
    voltage_mv = np.stack(rows).astype(np.float32)
    with blamed_on(event.path):
        return Ecg(voltage_mv, tuple(names), rate, start, tuple(steps_mv))


def _name(lead: Element) -> str:
    name = lead.text("name")
    if name not in LEADS_12:
        raise lead.refusal("lead-unknown", "not the name of one of the twelve", "name")
    return name


def _step_mv(lead: Element) -> float:
    unit, resolution = lead.text("unit"), lead.number("resolution")
    if unit not in _UNITS:
        raise lead.refusal("unit-unknown", "the unit is mV, uV, nV or V", "unit")
    if resolution is None:
        raise lead.refusal("resolution-missing", "voltage a step", "resolution")
    step_mv = resolution * mv_per([unit], _NOWHERE)
    if not 0 < step_mv < 1:
        detail = "a step must lie between 0 and 1 mV"
        raise lead.refusal("resolution-out-of-range", detail, "resolution")
    return step_mv


def _millivolts(lead: Element, step_mv: float) -> NDArray[np.float64]:
    if ("samples" in lead) == ("samples_int16le" in lead):
        raise lead.refusal("samples-missing", "samples or samples_int16le, one of them")
    if "samples" in lead:
        values, name = _listed(lead), "samples"
    else:
        values, name = _packed(lead), "samples_int16le"
    if not 1 <= len(values) <= MAX_SAMPLES:
        raise lead.refusal("samples-out-of-range", "no samples, or too many", name)
    millivolts = values * step_mv
    if np.nanmax(np.abs(millivolts), initial=0.0) > MAX_AMPLITUDE_MV:
        detail = f"beyond {MAX_AMPLITUDE_MV:g} mV"
        raise lead.refusal("amplitude-implausible", detail, name)
    return millivolts


def _listed(lead: Element) -> NDArray[np.float64]:
    samples = lead.value["samples"]
    if "missing" in lead:
        raise lead.refusal(
            "field-malformed", "goes with samples_int16le; here it is null", "missing"
        )
    if not isinstance(samples, list) or not set(map(type, samples)) <= {int, type(None)}:
        raise lead.refusal("samples-malformed", "whole numbers and null", "samples")
    values = np.array(samples, np.float64)  # None becomes NaN
    if np.nanmax(np.abs(values), initial=0.0) > _INT32:
        raise lead.refusal("samples-out-of-range", "32 bits hold a sample", "samples")
    return values


def _packed(lead: Element) -> NDArray[np.float64]:
    try:
        packed = base64.b64decode(lead.text("samples_int16le"), validate=True)
    except (binascii.Error, ValueError):
        detail = "no base64"
        raise lead.refusal("samples-malformed", detail, "samples_int16le") from None
    if len(packed) % 2:
        raise lead.refusal("samples-malformed", "half a sample at the end", "samples_int16le")
    counts = np.frombuffer(packed, "<i2")
    values = counts.astype(np.float64)
    if "missing" in lead:
        missing = lead.value["missing"]
        if type(missing) is not int or not -(2**15) <= missing < 2**15:
            raise lead.refusal("field-malformed", "a whole number of 16 bits", "missing")
        values[counts == missing] = np.nan
    return values


def time_in(event: Element, name: str) -> datetime | None:
    """Return an aware time, or None where it is missing.

    Raises:
        Refused: `time-malformed`, `time-naive`, `field-malformed`.
    """
    text = optional(event, name)
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise event.refusal("time-malformed", "a time as 2026-01-02T03:04:05+01:00", name) from None
    if time.tzinfo is None:
        raise event.refusal("time-naive", "a time without its offset", name)
    return time


def optional(element: Element, name: str) -> str | None:
    """Return a text that may be missing, but not empty.

    Raises:
        Refused: `field-malformed`.
    """
    if name not in element:
        return None
    text = element.text(name)
    if not text:
        raise element.refusal("field-malformed", "empty; leave it out", name)
    return text


def check_names(element: Element, known: frozenset[str]) -> None:
    """Refuse what the schema does not name.

    Raises:
        Refused: `field-malformed`.
    """
    if not known.issuperset(element.value):
        detail = f"version {VERSION} knows {', '.join(sorted(known))}"
        raise Refused("field-malformed", detail, expression=element.path)
