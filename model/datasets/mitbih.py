"""MIT-BIH Arrhythmia Database and folders like it: WFDB records with a reference `.atr` each.

DS1 is the training half of de Chazal et al., IEEE Trans Biomed Eng 51(7):1196, 2004, which leaves
the four paced records out. Which annotation is of which class, `model.annotations` says.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import wfdb
from numpy.typing import NDArray

from model.annotations import DE_CHAZAL_CLASSES, read_annotations
from model.errors import DatasetError
from model.findings import AAMI_CLASSES

DS1 = (
    *("101", "106", "108", "109", "112", "114", "115", "116", "118", "119", "122"),
    *("124", "201", "203", "205", "207", "208", "209", "215", "220", "223", "230"),
)
PACED = ("102", "104", "107", "217")
SAME_PERSON = {"202": "201"}
RATE_HZ = 360.0

_NOISY = re.compile(r"(\d{3})e(?:_\d|\d\d)", re.ASCII)  # NSTDB: 118e24, 119e_6
_PATIENT = re.compile(r"patient\s+(\w{1,32})", re.ASCII | re.IGNORECASE)  # INCART's headers


@dataclass(frozen=True, eq=False)
class BeatRecord:
    """One annotated recording.

    Attributes:
        name: the record's.
        patient: records of one person share it, as far as a header or MIT-BIH's publisher tells.
        voltage_mv: `(n_leads, n_samples)`, NaN where there is no value.
        leads: names as the record has them, not canonical.
        sampling_rate_hz: of all leads.
        r_peaks: `(n_beats,)` annotated samples, ascending.
        classes: `(n_beats,)` indices into AAMI_CLASSES.
    """

    name: str
    patient: str
    voltage_mv: NDArray[np.float32]
    leads: tuple[str, ...]
    sampling_rate_hz: float
    r_peaks: NDArray[np.int64]
    classes: NDArray[np.int64]


def record_names(folder: Path) -> tuple[str, ...]:
    """Records of a folder that have a reference annotation.

    Raises:
        DatasetError: `dataset-missing` when there is none.
    """
    names = tuple(sorted(p.stem for p in folder.glob("*.atr") if p.with_suffix(".hea").is_file()))
    if not names:
        raise DatasetError("dataset-missing", f"{folder} holds no WFDB record with an .atr beside")
    return names


def original(folder: Path, name: str) -> str | None:
    """The record of MIT-BIH that this one is or, with noise added (NSTDB), was made of.

    None at another rate: other sets have records of the same names, such as LTAF's 101 to 208.
    """
    try:
        rate_hz = wfdb.rdheader(str(folder / name)).fs
    except (OSError, ValueError, IndexError):
        return None  # load_record says what is wrong
    return _original(name, rate_hz)


def load_record(
    folder: Path, name: str, classes: Mapping[str, str] = DE_CHAZAL_CLASSES
) -> BeatRecord:
    """Read one record with its reference beats; `classes` maps a symbol to one of AAMI_CLASSES.

    Raises:
        DatasetError: `dataset-missing`, `dataset-altered` (not millivolts, or no beats).
    """
    try:
        record = wfdb.rdrecord(str(folder / name))
    except (OSError, ValueError, IndexError, TypeError) as error:
        raise DatasetError("dataset-missing", f"record {name} cannot be read") from error
    if record.p_signal is None:  # AFDB annotates records whose signals are lost
        raise DatasetError("dataset-missing", f"record {name} has no signals")
    reference = read_annotations(folder / name, "atr")
    if set(record.units) != {"mV"}:
        raise DatasetError("dataset-altered", f"record {name} is not in millivolts")
    inside = (reference.samples >= 0) & (reference.samples < len(record.p_signal))
    is_beat = inside & np.isin(reference.symbols, list(classes))
    if not is_beat.any():
        raise DatasetError("dataset-altered", f"record {name} has no annotated beat")
    return BeatRecord(
        name=name,
        patient=_patient(name, float(record.fs), record.comments),
        voltage_mv=np.ascontiguousarray(record.p_signal.T, dtype=np.float32),
        leads=tuple(record.sig_name),
        sampling_rate_hz=float(record.fs),
        r_peaks=reference.samples[is_beat],
        classes=np.array(
            [AAMI_CLASSES.index(classes[s]) for s in reference.symbols[is_beat]], np.int64
        ),
    )


def load_ds1(folder: Path) -> list[BeatRecord]:
    """The 22 records to train on.

    Raises:
        DatasetError: as `load_record`.
    """
    return [load_record(folder, name) for name in DS1]


def _original(name: str, rate_hz: float) -> str | None:
    if rate_hz != RATE_HZ:
        return None
    noisy = _NOISY.fullmatch(name)
    return noisy[1] if noisy else name


def _patient(name: str, rate_hz: float, comments: Sequence[str]) -> str:
    said = next(filter(None, map(_PATIENT.fullmatch, comments)), None)
    if said:
        return said[0].lower()
    person = _original(name, rate_hz)
    return SAME_PERSON.get(person, person) if person else name
