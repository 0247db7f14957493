"""MUSE XML: resting ECGs as GE's MUSE exports them (root RestingECG).

Source: GE Healthcare, MUSE XML Developer's Guide; checked against files of MUSE 9. A lead is base64
of signed 16-bit little-endian samples; LeadDataCRC32 is the CRC of those bytes. The rate is
SampleBase times ten to the SampleExponent. Eight leads are stored; III, aVR, aVL and aVF follow
from I and II. A waveform of type Median is computed and not returned.
"""

import zlib
from dataclasses import dataclass, field
from datetime import date, datetime, tzinfo

import numpy as np
from numpy.typing import NDArray

from db.records import PatientRef
from integration.formats.decoded import (
    DecodedEcg,
    Format,
    device_name,
    mv_per,
    patients_of,
    start_of,
)
from integration.formats.fields import date_and_time, decimal_number, whole_number
from integration.formats.leads import lead_by_name
from integration.formats.markup import Element, all_at, base64_bytes, text_at
from model.ecg import LEADS_12, MAX_SAMPLES, Ecg
from model.errors import EcgError

MAX_CHANNELS = 32
MAX_RECORDINGS = 16

# Einthoven and Goldberger in half steps of I and II, so that nothing is rounded.
_HALF_STEPS = {"III": (-2, 2), "aVR": (-1, -1), "aVL": (2, -1), "aVF": (-1, 2)}


@dataclass(frozen=True)
class _Lead:
    """Attributes: canonical name; samples `(n_samples,)` in steps; millivolts a step."""

    name: str
    steps: NDArray[np.int32] = field(repr=False)
    resolution_mv: float


def decode(root: Element, zone: tzinfo | None = None) -> list[DecodedEcg]:
    """Read every waveform of type Rhythm.

    Leads outside the twelve (V3R, V4R, V7) are left out. Where I and II are there, the other limb
    leads that are not are derived from them.

    Args:
        root: of the document.
        zone: of the cart's clock, which writes no offset; None: the date alone counts.

    Raises:
        EcgError: `samples-missing`, `samples-malformed`, `samples-out-of-range`, `lengths-differ`,
            `checksum-mismatch`, `rate-missing`, `resolution-missing`, `resolution-out-of-range`,
            `unit-unknown`, `lead-missing`, `lead-duplicate`, `leads-malformed`, `time-malformed`,
            `waveform-unsupported`, or what Ecg refuses.
    """
    waveforms = [
        waveform
        for waveform in all_at(root, "Waveform")
        if text_at(waveform, "WaveformType").upper() == "RHYTHM"
    ]
    if not waveforms:
        raise EcgError("samples-missing", "no rhythm was exported, only medians or none")
    if len(waveforms) > MAX_RECORDINGS:
        raise EcgError("waveform-unsupported", f"{len(waveforms)} recordings in one file")
    acquired = _acquired(root, zone)
    return [_recording(root, waveform, acquired) for waveform in waveforms]


def _recording(root: Element, waveform: Element, acquired: datetime | date | None) -> DecodedEcg:
    stored = {lead.name: lead for lead in _leads(waveform)}
    derived = _derived(stored)
    leads = [(stored | derived)[name] for name in LEADS_12 if name in stored or name in derived]
    ecg = Ecg(
        np.stack([(lead.steps * lead.resolution_mv).astype(np.float32) for lead in leads]),
        tuple(lead.name for lead in leads),
        _rate_hz(waveform),
        start_of(acquired),
        tuple(lead.resolution_mv for lead in leads),
    )
    return DecodedEcg(
        ecg,
        Format.MUSE,
        patients_of(_patient(root)),
        acquired,
        device_name(text_at(root, "TestDemographics/AcquisitionDevice")),
    )


def _rate_hz(waveform: Element) -> float:
    base = decimal_number(text_at(waveform, "SampleBase"), "rate-missing")
    exponent = whole_number(text_at(waveform, "SampleExponent") or "0", "rate-missing")
    if not base > 0 or not -9 <= exponent <= 9:
        raise EcgError("rate-missing", "no rate that a cart samples at")
    return float(base * 10.0**exponent)


def _leads(waveform: Element) -> list[_Lead]:
    found = all_at(waveform, "LeadData")
    announced = text_at(waveform, "NumberofLeads")
    if len(found) > MAX_CHANNELS or (announced and announced != str(len(found))):
        raise EcgError("leads-malformed", f"{len(found)} leads where another number was announced")
    names = [(lead_by_name(text_at(data, "LeadID")), data) for data in found]
    leads = [_lead(name, data) for name, data in names if name]
    if not leads:
        raise EcgError("lead-missing", "no lead is one of the twelve")
    if len({lead.name for lead in leads}) < len(leads):
        raise EcgError("lead-duplicate", "a lead appears twice")
    if len({len(lead.steps) for lead in leads}) > 1:
        raise EcgError("lengths-differ", "the leads are of different length")
    return leads


def _lead(name: str, data: Element) -> _Lead:
    # What is stated here has no certain meaning but when it is nothing.
    for tag in ("LeadTimeOffset", "LeadOffsetFirstSample", "FirstSampleBaseline"):
        if decimal_number(text_at(data, tag) or "0", "samples-malformed") != 0:
            raise EcgError("waveform-unsupported", f"{name} has a {tag}")
    if text_at(data, "LeadSampleSize") not in {"", "2"}:
        raise EcgError("waveform-unsupported", "samples must be of 16 bits")
    return _Lead(name, _steps(data), _resolution_mv(data))


def _steps(data: Element) -> NDArray[np.int32]:
    content = base64_bytes(text_at(data, "WaveFormData"))
    _check_crc(content, text_at(data, "LeadDataCRC32"))
    counts = {"LeadByteCountTotal": len(content), "LeadSampleCountTotal": len(content) // 2}
    for tag, count in counts.items():
        if text_at(data, tag) not in {"", str(count)}:
            raise EcgError("samples-malformed", f"not as many samples as {tag} says")
    if len(content) % 2:
        raise EcgError("samples-malformed", "half a sample is left over")
    if len(content) // 2 > MAX_SAMPLES:
        raise EcgError("samples-out-of-range", f"{len(content) // 2} samples a lead")
    return np.frombuffer(content, "<i2").astype(np.int32)


def _check_crc(content: bytes, stated: str) -> None:
    if stated and whole_number(stated, "checksum-mismatch") % 2**32 != zlib.crc32(content):
        raise EcgError("checksum-mismatch", "the samples are not those of LeadDataCRC32")


def _resolution_mv(data: Element) -> float:
    text = text_at(data, "LeadAmplitudeUnitsPerBit")
    factor = mv_per(text_at(data, "LeadAmplitudeUnits").upper())
    if factor is None:
        raise EcgError("unit-unknown", "the samples are not in MICROVOLTS or MILLIVOLTS")
    resolution_mv = decimal_number(text, "resolution-missing") * factor
    if not 0 < resolution_mv < 1:
        raise EcgError("resolution-out-of-range", "a step must lie between 0 and 1 mV")
    return resolution_mv


def _derived(leads: dict[str, _Lead]) -> dict[str, _Lead]:
    """Return the limb leads that are not in the file, where I and II are, of the same step."""
    one, two = leads.get("I"), leads.get("II")
    if one is None or two is None or one.resolution_mv != two.resolution_mv:
        return {}
    return {
        name: _Lead(name, one.steps * first + two.steps * second, one.resolution_mv / 2)
        for name, (first, second) in _HALF_STEPS.items()
        if name not in leads
    }


def _patient(root: Element) -> PatientRef | None:
    identifier = text_at(root, "PatientDemographics/PatientID")
    return PatientRef(identifier) if identifier else None


def _acquired(root: Element, zone: tzinfo | None) -> datetime | date | None:
    day, time = (text_at(root, f"TestDemographics/Acquisition{part}") for part in ("Date", "Time"))
    return date_and_time(day, time, zone)
