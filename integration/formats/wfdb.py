"""WFDB records: a text header and one or more sample files.

The header is read here, strictly, because the package wfdb fills in what a header leaves out (a
gain of 200, a rate of 250 Hz); the package then unpacks the samples. Every sample file is looked
for beside the header first, so that the package never looks elsewhere.
Source: header(5), signal(5), WFDB Applications Guide, G. B. Moody.
"""

import re
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from integration.formats.files import read_limited
from model.ecg import MAX_SAMPLES, Ecg, canonical_lead
from model.errors import EcgError

with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
    import wfdb  # on pandas 3 it warns of itself

MAX_HEADER_BYTES = 64 * 1024
MAX_FILE_BYTES = 128 * 1024 * 1024  # twelve leads of 16 bits at 1000 Hz for 93 minutes
MAX_SIGNALS = 32
_MV_PER_UNIT = {
    **dict.fromkeys(("mV", "mv"), 1.0),
    **dict.fromkeys(("uV", "uv", "\u00b5V", "\u03bcV"), 1e-3),
    "V": 1e3,
}
# Bits a sample; the lowest value that they can hold means "no value" (signal(5)).
_BITS = {
    "16": 16,
    "24": 24,
    "32": 32,
    "61": 16,
    "80": 8,
    "160": 16,
    "212": 12,
    "310": 10,
    "311": 10,
}

# The PhysioNet challenges of 2020 and 2021 name some records with their file's extension.
_RECORD = re.compile(
    r"[\w-]+(?:\.mat)?(?P<segments>/\d{1,9})?\s+(?P<n_signals>\d{1,4})"
    r"(?:\s+(?P<rate_hz>\d{1,9}(?:\.\d{1,12})?)(?:/\S*)?(?:\s+(?P<n_samples>\d{1,12})(?:\s.*)?)?)?",
    re.ASCII,
)
_SIGNAL = re.compile(
    r"(?P<file>\S+)\s+(?P<format>\d{1,4})(?P<per_frame>x\d{1,9})?(?P<skew>:\d{1,9})?(?:\+(?P<offset>\d{1,9}))?"
    r"(?:\s+(?P<gain>-?\d{0,12}\.?\d{0,12}(?:[eE][+-]?\d{1,3})?)"
    r"(?:\((?P<baseline>-?\d{1,9})\))?(?:/(?P<units>\S+))?"
    r"(?:\s+\d{1,4}(?:\s+(?P<zero>-?\d{1,9})(?:\s+-?\d{1,11}(?:\s+(?P<checksum>-?\d{1,9})"
    r"(?:\s+-?\d{1,9}(?:\s+(?P<name>\S.*))?)?)?)?)?)?)?",
    re.ASCII,
)


@dataclass(frozen=True)
class Signal:
    """One signal of a standard lead: `voltage_mv = (sample - baseline) * resolution_mv`."""

    lead: str
    bits: int
    resolution_mv: float
    baseline: int
    checksum: int | None


@dataclass(frozen=True)
class Header:
    """What a header says.

    Attributes:
        sampling_rate_hz: samples a second of every signal.
        n_samples: samples of every signal.
        file_bits: bits that one moment takes in each sample file, of all its signals.
        plain: file and first byte when all signals lie there together as 16 bit numbers.
        signals: those of the twelve leads, by their position among all.
    """

    sampling_rate_hz: float
    n_samples: int
    file_bits: dict[str, int]
    plain: tuple[str, int] | None
    signals: dict[int, Signal]


def read(header_path: Path) -> Ecg:
    """Read a record by its header file.

    Of a record with other signals (Frank leads vx, vy, vz; pressures) only the standard twelve are
    kept; one without any of the twelve is refused. A header's date has no time zone, so `start` is
    None.

    Raises:
        EcgError: `file-missing`, `file-unreadable`, `file-too-large`, `header-malformed`,
            `rate-missing`, `samples-missing`, `samples-malformed`, `samples-out-of-range`,
            `waveform-unsupported`, `resolution-missing`, `resolution-out-of-range`,
            `unit-unknown`, `lead-missing`, `checksum-mismatch`, or what Ecg refuses.
    """
    header = parse_header(_text(header_path))
    for name, bits in header.file_bits.items():
        _check_file(header_path.with_name(name), bits * header.n_samples)
    samples = _samples(header_path, header)
    if samples.shape != (header.n_samples, len(header.signals)):
        raise EcgError("samples-malformed", "the sample files do not fit the header")
    signals = header.signals.values()
    return Ecg(
        np.stack([_millivolts(*row) for row in zip(samples.T, signals, strict=True)]),
        tuple(signal.lead for signal in signals),
        header.sampling_rate_hz,
        None,
        tuple(signal.resolution_mv for signal in signals),
    )


def files_of(header_path: Path) -> list[Path]:
    """Return the files of a record that are there; of one whose header says nothing, it alone.

    Raises:
        EcgError: `file-missing`, `file-unreadable`, `file-too-large`.
    """
    text = _text(header_path)
    try:
        names = list(parse_header(text).file_bits)
    except EcgError:
        names = []
    beside = (header_path.with_name(name) for name in names)
    return [header_path, *(path for path in beside if path.is_file())]


def parse_header(text: str) -> Header:
    """Read a header's text; see `read` for what is refused."""
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    rate_hz, n_samples, n_signals = _record(lines[0] if lines else "")
    if len(lines) != 1 + n_signals:
        raise EcgError("header-malformed", "the number of signal lines is not the announced one")
    found = [_signal_line(line) for line in lines[1:]]
    file_bits: Counter[str] = Counter()
    for line in found:
        file_bits[line["file"]] += _BITS[line["format"]]
    leads = {i: _lead(line["name"] or "") for i, line in enumerate(found)}
    signals = {i: _signal(found[i], lead) for i, lead in leads.items() if lead}
    if not signals:
        raise EcgError("lead-missing", "no signal is named as one of the twelve leads")
    return Header(rate_hz, n_samples, dict(file_bits), _plain(found), signals)


def _plain(found: list[re.Match[str]]) -> tuple[str, int] | None:
    """Return file and offset, an offset given once counting for the whole file (signal(5))."""
    layouts = {(line["file"], line["format"]) for line in found}
    offsets = {int(line["offset"]) for line in found if line["offset"]}
    if len(layouts) > 1 or found[0]["format"] != "16" or len(offsets) > 1:
        return None
    return found[0]["file"], next(iter(offsets), 0)


def _record(line: str) -> tuple[float, int, int]:
    """Return rate, samples and number of signals."""
    record = _RECORD.fullmatch(line)
    if record is None:
        raise EcgError("header-malformed", "the record line is not WFDB")
    if record["segments"]:
        raise EcgError("waveform-unsupported", "records of several segments are not read")
    if record["rate_hz"] is None:
        raise EcgError("rate-missing", "the header gives no sampling rate")
    n_samples, n_signals = int(record["n_samples"] or 0), int(record["n_signals"])
    if n_samples == 0:
        raise EcgError("samples-missing", "the header announces no samples")
    if n_samples > MAX_SAMPLES:
        raise EcgError("samples-out-of-range", f"{n_samples} samples a lead")
    if not 1 <= n_signals <= MAX_SIGNALS:
        raise EcgError("leads-malformed", f"{n_signals} signals")
    return float(record["rate_hz"]), n_samples, n_signals


def _signal_line(line: str) -> re.Match[str]:
    """Check of every signal, kept or not, what the unpacking of its file depends on."""
    found = _SIGNAL.fullmatch(line)
    if found is None:
        raise EcgError("header-malformed", "a signal line is not WFDB")
    if not re.fullmatch(r"[\w-]+(?:\.\w+)?", found["file"], re.ASCII) or found["file"] == "-":
        raise EcgError("header-malformed", "a sample file must be named and lie beside its header")
    if found["format"] not in _BITS:
        raise EcgError("waveform-unsupported", f"sample format {found['format']}")
    if found["per_frame"] not in {None, "x1"} or found["skew"] not in {None, ":0"}:
        raise EcgError("waveform-unsupported", "signals of several rates, or skewed")
    return found


def _lead(name: str) -> str | None:
    try:
        return canonical_lead(name)
    except EcgError:
        return None


def _signal(found: re.Match[str], lead: str) -> Signal:
    return Signal(
        lead,
        _BITS[found["format"]],
        _resolution_mv(found["gain"], found["units"]),
        int(found["baseline"] or found["zero"] or 0),
        None if found["checksum"] is None else int(found["checksum"]),
    )


def _resolution_mv(gain: str | None, units: str | None) -> float:
    """Millivolts a step; header(5) defines a gain without units as one per millivolt."""
    mv_per_unit = _MV_PER_UNIT.get(units or "mV")
    if mv_per_unit is None:
        raise EcgError("unit-unknown", f"{(units or '')[:16]!r} is not mV, uV or V")
    try:
        steps_per_unit = float(gain or 0)
    except ValueError:
        raise EcgError("header-malformed", "a gain is not a number") from None
    if steps_per_unit == 0:
        raise EcgError("resolution-missing", "a signal has no gain: it was never calibrated")
    resolution_mv = mv_per_unit / steps_per_unit
    if not 0 < resolution_mv < 1:
        raise EcgError("resolution-out-of-range", "a step must lie between 0 and 1 mV")
    return resolution_mv


def _text(path: Path) -> str:
    content = read_limited(path, MAX_HEADER_BYTES)
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _check_file(path: Path, n_bits: int) -> None:
    """Refuse before anything is unpacked: the announced samples must fit the file."""
    if not path.is_file():
        raise EcgError("file-missing", "a sample file is not beside its header")
    n_bytes = path.stat().st_size
    if n_bytes > MAX_FILE_BYTES:
        raise EcgError("file-too-large", f"a sample file of more than {MAX_FILE_BYTES} bytes")
    if n_bytes * 8 < n_bits:
        raise EcgError("samples-malformed", "a sample file is shorter than its header says")


def _samples(header_path: Path, header: Header) -> NDArray[np.int64]:
    """Unpack the kept signals, `(n_samples, n_leads)`."""
    if header.plain is None:
        return _unpacked(header_path.absolute().with_suffix(""), list(header.signals))
    # Read here, because the package stops at dates that the challenges write their own way.
    name, offset = header.plain
    n_signals = sum(header.file_bits.values()) // 16
    try:
        flat = np.fromfile(
            header_path.with_name(name), "<i2", header.n_samples * n_signals, offset=offset
        )
    except OSError:
        raise EcgError("file-unreadable", "a sample file cannot be read") from None
    if flat.size != header.n_samples * n_signals:
        raise EcgError("samples-malformed", "a sample file is shorter than its header says")
    return flat.reshape(-1, n_signals)[:, list(header.signals)].astype(np.int64)


def _unpacked(record: Path, positions: list[int]) -> NDArray[np.int64]:
    """Have the package unpack the kept signals."""
    try:
        read = wfdb.rdrecord(str(record), channels=positions, physical=False, return_res=32)
    except OSError:
        raise EcgError("file-unreadable", "a sample file cannot be read") from None
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        raise EcgError("samples-malformed", "the sample files do not fit the header") from None
    samples: NDArray[np.int64] = read.d_signal.astype(np.int64)
    return samples


def _millivolts(samples: NDArray[np.int64], signal: Signal) -> NDArray[np.float32]:
    # Of the sixteen bits mat2wfdb sometimes writes the highest wrong.
    if signal.checksum is not None and (int(samples.sum()) - signal.checksum) % 2**15:
        raise EcgError("checksum-mismatch", "the samples are not those that the header describes")
    voltage_mv = (samples - signal.baseline) * signal.resolution_mv
    voltage_mv[samples == -(2 ** (signal.bits - 1))] = np.nan
    return voltage_mv.astype(np.float32)
