"""DICOM ECG waveforms: 12-lead, General, General 32-bit and Ambulatory ECG objects.

Source: DICOM PS3.3, A.34.3 to A.34.5 (the objects), C.10.9 (Waveform Module); PS3.5, A.2 to A.5
(transfer syntaxes); PS3.16, CID 3001 (leads) and CID 3082 (units are UCUM). A sample times
sensitivity times correction, plus the baseline, is the voltage (C.10.9.1.4).
"""

import re
import struct
import warnings
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo
from io import BytesIO
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_dataset
from pydicom.tag import Tag

from db.records import PatientRef
from integration.formats.decoded import (
    DecodedEcg,
    Format,
    device_name,
    patients_of,
    placed,
    start_of,
)
from model.ecg import LEADS_12, MAX_SAMPLES, Ecg, canonical_lead
from model.errors import EcgError

MAX_FILE_BYTES = 128 * 1024 * 1024
MAX_INFLATED_BYTES = 32 * 1024 * 1024  # twelve leads of 16 bits at 1000 Hz for 23 minutes
MAX_CHANNELS = 32
MAX_ELEMENTS = 5_000  # of the data set, not of its sequences

_ECG_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.9.1.1",  # 12-lead ECG
    "1.2.840.10008.5.1.4.1.1.9.1.2",  # General ECG
    "1.2.840.10008.5.1.4.1.1.9.1.3",  # Ambulatory ECG
    "1.2.840.10008.5.1.4.1.1.9.1.4",  # General 32-bit ECG
}
_META_AT = 132  # behind the preamble and DICM (PS3.10, 7.1)
_ENCAPSULATED_PDF = "1.2.840.10008.5.1.4.1.1.104.1"
_IMPLICIT, _EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
_BIG_ENDIAN, _DEFLATED = "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"
_TRANSFER_SYNTAXES = {_IMPLICIT, _EXPLICIT, _BIG_ENDIAN, _DEFLATED}
# Nothing else is taken from the file: no patient's name, no birth date.
_TAGS = [
    "SpecificCharacterSet",
    "SOPClassUID",
    "AcquisitionDateTime",
    "TimezoneOffsetFromUTC",
    "Manufacturer",
    "ManufacturerModelName",
    "PatientID",
    "IssuerOfPatientID",
    "WaveformSequence",
]
# Waveform Sample Interpretation and Waveform Bits Allocated to how the samples lie in the file
# (C.10.9.1.5); the companded ones (MB, AB) are for sound.
_SAMPLE_TYPES = {
    ("SB", 8): "i1",
    ("UB", 8): "u1",
    ("SS", 16): "i2",
    ("US", 16): "u2",
    ("SL", 32): "i4",
    ("UL", 32): "u4",
}
_MV_PER_UNIT = {"mV": 1.0, "uV": 1e-3, "V": 1e3}
# ISO/IEEE 11073-10102: MDC's lead is 2:n or 131072 + n, its potential 256 more; SCP-ECG's is
# 5.6.3-9-n.
_LEAD_NUMBERS = dict(zip((1, 2, 61, 62, 63, 64, *range(3, 9)), LEADS_12, strict=True))
_LEAD_CODES = {
    **{("SCPECG", f"5.6.3-9-{n}"): lead for n, lead in _LEAD_NUMBERS.items()},
    **{
        ("MDC", f"{prefix}{first + n}"): lead
        for n, lead in _LEAD_NUMBERS.items()
        for prefix, first in (("2:", 0), ("2:", 256), ("", 131_072), ("", 131_328))
    },
}
_LEAD_MEANING = re.compile(
    r"(?:lead\s+|MDC_ECG_(?:LEAD|ELEC_POTL)_)?(III|II|I|aVR|aVL|aVF|V[1-6])"
    r"(?:\s*\(Einthoven\)|,\s*augmented voltage,\s*(?:right|left|foot))?",
    re.ASCII | re.IGNORECASE,
)
# What a parser may meet in a file that is not what it says.
_MALFORMED = (
    ArithmeticError,
    AttributeError,
    BytesLengthException,
    EOFError,
    InvalidDicomError,
    LookupError,
    NotImplementedError,
    OSError,  # pydicom: a tag cut short
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
)


@dataclass(frozen=True)
class Channel:
    """One kept channel: `voltage_mv = sample * resolution_mv + baseline_mv`."""

    index: int
    lead: str
    resolution_mv: float
    baseline_mv: float


def decode(content: bytes, zone: tzinfo | None = None) -> DecodedEcg:
    """Read the original multiplex group with most of the twelve leads; median beats are derived.

    Of an ECG with other channels (Frank leads, V3R) only the standard twelve are kept; one without
    any of the twelve is refused, and so are leads that were recorded one after another.

    Args:
        content: the file.
        zone: of a time without an offset; None: such a time counts by its date alone.

    Raises:
        EcgError: `file-too-large`, `dicom-malformed`, `not-ecg-pdf`, `waveform-unsupported`,
            `rate-missing`, `samples-missing`, `samples-malformed`, `samples-out-of-range`,
            `resolution-missing`, `resolution-out-of-range`, `unit-unknown`, `lead-missing`,
            `lead-mismatch`, `leads-malformed`, `field-malformed`, or what Ecg refuses.
    """
    if len(content) > MAX_FILE_BYTES:
        raise EcgError("file-too-large", f"more than {MAX_FILE_BYTES} bytes")
    try:
        # pydicom's warnings may quote what they warn of.
        with warnings.catch_warnings(action="ignore"):
            return _decoded(*_dataset(content), zone)
    except _MALFORMED:
        raise EcgError("dicom-malformed", "the file breaks the rules of DICOM") from None


def _dataset(content: bytes) -> tuple[Dataset, str]:
    """Return what of the file is needed, and the byte order of its samples, `<` or `>`."""
    file = BytesIO(content)
    file.seek(_META_AT)
    # Not pydicom.dcmread: it would unpack a deflated file of any size.
    meta = read_dataset(
        file, is_implicit_VR=False, is_little_endian=True, stop_when=lambda tag, *_: tag.group != 2
    )
    syntax = str(meta.get("TransferSyntaxUID"))
    if syntax not in _TRANSFER_SYNTAXES:
        raise EcgError("waveform-unsupported", "the transfer syntax is none that ECGs are kept in")
    dataset = read_dataset(
        BytesIO(_inflated(file.read())) if syntax == _DEFLATED else file,
        is_implicit_VR=syntax == _IMPLICIT,
        is_little_endian=syntax != _BIG_ENDIAN,
        specific_tags=[Tag(tag) for tag in _TAGS],
        stop_when=_counted(),
    )
    sop_class = str(dataset.get("SOPClassUID"))
    if sop_class == _ENCAPSULATED_PDF:
        raise EcgError("not-ecg-pdf", "a PDF document inside DICOM, not a recording")
    if sop_class not in _ECG_CLASSES:
        raise EcgError("waveform-unsupported", "the object is none of the ECG waveforms")
    return dataset, ">" if syntax == _BIG_ENDIAN else "<"


def _counted() -> Callable[..., bool]:
    """Return a function that refuses a file of more elements than an ECG has."""
    elements = count()

    def check(*_: object) -> bool:
        if next(elements) > MAX_ELEMENTS:
            raise EcgError("dicom-malformed", f"more than {MAX_ELEMENTS} elements")
        return False

    return check


def _inflated(content: bytes) -> bytes:
    """Unpack a deflated data set (PS3.5, A.5), but not a bomb."""
    unpacker = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
    try:
        unpacked = unpacker.decompress(content, MAX_INFLATED_BYTES)
    except zlib.error:
        raise EcgError("dicom-malformed", "the deflated data set is damaged") from None
    if unpacker.unconsumed_tail:
        raise EcgError("file-too-large", f"unpacks to more than {MAX_INFLATED_BYTES} bytes")
    return unpacked


def _decoded(dataset: Dataset, byte_order: str, zone: tzinfo | None) -> DecodedEcg:
    group, leads = _rhythm(dataset.get("WaveformSequence") or [])
    acquired = _acquired(dataset, group, zone)
    return DecodedEcg(
        _ecg(group, leads, byte_order, start_of(acquired)),
        Format.DICOM,
        patients_of(_patient(dataset)),
        acquired,
        device_name(*(_text(dataset, key) for key in ("Manufacturer", "ManufacturerModelName"))),
    )


def _patient(dataset: Dataset) -> PatientRef | None:
    identifier, issuer = (_text(dataset, key) for key in ("PatientID", "IssuerOfPatientID"))
    if "\ufffd" in identifier + issuer:
        raise EcgError("field-malformed", "the patient's id is not of the declared character set")
    return PatientRef(identifier, issuer or None) if identifier else None


def _text(dataset: Dataset, keyword: str) -> str:
    """Return a text of one value, or ""."""
    value = dataset.get(keyword) or ""
    if not isinstance(value, str):
        raise EcgError("field-malformed", f"{keyword} has several values")
    return value.strip()


def _ecg(group: Dataset, leads: dict[int, str], byte_order: str, start: datetime | None) -> Ecg:
    rate_hz = float(group.get("SamplingFrequency") or 0)
    if rate_hz == 0:
        raise EcgError("rate-missing", "the waveform gives no sampling rate")
    sample_type = _sample_type(group, byte_order)
    samples = _samples(group, sample_type)
    if samples.shape[1] != len(group.ChannelDefinitionSequence):
        raise EcgError("leads-malformed", "the channels defined are not those sampled")
    channels = [_channel(i, group.ChannelDefinitionSequence[i], lead) for i, lead in leads.items()]
    padding = _padding(group, sample_type)
    return Ecg(
        np.stack([_millivolts(samples[:, c.index], c, padding) for c in channels]),
        tuple(leads.values()),
        rate_hz,
        start,
        tuple(c.resolution_mv for c in channels),
    )


def _rhythm(groups: Iterable[Dataset]) -> tuple[Dataset, dict[int, str]]:
    """Return the group to read, and its leads by channel."""
    originals = [
        (group, _leads(group))
        for group in groups
        if group.get("WaveformOriginality") == "ORIGINAL"
        and "MEDIAN" not in str(group.get("MultiplexGroupLabel")).upper()
    ]
    if not originals:
        raise EcgError("samples-missing", "no original waveform, only derived ones or none")
    n_leads = [len(leads) for _, leads in originals]
    if max(n_leads) == 0:
        raise EcgError("lead-missing", "no channel is one of the twelve leads")
    if n_leads.count(max(n_leads)) > 1:
        raise EcgError("waveform-unsupported", "several groups with as many leads")
    return originals[n_leads.index(max(n_leads))]


def _leads(group: Dataset) -> dict[int, str]:
    definitions = group.get("ChannelDefinitionSequence") or []
    if len(definitions) > MAX_CHANNELS:
        raise EcgError("leads-malformed", f"{len(definitions)} channels")
    leads = {i: _lead(definition) for i, definition in enumerate(definitions)}
    return {i: lead for i, lead in leads.items() if lead}


def _lead(definition: Dataset) -> str | None:
    """Return the lead on which code and meaning agree, or None where both name another channel."""
    (source,) = definition.ChannelSourceSequence
    by_code = _LEAD_CODES.get((str(source.CodingSchemeDesignator), str(source.CodeValue)))
    meaning = _LEAD_MEANING.fullmatch(str(source.CodeMeaning).strip())
    if by_code != (canonical_lead(meaning[1]) if meaning else None):
        raise EcgError("lead-mismatch", "a channel's code and its meaning disagree")
    return by_code


def _sample_type(group: Dataset, byte_order: str) -> np.dtype[Any]:
    kind = (group.get("WaveformSampleInterpretation"), group.get("WaveformBitsAllocated"))
    if kind not in _SAMPLE_TYPES:
        raise EcgError("waveform-unsupported", "samples must be plain integers")
    sample_type = np.dtype(byte_order + _SAMPLE_TYPES[kind])
    # Bytes of an OW swap places two by two in big-endian files (PS3.5, 7.3).
    if byte_order == ">" and sample_type.itemsize == 1 and group["WaveformData"].VR != "OB":
        raise EcgError("waveform-unsupported", "samples of 8 bits in big-endian words")
    return sample_type


def _samples(group: Dataset, sample_type: np.dtype[Any]) -> NDArray[Any]:
    """Return the samples as they are stored, `(n_samples, n_channels)`."""
    n_samples = int(group.get("NumberOfWaveformSamples") or 0)
    n_channels = int(group.get("NumberOfWaveformChannels") or 0)
    content = group.get("WaveformData") or b""
    if not n_samples or not n_channels or not content:
        raise EcgError("samples-missing", "the waveform holds no samples")
    if n_samples > MAX_SAMPLES:
        raise EcgError("samples-out-of-range", f"{n_samples} samples a lead")
    n_bytes = n_samples * n_channels * sample_type.itemsize
    if len(content) != n_bytes + n_bytes % 2:  # DICOM's values have an even length
        raise EcgError("samples-malformed", "the waveform data has not the announced length")
    return np.frombuffer(content[:n_bytes], sample_type).reshape(n_samples, n_channels)


def _channel(index: int, definition: Dataset, lead: str) -> Channel:
    keywords = ("ChannelSensitivity", "ChannelSensitivityCorrectionFactor", "ChannelBaseline")
    stated = [definition.get(keyword) for keyword in keywords]
    if None in stated:
        raise EcgError("resolution-missing", f"{lead} lacks sensitivity, correction or baseline")
    sensitivity, correction, baseline = map(float, stated)
    mv_per_unit = _mv_per_unit(definition)
    resolution_mv, baseline_mv = sensitivity * correction * mv_per_unit, baseline * mv_per_unit
    if not 0 < resolution_mv < 1:
        raise EcgError("resolution-out-of-range", "a step must lie between 0 and 1 mV")
    if not abs(baseline_mv) < 1e6:
        raise EcgError("amplitude-implausible", f"the baseline of {lead}")
    # Less than a sample apart is together, as far as one rate can tell.
    if abs(float(definition.get("ChannelSampleSkew") or 0)) >= 1 or (
        float(definition.get("ChannelTimeSkew") or 0) != 0
    ):
        raise EcgError("waveform-unsupported", f"{lead} was not sampled together with the others")
    return Channel(index, lead, resolution_mv, baseline_mv)


def _mv_per_unit(definition: Dataset) -> float:
    units = definition.get("ChannelSensitivityUnitsSequence") or []
    codes = [(str(unit.CodingSchemeDesignator), str(unit.CodeValue)) for unit in units]
    if len(codes) != 1 or codes[0][0] != "UCUM" or codes[0][1] not in _MV_PER_UNIT:
        raise EcgError("unit-unknown", "the sensitivity is not in mV, uV or V by UCUM")
    return _MV_PER_UNIT[codes[0][1]]


def _padding(group: Dataset, sample_type: np.dtype[Any]) -> int | None:
    """Return the sample value that stands for no value (C.10.9.1.7)."""
    content = group.get("WaveformPaddingValue")
    return int(np.frombuffer(content[: sample_type.itemsize], sample_type)[0]) if content else None


def _millivolts(
    samples: NDArray[Any], channel: Channel, padding: int | None
) -> NDArray[np.float32]:
    voltage_mv = samples * channel.resolution_mv + channel.baseline_mv
    if padding is not None:
        voltage_mv[samples == padding] = np.nan
    return voltage_mv.astype(np.float32)


def _acquired(dataset: Dataset, group: Dataset, zone: tzinfo | None) -> datetime | date | None:
    """Return the time of the first sample; its date alone where its zone is not known."""
    text = str(dataset.get("AcquisitionDateTime") or "").strip()
    if not re.search(r"[+-]\d{4}$", text):
        text += str(dataset.get("TimezoneOffsetFromUTC") or "").strip()
    if not re.fullmatch(r"\d{14}(?:\.\d{1,6})?(?:[+-]\d{4})?", text, re.ASCII):
        return None
    offset = timedelta(milliseconds=float(group.get("MultiplexGroupTimeOffset") or 0))
    return placed(datetime.fromisoformat(f"{text[:8]}T{text[8:]}") + offset, zone)
