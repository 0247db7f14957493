"""PTB-XL at 100 Hz (Wagner et al., Scientific Data 7:154, 2020): waveforms, labels, folds.

Labels. An ECG has a statement when its `scp_codes` name it, at any likelihood (the convention of
Strodthoff et al., IEEE JBHI 25(5), 2021). An ECG has a type when it has one of the type's
statements: NORM, MI, STTC, CD and HYP by `diagnostic_class`; ARR by ARRHYTHMIA_STATEMENTS.
"""

import ast
import csv
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.ecg import LEADS_12, Ecg
from model.errors import DatasetError
from model.findings import ABNORMALITY_TYPES

TYPES = ("NORM", *ABNORMALITY_TYPES)
SUPERCLASSES = TYPES[:-1]

# Rhythm and ectopy. Left out: SR (normal), SARRH (mostly breathing), PACE (a device at work), 1AVB
# (conduction only). 2AVB and 3AVB drop beats, so they are a CD and an ARR.
ARRHYTHMIA_STATEMENTS = (
    frozenset({"AFIB", "AFLT", "SVARR", "SVTAC", "PSVT", "STACH", "SBRAD"})
    | {"PVC", "PAC", "PRC(S)", "BIGU", "TRIGU"}
    | {"2AVB", "3AVB"}
)

N_SAMPLES = 1_000
_READ_CHUNK = 1_024


@dataclass(frozen=True, eq=False)
class PtbXl:
    """Some folds of PTB-XL, one row an ECG.

    Attributes:
        ecg_id: `(n,)` the publisher's number.
        patient_id: `(n,)`.
        fold: `(n,)` 1 to 10, split by patient.
        age: `(n,)` years, NaN when unknown; 300 stands for 90 and older.
        sex: `(n,)` 0 male, 1 female.
        statements: `(n, 71)` in the order of statement_names.
        types: `(n, 6)` in the order of TYPES.
        statement_names: the 71 SCP statements in the publisher's order.
        voltage_uv: `(n, 12, 1000)` int16 microvolts at 100 Hz.
    """

    ecg_id: NDArray[np.int64]
    patient_id: NDArray[np.int64]
    fold: NDArray[np.int64]
    age: NDArray[np.float64]
    sex: NDArray[np.int64]
    statements: NDArray[np.bool_]
    types: NDArray[np.bool_]
    statement_names: tuple[str, ...]
    voltage_uv: NDArray[np.int16]

    @property
    def normal(self) -> NDArray[np.bool_]:
        """ECGs whose only type is NORM, `(n,)`."""
        return self.types[:, 0] & ~self.types[:, 1:].any(axis=1)

    def rows(self, chosen: NDArray[Any]) -> "PtbXl":
        """Keep some rows, by index or mask."""
        return PtbXl(
            self.ecg_id[chosen],
            self.patient_id[chosen],
            self.fold[chosen],
            self.age[chosen],
            self.sex[chosen],
            self.statements[chosen],
            self.types[chosen],
            self.statement_names,
            self.voltage_uv[chosen],
        )

    def sha256(self) -> str:
        """Hash of samples and labels: two equal hashes trained on the same."""
        digest = hashlib.sha256()
        for array in (self.ecg_id, self.fold, self.statements, self.types):
            digest.update(np.ascontiguousarray(array).tobytes())
        for start in range(0, len(self.ecg_id), _READ_CHUNK):
            digest.update(np.ascontiguousarray(self.voltage_uv[start : start + _READ_CHUNK]).data)
        return digest.hexdigest()


def load(folder: Path, folds: tuple[int, ...], cache: Path | None = None) -> PtbXl:
    """Read the ECGs of some folds; `cache` keeps the samples as one .npy for the next time.

    Raises:
        DatasetError: `dataset-missing`, `fold-missing`, `dataset-altered`.
    """
    table = read_table(folder, folds)
    return PtbXl(
        ecg_id=table.column("ecg_id"),
        patient_id=table.column("patient_id"),
        fold=table.column("strat_fold"),
        age=table.age,
        sex=table.column("sex"),
        statements=table.statements,
        types=table.types,
        statement_names=table.statement_names,
        voltage_uv=_voltages(folder, [r["filename_lr"] for r in table.rows], cache),
    )


@dataclass(frozen=True, eq=False)
class Table:
    """Some folds of ptbxl_database.csv: rows as they stand there, and their labels."""

    rows: list[dict[str, str]]
    statements: NDArray[np.bool_]
    types: NDArray[np.bool_]
    statement_names: tuple[str, ...]

    def column(self, name: str) -> NDArray[np.int64]:
        """A column of whole numbers, `(n,)`."""
        return np.array([int(float(r[name])) for r in self.rows], np.int64)

    @property
    def age(self) -> NDArray[np.float64]:
        """Years, `(n,)`, NaN when unknown."""
        return np.array([float(r["age"] or "nan") for r in self.rows])


def read_table(folder: Path, folds: tuple[int, ...]) -> Table:
    """Read the labels of some folds.

    Raises:
        DatasetError: `dataset-missing`, `fold-missing`.
    """
    classes = _statement_classes(_table(folder / "scp_statements.csv"))
    rows = [r for r in _table(folder / "ptbxl_database.csv") if int(r["strat_fold"]) in folds]
    if {int(r["strat_fold"]) for r in rows} != set(folds):
        raise DatasetError("fold-missing", f"not all of the folds {sorted(folds)} are in the table")
    names = tuple(classes)
    statements = np.zeros((len(rows), len(names)), np.bool_)
    for statement_row, row in zip(statements, rows, strict=True):
        for code in ast.literal_eval(row["scp_codes"]):
            statement_row[names.index(code)] = True
    return Table(rows, statements, aggregate(statements, classes), names)


def ecg_of(data: PtbXl, row: int, leads: tuple[str, ...] = LEADS_12) -> Ecg:
    """One row as a sender would have sent it, with some of its leads."""
    chosen = [LEADS_12.index(lead) for lead in leads]
    return Ecg(millivolts(data.voltage_uv[row, chosen]), leads, 100.0)


def millivolts(voltage_uv: NDArray[np.int16]) -> NDArray[np.float32]:
    """From the stored steps of one microvolt."""
    return voltage_uv.astype(np.float32) / np.float32(1_000)


def aggregate(statements: NDArray[np.bool_], classes: dict[str, str]) -> NDArray[np.bool_]:
    """Types `(n, 6)` from statements `(n, len(classes))`; `classes`: statement -> superclass."""
    members = np.array(
        [
            [c == t or (t == "ARR" and name in ARRHYTHMIA_STATEMENTS) for t in TYPES]
            for name, c in classes.items()
        ]
    )
    types: NDArray[np.bool_] = statements.astype(np.int64) @ members.astype(np.int64) > 0
    return types


def _statement_classes(rows: list[dict[str, str]]) -> dict[str, str]:
    return {row[""]: row["diagnostic_class"] if row["diagnostic"] else "" for row in rows}


def _table(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8") as lines:
            return list(csv.DictReader(lines))
    except OSError as error:
        raise DatasetError("dataset-missing", f"{path} cannot be read") from error


def _voltages(folder: Path, records: list[str], cache: Path | None) -> NDArray[np.int16]:
    if cache is None:
        return _read_records(folder, records)
    key = hashlib.sha256("\n".join([str(folder.resolve()), *records]).encode()).hexdigest()
    path = cache / f"ptbxl100-{key[:16]}.npy"
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part.npy")
        np.save(part, _read_records(folder, records), allow_pickle=False)
        part.replace(path)
    voltage: NDArray[np.int16] = np.load(path, mmap_mode="r", allow_pickle=False)
    if voltage.shape != (len(records), 12, N_SAMPLES):
        raise DatasetError("dataset-altered", f"{path} is of another shape: delete it")
    return voltage


def _read_records(folder: Path, records: list[str]) -> NDArray[np.int16]:
    voltage = np.empty((len(records), 12, N_SAMPLES), np.int16)
    for row, record in zip(voltage, records, strict=True):
        row[:] = _read_record(folder / record)
    return voltage


def _read_record(path: Path) -> NDArray[np.int16]:
    """One record in microvolts; checked against its header, so that nothing is assumed."""
    try:
        header = path.with_name(path.name + ".hea").read_text(encoding="ascii").splitlines()
        samples = np.fromfile(path.with_name(path.name + ".dat"), dtype="<i2")
    except OSError as error:
        raise DatasetError("dataset-missing", f"record {path.name} cannot be read") from error
    leads = [line.split() for line in header[1:13]]
    as_promised = (
        header[0].split()[1:4] == ["12", "100", str(N_SAMPLES)]
        and [fields[-1].upper() for fields in leads] == [lead.upper() for lead in LEADS_12]
        and all(fields[1:3] == ["16", "1000.0(0)/mV"] for fields in leads)
        and samples.size == 12 * N_SAMPLES
    )
    if not as_promised:
        raise DatasetError("dataset-altered", f"record {path.name} is not 12 leads of 16 bits")
    return samples.reshape(N_SAMPLES, 12).T.astype(np.int16)
