"""Philips Sierra XML, versions 1.03 and 1.04 (root restingecgdata).

Source: the description of the format by the sierra-ecg-tools project (C. Watford), checked against
files of both versions. Samples are XLI in base64, in steps of as many microvolts as the resolution
says. III, aVR, aVL and aVF are stored as what they differ from Einthoven and Goldberger. Carts
append a calibration pulse to the leads, which is no ECG and is cut off; so are representative beats
(`repbeats`) left alone.
"""

from datetime import date, datetime, tzinfo

import numpy as np
from numpy.typing import NDArray

from db.records import PatientRef
from integration.formats.decoded import DecodedEcg, Format, device_name, patients_of, start_of
from integration.formats.fields import date_and_time, decimal_number, whole_number
from integration.formats.leads import lead_by_name
from integration.formats.markup import Element, all_at, attribute_at, base64_bytes, text_at
from integration.formats.xli import unpack_leads
from model.ecg import LEADS_12, Ecg
from model.errors import EcgError

MAX_CHANNELS = 16
MAX_PACKED_BYTES = 2 * 1024 * 1024  # twelve leads take 24 kB for 11 s
MAX_DURATION_MS = 5 * 60 * 1000  # carts write 11 s; the unpacking is bounded by this

_VERSIONS = {"1.03", "1.04", "1.04.01", "1.04.02"}
_STANDARD_SETS = {"STD-12", "10-WIRE"}  # acquisition types whose leads need no names
_CALIBRATION_MV = 1.0

_CHARACTERISTICS = "dataacquisition/signalcharacteristics"
_WAVEFORMS = "waveforms/parsedwaveforms"


def decode(root: Element, zone: tzinfo | None = None) -> list[DecodedEcg]:
    """Read the rhythm.

    Leads outside the twelve are left out.

    Args:
        root: of the document.
        zone: of the cart's clock, which writes no offset; None: the date alone counts.

    Raises:
        EcgError: `file-too-large`, `samples-missing`, `samples-malformed`,
            `samples-out-of-range`, `rate-missing`, `rate-conflict`, `resolution-missing`,
            `resolution-conflict`, `resolution-out-of-range`, `lead-missing`, `lead-duplicate`,
            `leads-malformed`, `time-malformed`, `waveform-unsupported`, or what Ecg refuses.
    """
    _check_kind(root)
    labels = _labels(root)
    rate_hz = _agreed(root, ("samplingrate",), "samplespersecond", "rate")
    step_uv = _agreed(root, ("signalresolution", "resolution"), "resolution", "resolution")
    if not 0 < step_uv < 1000:
        raise EcgError("resolution-out-of-range", "a step must lie between 0 and 1 mV")
    resolution_mv = step_uv / 1000
    packed = base64_bytes(text_at(root, _WAVEFORMS))
    if len(packed) > MAX_PACKED_BYTES:
        raise EcgError("file-too-large", f"more than {MAX_PACKED_BYTES} bytes of samples")
    stored = unpack_leads(packed, len(labels), _n_samples(root, rate_hz))
    leads = _restored({label: row for label, row in zip(labels, stored, strict=True) if label})
    steps = _without_calibration(np.stack(list(leads.values())), _CALIBRATION_MV / resolution_mv)
    acquired = _acquired(root, zone)
    ecg = Ecg(
        (steps * resolution_mv).astype(np.float32),
        tuple(leads),
        rate_hz,
        start_of(acquired),
        (resolution_mv,) * len(leads),
    )
    machine = text_at(root, "dataacquisition/machine")
    found = DecodedEcg(
        ecg, Format.SIERRA, patients_of(_patient(root)), acquired, device_name("Philips", machine)
    )
    return [found]


def _check_kind(root: Element) -> None:
    """Refuse what is not certain: other versions, codings and kinds of samples."""
    if text_at(root, "documentinfo/documentversion") not in _VERSIONS:
        raise EcgError("waveform-unsupported", "a version of Sierra XML that is not known")
    if len(all_at(root, _WAVEFORMS)) != 1:
        raise EcgError("samples-missing", "one set of waveforms is needed")
    methods = {attribute_at(root, _WAVEFORMS, name) for name in ("compressmethod", "compression")}
    if methods - {""} != {"XLI"} or attribute_at(root, _WAVEFORMS, "dataencoding") != "Base64":
        # Whether limb leads are stored as differences is only known of XLI.
        raise EcgError("waveform-unsupported", "samples must be XLI in base64")
    expected = {"bitspersample": "16", "signaloffset": "0", "signalsigned": "True"}
    for name, value in expected.items():
        if text_at(root, f"{_CHARACTERISTICS}/{name}") not in {"", value}:
            raise EcgError("waveform-unsupported", f"{name} is not {value}")


def _labels(root: Element) -> list[str | None]:
    """Return the standard lead of each chunk in the order of the file, None for another channel."""
    labels: list[str | None]
    if written := attribute_at(root, _WAVEFORMS, "leadlabels").split():
        labels = [lead_by_name(label) for label in written]
        announced = attribute_at(root, _WAVEFORMS, "numberofleads")
    elif text_at(root, f"{_CHARACTERISTICS}/acquisitiontype") in _STANDARD_SETS:
        labels, announced = list(LEADS_12), ""
    else:
        raise EcgError("lead-missing", "the leads are not named")
    if len(labels) > MAX_CHANNELS or announced not in {"", str(len(labels))}:
        raise EcgError("leads-malformed", f"{len(labels)} leads where another number is announced")
    standard = [label for label in labels if label]
    if len(set(standard)) < len(standard):
        raise EcgError("lead-duplicate", "a lead appears twice")
    if not standard:
        raise EcgError("lead-missing", "no channel is one of the twelve leads")
    return labels


def _agreed(root: Element, names: tuple[str, ...], attribute: str, what: str) -> float:
    """Return a number that the file states in one or several places, which have to agree."""
    texts = [text_at(root, f"{_CHARACTERISTICS}/{name}") for name in names]
    texts.append(attribute_at(root, _WAVEFORMS, attribute))
    values = {decimal_number(text, f"{what}-missing") for text in texts if text}
    if not values:
        raise EcgError(f"{what}-missing", f"the file states no {what}")
    if len(values) > 1:
        raise EcgError(f"{what}-conflict", f"the file states more than one {what}")
    return values.pop()


def _n_samples(root: Element, rate_hz: float) -> int:
    stated = attribute_at(root, _WAVEFORMS, "durationperchannel")
    duration_ms = whole_number(stated, "samples-malformed")
    if not 0 < duration_ms <= MAX_DURATION_MS or not rate_hz <= 5000:
        raise EcgError("samples-out-of-range", "no duration that a cart records")
    n_samples = duration_ms * rate_hz / 1000
    if n_samples < 1 or n_samples % 1:
        raise EcgError("samples-malformed", "the duration is no whole number of samples")
    return int(n_samples)


def _restored(stored: dict[str, NDArray[np.int64]]) -> dict[str, NDArray[np.int64]]:
    """Return the leads as recorded: limb leads from what they differ by; halves round down."""
    leads = dict(stored)
    if not leads.keys() & {"III", "aVR", "aVL", "aVF"}:
        return leads
    if "I" not in leads or "II" not in leads:
        raise EcgError("lead-missing", "limb leads are stored by their difference from I and II")
    one, two = leads["I"], leads["II"]
    three = two - one - leads["III"] if "III" in leads else two - one
    expected = {
        "III": two - one,
        "aVR": -((one + two) // 2),
        "aVL": (one - three) // 2,
        "aVF": (two + three) // 2,
    }
    restored = {lead: expected[lead] - leads[lead] for lead in expected if lead in leads}
    return leads | restored


def _without_calibration(steps: NDArray[np.int64], calibration_steps: float) -> NDArray[np.int64]:
    """Return the samples before a calibration pulse at the end, `(n_leads, n_samples)`.

    The pulse goes into every lead alike, from 0 to 1 mV and back. No heart does that: aVR would be
    the opposite of I and II.
    """
    alike = (steps == steps[0]).all(axis=0)
    if len(steps) < 3 or alike.all():
        return steps
    end = len(alike) - int(np.argmin(alike[::-1]))
    pulse = set(steps[0, end:].tolist())
    return steps[:, :end] if pulse == {0, round(calibration_steps)} else steps


def _patient(root: Element) -> PatientRef | None:
    data = "patient/generalpatientdata"
    identifier = text_at(root, f"{data}/patientid") or text_at(root, f"{data}/MRN")
    return PatientRef(identifier) if identifier else None


def _acquired(root: Element, zone: tzinfo | None) -> datetime | date | None:
    day, time = (attribute_at(root, "dataacquisition", name) for name in ("date", "time"))
    return date_and_time(day, time, zone)
