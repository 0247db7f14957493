"""What every reader of a format returns, and small steps that several readers share."""

from dataclasses import dataclass, field
from datetime import date, datetime, tzinfo
from enum import StrEnum

from db.records import PatientRef
from model.ecg import Ecg

MAX_DEVICE = 120  # characters of a device's name that are kept

_MV_PER_UNIT = {
    **dict.fromkeys(("mV", "mv", "MILLIVOLTS"), 1.0),
    **dict.fromkeys(("uV", "uv", "\u00b5V", "\u03bcV", "MICROVOLTS"), 1e-3),
    "nV": 1e-6,
    "V": 1e3,
}


class Format(StrEnum):
    """Where an ECG was read from."""

    AECG = "aecg"
    DICOM = "dicom"
    MUSE = "muse"
    SCP = "scp"
    SIERRA = "sierra"
    WFDB = "wfdb"


@dataclass(frozen=True)
class DecodedEcg:
    """One recording of a file, as far as the file tells of it.

    Attributes:
        ecg: the rhythm; never a median or representative beat. Its `start` is `acquired` where
            that is a time.
        format: what the file is.
        patients: whom the file names, each once: none, one, or several that contradict each
            other. The caller decides; nothing is chosen here.
        acquired: aware time of the first sample; its date alone where no zone is known; or None.
        device: maker and model in the file's own words, or None.
    """

    ecg: Ecg = field(repr=False)
    format: Format
    patients: tuple[PatientRef, ...] = field(default=(), repr=False)
    acquired: datetime | date | None = None
    device: str | None = None


def placed(stamp: datetime, zone: tzinfo | None) -> datetime | date:
    """Return a time with the zone that its sender is known to be in, or its date alone.

    Args:
        stamp: aware, or naive where the file gave no zone.
        zone: of naive times; None: not known.
    """
    if stamp.tzinfo is not None:
        return stamp
    return stamp.date() if zone is None else stamp.replace(tzinfo=zone)


def start_of(acquired: datetime | date | None) -> datetime | None:
    """Return what Ecg takes as its start: a time, never a date."""
    return acquired if isinstance(acquired, datetime) else None


def mv_per(unit: str) -> float | None:
    """Return millivolts per unit, or None for a unit that is not certain."""
    return _MV_PER_UNIT.get(unit)


def device_name(*parts: str | None) -> str | None:
    """Return a device's name out of the words that a file has for it, once each."""
    words = [" ".join((part or "").split()) for part in parts]
    name = " ".join(dict.fromkeys(word for word in words if word and word.isprintable()))
    return name[:MAX_DEVICE] or None


def patients_of(*refs: PatientRef | None) -> tuple[PatientRef, ...]:
    """Return those that are named, each once, in their order."""
    return tuple(dict.fromkeys(ref for ref in refs if ref is not None))
