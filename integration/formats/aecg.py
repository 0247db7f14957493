"""Annotated ECG: XML of HL7 version 3 (PORT_MT020001).

Source: HL7 aECG Implementation Guide, 2005 (Brown, Badilini), part III; data types SLIST and GLIST
of HL7 v3. A value is its list's origin plus digit times scale. A time sequence gives the head and
the increment. A series of code RHYTHM is what was recorded; REPRESENTATIVE_BEAT, and all that hangs
under `derivation`, was computed from it and is not returned.
"""

import math
import re
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, tzinfo

import numpy as np
from numpy.typing import NDArray

from db.records import PatientRef
from integration.errors import Refused
from integration.formats.decoded import (
    DecodedEcg,
    Format,
    device_name,
    mv_per,
    patients_of,
    start_of,
)
from integration.formats.fields import decimal_number
from integration.formats.leads import lead_by_code
from integration.formats.markup import Element, all_at, attribute_at, in_any_namespace, text_at
from integration.hl7v2.times import parse_time
from model.ecg import MAX_SAMPLES, Ecg
from model.errors import EcgError

MAX_RECORDINGS = 64
MAX_CHANNELS = 32

_TIME_CODES = ("TIME_ABSOLUTE", "TIME_RELATIVE")
_S_PER_UNIT = {"s": 1.0, "ms": 1e-3, "us": 1e-6}
# Null flavours of HL7 v3 where a digit should stand, and what is written instead.
_NULLS = re.compile(rb"\b(?:NULL|NI|UNK|NASK|ASKU|NAV|NA|MSK|NaN)\b")
_INTEGERS = b"0123456789+- \t\r\n"
_DECIMALS = _INTEGERS + b".eEna"
_LONE_SIGN = re.compile(rb"[+-](?![\d.])")
_MAX_DIGIT = 2**31  # no converter's word is longer


@dataclass(frozen=True)
class _Timing:
    """Attributes: samples a second; time of the first sample, where it is known."""

    rate_hz: float
    acquired: datetime | date | None


@dataclass(frozen=True)
class _Channel:
    """Attributes: canonical lead; millivolts `(n_samples,)`, NaN for null; millivolts a step."""

    lead: str
    voltage_mv: NDArray[np.float32] = field(repr=False)
    resolution_mv: float


def decode(root: Element, zone: tzinfo | None = None) -> list[DecodedEcg]:
    """Read every rhythm series, one recording for each of its sequence sets.

    Channels outside the twelve leads are left out; a set without any of them is refused.

    Args:
        root: of the document.
        zone: of times without an offset; None: such a time counts by its date alone.

    Raises:
        EcgError: `samples-missing`, `samples-malformed`, `samples-out-of-range`, `lengths-differ`,
            `rate-missing`, `resolution-missing`, `resolution-malformed`,
            `resolution-out-of-range`, `unit-unknown`, `lead-missing`, `lead-mismatch`,
            `leads-malformed`, `time-malformed`, `waveform-unsupported`, or what Ecg refuses.
    """
    patients = _patients(root)
    found = [
        _recording(root, series, sequences, patients, zone)
        for series in all_at(root, "component/series")
        if attribute_at(series, "code", "code").upper() == "RHYTHM"
        for sequences in _sequence_sets(series)
    ]
    if not found:
        raise EcgError("samples-missing", "no rhythm was recorded, only derived series or none")
    return found


def _sequence_sets(series: Element) -> list[Element]:
    sets = all_at(series, "component/sequenceSet")
    if len(sets) > MAX_RECORDINGS:
        raise EcgError("waveform-unsupported", f"{len(sets)} recordings in one series")
    return sets


def _recording(
    root: Element,
    series: Element,
    sequences: Element,
    patients: tuple[PatientRef, ...],
    zone: tzinfo | None,
) -> DecodedEcg:
    parts = all_at(sequences, "component/sequence")
    times = [part for part in parts if attribute_at(part, "code", "code") in _TIME_CODES]
    if len(times) != 1:
        raise EcgError("rate-missing", "a set of sequences needs one sequence of times")
    timing = _timing(times[0], _started(root, series, zone), zone)
    channels = _channels([part for part in parts if part is not times[0]])
    if len({len(channel.voltage_mv) for channel in channels}) > 1:
        raise EcgError("lengths-differ", "the leads of one set are of different length")
    ecg = Ecg(
        np.stack([channel.voltage_mv for channel in channels]),
        tuple(channel.lead for channel in channels),
        timing.rate_hz,
        start_of(timing.acquired),
        tuple(channel.resolution_mv for channel in channels),
    )
    return DecodedEcg(ecg, Format.AECG, patients, timing.acquired, _device(series))


def _channels(parts: list[Element]) -> list[_Channel]:
    if len(parts) > MAX_CHANNELS:
        raise EcgError("leads-malformed", f"{len(parts)} channels")
    leads = [(_lead(part), part) for part in parts]
    channels = [_channel(lead, part) for lead, part in leads if lead]
    if not channels:
        raise EcgError("lead-missing", "no sequence is one of the twelve leads")
    return channels


def _lead(sequence: Element) -> str | None:
    code, name, system = (
        attribute_at(sequence, "code", key) for key in ("code", "displayName", "codeSystemName")
    )
    return lead_by_code(code, name, system)


def _channel(lead: str, sequence: Element) -> _Channel:
    value = sequence.find(in_any_namespace("value"))
    if value is None or not _kind(value).startswith("SLIST"):
        raise EcgError("waveform-unsupported", f"{lead} is no list of scaled samples")
    origin_mv, scale_mv = _millivolts(value, "origin"), _millivolts(value, "scale")
    if not 0 < scale_mv < 1:
        raise EcgError("resolution-out-of-range", "a step must lie between 0 and 1 mV")
    if not abs(origin_mv) < 1e6:
        raise EcgError("amplitude-implausible", f"the origin of {lead}")
    digits = _digits(text_at(value, "digits"))
    return _Channel(lead, (digits * scale_mv + origin_mv).astype(np.float32), scale_mv)


def _kind(value: Element) -> str:
    """Return the data type that `xsi:type` names, without its prefix."""
    name = str(value.get("{http://www.w3.org/2001/XMLSchema-instance}type") or "")
    return name.rsplit(":", 1)[-1]


def _millivolts(value: Element, name: str) -> float:
    """Return a list's origin or scale."""
    number, unit = attribute_at(value, name, "value"), attribute_at(value, name, "unit")
    if not number:
        raise EcgError("resolution-missing", f"a list of samples has no {name}")
    factor = mv_per(unit)
    if factor is None:
        raise EcgError("unit-unknown", "the samples are not in V, mV, uV or nV")
    return decimal_number(number, "resolution-malformed") * factor


def _digits(text: str) -> NDArray[np.float64]:
    """Return the samples as written, `(n_samples,)`, NaN where a null flavour stands."""
    written = text.encode()
    if written.translate(None, _DECIMALS):
        written = _NULLS.sub(b"nan", written)
    if not written:
        raise EcgError("samples-missing", "a list of samples is empty")
    values = _parsed(written)
    if len(values) > MAX_SAMPLES:
        raise EcgError("samples-out-of-range", f"{len(values)} samples a lead")
    if np.nanmax(np.abs(values), initial=0) > _MAX_DIGIT:
        raise EcgError("samples-malformed", "a sample is beyond 32 bits")
    return values


def _parsed(written: bytes) -> NDArray[np.float64]:
    integers = not written.translate(None, _INTEGERS)
    # np.fromstring takes a lone sign for 0.
    if not _LONE_SIGN.search(written) and (integers or not written.translate(None, _DECIMALS)):
        with suppress(ValueError):
            values = np.fromstring(written, np.int64 if integers else np.float64, sep=" ")
            return values.astype(np.float64)
    raise EcgError("samples-malformed", "a sample is not a number")


def _timing(sequence: Element, started: datetime | date | None, zone: tzinfo | None) -> _Timing:
    value = sequence.find(in_any_namespace("value"))
    if value is None or not _kind(value).startswith("GLIST"):
        raise EcgError("rate-missing", "the times are not given by a head and an increment")
    increment_s = _seconds(value, "increment")
    if not increment_s > 0:
        raise EcgError("rate-missing", "the increment of time is not above 0")
    # 1/0.002 is 500 within a rounding of the last digit, which is no rate anybody meant.
    rate_hz = float(f"{1 / increment_s:.9g}")
    if attribute_at(sequence, "code", "code") == "TIME_ABSOLUTE":
        head = _stamp(attribute_at(value, "head", "value"), zone)
        return _Timing(rate_hz, head or started)
    return _Timing(rate_hz, _later(started, _seconds(value, "head")))


def _later(started: datetime | date | None, offset_s: float) -> datetime | date | None:
    if not isinstance(started, datetime):
        return started
    try:
        return started + timedelta(seconds=offset_s)
    except OverflowError:
        raise EcgError("time-malformed", "no such time") from None


def _seconds(value: Element, name: str) -> float:
    number, unit = attribute_at(value, name, "value"), attribute_at(value, name, "unit")
    if unit not in _S_PER_UNIT:
        raise EcgError("rate-missing", f"the {name} of the times is not in s, ms or us")
    seconds = decimal_number(number, "rate-missing") * _S_PER_UNIT[unit]
    if not math.isfinite(seconds) or abs(seconds) > 1e6:
        raise EcgError("rate-missing", f"the {name} of the times is out of all bounds")
    return seconds


def _started(root: Element, series: Element, zone: tzinfo | None) -> datetime | date | None:
    """Return when a series began, by itself or, where it does not say, by the whole document."""
    paths = [(series, "low"), (series, "center"), (root, "low"), (root, "center")]
    stamps = (attribute_at(where, f"effectiveTime/{end}", "value") for where, end in paths)
    return _stamp(next((stamp for stamp in stamps if stamp), ""), zone)


def _stamp(text: str, zone: tzinfo | None) -> datetime | date | None:
    try:
        return parse_time(text, zone, ("", 1, 0))
    except Refused as refused:
        raise EcgError(refused.reason, refused.detail) from None


def _patients(root: Element) -> tuple[PatientRef, ...]:
    path = "componentOf/timepointEvent/componentOf/subjectAssignment/subject/trialSubject/id"
    return patients_of(*map(_patient, all_at(root, path)))


def _patient(element: Element) -> PatientRef | None:
    """Read an instance identifier: the root scopes the extension, or is unique by itself."""
    scope, extension = ((element.get(key) or "").strip() for key in ("root", "extension"))
    if extension:
        return PatientRef(extension, scope or None)
    return PatientRef(scope) if scope else None


def _device(series: Element) -> str | None:
    author = "author/seriesAuthor"
    return device_name(
        text_at(series, f"{author}/manufacturerOrganization/name"),
        text_at(series, f"{author}/manufacturedSeriesDevice/manufacturerModelName"),
        text_at(series, f"{author}/manufacturedSeriesDevice/softwareName"),
    )
