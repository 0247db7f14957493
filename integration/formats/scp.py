"""SCP-ECG records (EN 1064, ISO 11073-91064), protocol versions 1 and 2.

Source: EN 1064:2005, clause 5: 5.2 record and section headers, 5.4 section 1 (patient, times),
5.5 Huffman tables, 5.6 leads, 5.7 QRS locations, 5.8 reference beat, 5.9 rhythm. Bytes are
little-endian; samples are counted from 1. The reference beat in section 5 is computed and returned
only where it was subtracted from the rhythm and has to be put back.
"""

import struct
from dataclasses import dataclass, field
from datetime import date, datetime, tzinfo

import numpy as np
from numpy.typing import NDArray

from db.records import PatientRef
from integration.formats.decoded import DecodedEcg, Format, device_name, patients_of, start_of
from integration.formats.leads import lead_by_code
from integration.formats.scp_huffman import Codebook, read_codebook, unpack
from integration.formats.scp_record import acquired_at, device_of, patient_of, read_sections, tags
from model.ecg import Ecg
from model.errors import EcgError

MAX_CHANNELS = 32
MAX_ALL_SAMPLES = 600_000  # of all leads: twelve at 1000 Hz for 50 s; a lead has but 64 kB
MAX_BEATS = 10_000

_REFERENCE_BEAT_USED = 1  # bit of the flags in section 3
_LEAD = struct.Struct("<IIB")  # first sample, last sample, lead
_WAVES = struct.Struct("<HHBB")  # nanovolts a step, microseconds a sample, differences, bimodal
_BEAT = struct.Struct("<HIII")  # type, first sample, fiducial, last sample of a subtraction


@dataclass(frozen=True)
class _Leads:
    """Section 3. Attributes: lead a channel, or None; samples of each; flags."""

    names: tuple[str | None, ...]
    n_samples: int
    flags: int


@dataclass(frozen=True)
class _Waves:
    """Section 5 or 6, unpacked.

    Attributes:
        steps: `(n_leads, n_samples)` of the leads that are kept.
        step_nv: nanovolts a step.
        interval_us: microseconds a sample.
    """

    steps: NDArray[np.int64] = field(repr=False)
    step_nv: int
    interval_us: int


def decode(content: bytes, zone: tzinfo | None = None) -> DecodedEcg:
    """Read the rhythm.

    Channels outside the twelve leads are left out.

    Args:
        content: the record.
        zone: of a time whose record does not say its own; None: such a time counts by its date.

    Raises:
        EcgError: `scp-malformed`, `file-too-large`, `checksum-mismatch`, `samples-missing`,
            `samples-malformed`, `samples-out-of-range`, `rate-missing`, `resolution-missing`,
            `lead-missing`, `lead-duplicate`, `leads-malformed`, `time-malformed`,
            `field-malformed`, `waveform-unsupported` (bimodal compression, leads recorded one
            after another), or what Ecg refuses.
    """
    try:
        sections = read_sections(content)
        header = tags(sections.get(1, b""))
        leads = _leads(sections)
        rhythm = _rhythm(sections, leads)
        acquired = acquired_at(header, zone)
    except (struct.error, IndexError):
        raise EcgError("scp-malformed", "a section is shorter than what it announces") from None
    return _decoded(rhythm, leads, acquired, patient_of(header), device_of(header))


def _decoded(
    rhythm: _Waves,
    leads: _Leads,
    acquired: datetime | date | None,
    patient: PatientRef | None,
    device: tuple[str, ...],
) -> DecodedEcg:
    names = tuple(name for name in leads.names if name)
    resolution_mv = rhythm.step_nv / 1e6
    ecg = Ecg(
        (rhythm.steps * resolution_mv).astype(np.float32),
        names,
        1e6 / rhythm.interval_us,
        start_of(acquired),
        (resolution_mv,) * len(names),
    )
    return DecodedEcg(ecg, Format.SCP, patients_of(patient), acquired, device_name(*device))


def _leads(sections: dict[int, bytes]) -> _Leads:
    section = sections.get(3, b"")
    if not section:
        raise EcgError("lead-missing", "the record defines no leads")
    n_leads, flags = section[0], section[1]
    if not 1 <= n_leads <= MAX_CHANNELS:
        raise EcgError("leads-malformed", f"{n_leads} leads")
    found = [_LEAD.unpack_from(section, 2 + i * _LEAD.size) for i in range(n_leads)]
    names = tuple(lead_by_code(f"5.6.3-9-{lead}") for _, _, lead in found)
    spans = {(first, last) for (first, last, _), name in zip(found, names, strict=True) if name}
    standard = [name for name in names if name]
    if not standard:
        raise EcgError("lead-missing", "no channel is one of the twelve leads")
    if len(set(standard)) < len(standard):
        raise EcgError("lead-duplicate", "a lead appears twice")
    if len(spans) > 1:
        raise EcgError("waveform-unsupported", "the leads were not recorded together")
    ((first, last),) = spans
    if not 0 < (last - first + 1) * len(standard) <= MAX_ALL_SAMPLES:
        raise EcgError("samples-out-of-range", f"{last - first + 1} samples a lead")
    return _Leads(names, last - first + 1, flags)


def _rhythm(sections: dict[int, bytes], leads: _Leads) -> _Waves:
    if 6 not in sections:
        raise EcgError("samples-missing", "the record holds no rhythm")
    book = read_codebook(sections[2]) if 2 in sections else None
    rhythm = _waves(sections[6], leads, book, leads.n_samples)
    if not leads.flags & _REFERENCE_BEAT_USED:
        return rhythm
    if 4 not in sections or 5 not in sections:
        raise EcgError("scp-malformed", "the reference beat that was subtracted is missing")
    length_ms, fiducial, n_beats = struct.unpack_from("<HHH", sections[4])
    (interval_us,) = struct.unpack_from("<H", sections[5], 2)
    n_samples = length_ms * 1000 // max(interval_us, 1)
    if n_beats > MAX_BEATS or not 0 < n_samples <= leads.n_samples:
        raise EcgError("scp-malformed", "the reference beat is out of all bounds")
    reference = _waves(sections[5], leads, book, n_samples)
    if (reference.step_nv, reference.interval_us) != (rhythm.step_nv, rhythm.interval_us):
        raise EcgError("waveform-unsupported", "rhythm and reference beat are not of one scale")
    beats = [_BEAT.unpack_from(sections[4], 6 + i * _BEAT.size) for i in range(n_beats)]
    zones = [(first, at, last) for kind, first, at, last in beats if kind == 0]
    steps = _put_back(rhythm.steps, reference.steps, fiducial, zones)
    return _Waves(steps, rhythm.step_nv, rhythm.interval_us)


def _waves(section: bytes, leads: _Leads, book: Codebook | None, n_samples: int) -> _Waves:
    step_nv, interval_us, differences, bimodal = _WAVES.unpack_from(section)
    if step_nv == 0:
        raise EcgError("resolution-missing", "the record gives no amplitude a step")
    if interval_us == 0:
        raise EcgError("rate-missing", "the record gives no interval of its samples")
    if bimodal:
        # What was left out between the beats cannot be had back.
        raise EcgError("waveform-unsupported", "bimodal compression loses samples between beats")
    if differences > 2:
        raise EcgError("scp-malformed", "an unknown kind of differences")
    sizes = struct.unpack_from(f"<{len(leads.names)}H", section, _WAVES.size)
    start = _WAVES.size + 2 * len(sizes)
    if start + sum(sizes) > len(section):
        raise EcgError("scp-malformed", "the leads do not fit their section")
    rows = []
    for name, size in zip(leads.names, sizes, strict=True):
        if name:
            stored = _stored(section[start : start + size], book, n_samples)
            rows.append(_summed(stored, differences))
        start += size
    return _Waves(np.stack(rows), step_nv, interval_us)


def _stored(content: bytes, book: Codebook | None, n_samples: int) -> NDArray[np.int64]:
    if book is not None:
        return unpack(content, book, n_samples)
    if len(content) != 2 * n_samples:
        raise EcgError("samples-malformed", "a lead has not as many samples as announced")
    return np.frombuffer(content, "<i2").astype(np.int64)


def _summed(stored: NDArray[np.int64], differences: int) -> NDArray[np.int64]:
    """Undo first or second differences; the first one or two values are samples."""
    if differences == 0 or len(stored) < 2:
        return stored
    if differences == 1:
        return np.cumsum(stored)
    slopes = np.cumsum(np.concatenate([[stored[1] - stored[0]], stored[2:]]))
    steps: NDArray[np.int64] = stored[0] + np.concatenate([[0], np.cumsum(slopes)])
    return steps


def _put_back(
    residual: NDArray[np.int64],
    reference: NDArray[np.int64],
    fiducial: int,
    zones: list[tuple[int, int, int]],
) -> NDArray[np.int64]:
    """Add the reference beat where it was subtracted.

    Readers disagree whether the beat's own samples count from 0 or 1, and so may writers. One
    sample beside its place the beat leaves steep edges in every QRS; a record that is smoother so
    is refused instead of being read wrongly.
    """
    _check_zones(zones, fiducial, residual.shape[1], reference.shape[1])
    found = [_added(residual, reference, fiducial + shift, zones) for shift in (0, -1, 1)]
    roughness = [float((np.diff(steps, 2).astype(float) ** 2).sum()) for steps in found]
    if min(roughness) < roughness[0]:
        raise EcgError("waveform-unsupported", "the reference beat does not lie where it is said")
    return found[0]


def _check_zones(
    zones: list[tuple[int, int, int]], fiducial: int, n_rhythm: int, n_reference: int
) -> None:
    for first, at, last in zones:
        if not 1 <= first <= last <= n_rhythm:
            raise EcgError("scp-malformed", "a beat outside the rhythm")
        if not 1 <= fiducial + first - at <= fiducial + last - at <= n_reference:
            raise EcgError("scp-malformed", "more was subtracted than the reference beat has")
    if sum(last - first + 1 for first, _, last in zones) > n_rhythm:
        raise EcgError("scp-malformed", "the beats overlap")


def _added(
    residual: NDArray[np.int64],
    reference: NDArray[np.int64],
    fiducial: int,
    zones: list[tuple[int, int, int]],
) -> NDArray[np.int64]:
    steps = residual.copy()
    padded = np.pad(reference, ((0, 0), (1, 1)))  # zeros for what a shift leaves without a sample
    for first, at, last in zones:
        start = fiducial + first - at
        steps[:, first - 1 : last] += padded[:, start : start + last - first + 1]
    return steps
