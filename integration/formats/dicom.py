"""DICOM ECG waveforms: 12-lead and General ECG objects.

Source: DICOM PS3.3, A.34.3 and A.34.4 (the objects), C.10.9 (Waveform Module); PS3.16, CID 3001
(leads) and CID 3082 (units are UCUM). A sample times sensitivity times correction, plus the
baseline, is the voltage (C.10.9.1.4).
"""

import re
import struct
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_file_meta_info

from integration.formats.files import read_limited
from model.ecg import LEADS_12, MAX_SAMPLES, Ecg, canonical_lead
from model.errors import EcgError

MAX_FILE_BYTES = 128 * 1024 * 1024
MAX_CHANNELS = 32

_ECG_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.9.1.1",  # 12-lead ECG
    "1.2.840.10008.5.1.4.1.1.9.1.2",  # General ECG
}
# Neither deflated (a small file could unpack to a huge one) nor big-endian (retired).
_TRANSFER_SYNTAXES = {"1.2.840.10008.1.2", "1.2.840.10008.1.2.1"}
# Nothing else is taken from the file: no patient's name or number.
_TAGS = ["SOPClassUID", "AcquisitionDateTime", "TimezoneOffsetFromUTC", "WaveformSequence"]
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


def read(path: Path) -> Ecg:
    """Read the original multiplex group with most of the twelve leads; median beats are derived.

    Of an ECG with other channels (Frank leads, V3R) only the standard twelve are kept; one without
    any of the twelve is refused, and so are leads that were recorded one after another.

    Raises:
        EcgError: `file-missing`, `file-unreadable`, `file-too-large`, `dicom-malformed`,
            `waveform-unsupported`, `rate-missing`, `samples-missing`, `samples-malformed`,
            `samples-out-of-range`, `resolution-missing`, `resolution-out-of-range`,
            `unit-unknown`, `lead-missing`, `lead-mismatch`, `leads-malformed`, or what Ecg refuses.
    """
    content = read_limited(path, MAX_FILE_BYTES)
    try:
        # pydicom's warnings may quote what they warn of.
        with warnings.catch_warnings(action="ignore"):
            return _ecg(_dataset(path, content))
    except _MALFORMED:
        raise EcgError("dicom-malformed", "the file breaks the rules of DICOM") from None


def _dataset(path: Path, content: bytes) -> Dataset:
    meta = read_file_meta_info(path)
    if str(meta.get("TransferSyntaxUID")) not in _TRANSFER_SYNTAXES:
        raise EcgError("waveform-unsupported", "only plain little-endian DICOM is read")
    dataset = pydicom.dcmread(BytesIO(content), specific_tags=_TAGS)
    if str(dataset.get("SOPClassUID")) not in _ECG_CLASSES:
        raise EcgError("waveform-unsupported", "the object is neither a 12-lead nor a General ECG")
    return dataset


def _ecg(dataset: Dataset) -> Ecg:
    group, leads = _rhythm(dataset.get("WaveformSequence") or [])
    rate_hz = float(group.get("SamplingFrequency") or 0)
    if rate_hz == 0:
        raise EcgError("rate-missing", "the waveform gives no sampling rate")
    samples = _samples(group)
    if samples.shape[1] != len(group.ChannelDefinitionSequence):
        raise EcgError("leads-malformed", "the channels defined are not those sampled")
    channels = [_channel(i, group.ChannelDefinitionSequence[i], lead) for i, lead in leads.items()]
    padding = _padding(group)
    return Ecg(
        np.stack([_millivolts(samples[:, c.index], c, padding) for c in channels]),
        tuple(leads.values()),
        rate_hz,
        _start(dataset, group),
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


def _samples(group: Dataset) -> NDArray[np.int16]:
    """Return the samples as they are stored, `(n_samples, n_channels)`."""
    kind = (group.get("WaveformSampleInterpretation"), group.get("WaveformBitsAllocated"))
    if kind != ("SS", 16):
        raise EcgError("waveform-unsupported", "samples must be signed integers of 16 bits")
    n_samples = int(group.get("NumberOfWaveformSamples") or 0)
    n_channels = int(group.get("NumberOfWaveformChannels") or 0)
    content = group.get("WaveformData") or b""
    if not n_samples or not n_channels or not content:
        raise EcgError("samples-missing", "the waveform holds no samples")
    if n_samples > MAX_SAMPLES:
        raise EcgError("samples-out-of-range", f"{n_samples} samples a lead")
    if len(content) != n_samples * n_channels * 2:
        raise EcgError("samples-malformed", "the waveform data has not the announced length")
    return np.frombuffer(content, "<i2").reshape(n_samples, n_channels)


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


def _padding(group: Dataset) -> int | None:
    """Return the sample value that stands for no value (C.10.9.1.7)."""
    content = group.get("WaveformPaddingValue")
    return int(np.frombuffer(content, "<i2")[0]) if content else None


def _millivolts(
    samples: NDArray[np.int16], channel: Channel, padding: int | None
) -> NDArray[np.float32]:
    voltage_mv = samples * channel.resolution_mv + channel.baseline_mv
    if padding is not None:
        voltage_mv[samples == padding] = np.nan
    return voltage_mv.astype(np.float32)


def _start(dataset: Dataset, group: Dataset) -> datetime | None:
    """Return the time of the first sample where the object says in which time zone it is."""
    text = str(dataset.get("AcquisitionDateTime") or "").strip()
    if not re.search(r"[+-]\d{4}$", text):
        text += str(dataset.get("TimezoneOffsetFromUTC") or "").strip()
    if not re.fullmatch(r"\d{14}(?:\.\d{1,6})?[+-]\d{4}", text, re.ASCII):
        return None
    offset = timedelta(milliseconds=float(group.get("MultiplexGroupTimeOffset") or 0))
    return datetime.fromisoformat(f"{text[:8]}T{text[8:]}") + offset
