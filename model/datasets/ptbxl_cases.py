"""PTB-XL as labelled ECGs: from a folder, one ECG at a time, or from arrays in memory."""

from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.datasets.cases import NO, YES, Cases, FromFiles, Read, Trits
from model.datasets.ptbxl import TYPES, PtbXl, ecg_of, read_table

_SEX = np.array(["male", "female"])
_OLDEST_KNOWN = 120  # 300 stands for 90 and older


def cases(folder: Path, folds: tuple[int, ...], read: Read) -> Cases:
    """Some folds, as 100 Hz recordings where the folder has them and as 500 Hz ones otherwise.

    Raises:
        DatasetError: `dataset-missing`, `fold-missing`.
    """
    table = read_table(folder, folds)
    column = "filename_hr" if _only_500_hz(folder) else "filename_lr"
    paths = tuple(folder / f"{row[column]}.hea" for row in table.rows)
    return Cases(
        source="PTB-XL",
        record=np.array([row[column] for row in table.rows]),
        types=_trits(table.types),
        normal=_normal(table.types),
        patient=table.column("patient_id"),
        patients_known=True,
        fold=table.column("strat_fold"),
        age=np.where(table.age > _OLDEST_KNOWN, 90.0, table.age),
        groups={
            "sex": _SEX[table.column("sex")],
            "site": np.array([_site(row.get("site", "")) for row in table.rows]),
            "device": np.array([" ".join(row.get("device", "").split()) for row in table.rows]),
        },
        ecg=FromFiles(paths, read),
        statements=table.statements,
        statement_names=table.statement_names,
    )


def from_arrays(data: PtbXl) -> Cases:
    """Rows that are in memory already."""
    return Cases(
        source="PTB-XL",
        record=data.ecg_id.astype(str),
        types=_trits(data.types),
        normal=_normal(data.types),
        patient=data.patient_id,
        patients_known=True,
        fold=data.fold,
        age=np.where(data.age > _OLDEST_KNOWN, 90.0, data.age),
        groups={"sex": _SEX[data.sex]},
        ecg=partial(ecg_of, data),
        statements=data.statements,
        statement_names=data.statement_names,
    )


def _trits(types: NDArray[np.bool_]) -> Trits:
    return np.where(types, YES, NO).astype(np.int8)


def _normal(types: NDArray[np.bool_]) -> Trits:
    """NORM and no other type; an ECG of no type at all is not called normal."""
    return _trits(types[:, 0] & ~types[:, 1 : len(TYPES)].any(axis=1))


def _only_500_hz(folder: Path) -> bool:
    return (folder / "records500").is_dir() and not (folder / "records100").is_dir()


def _site(text: str) -> str:
    return f"site {float(text):.0f}" if text.strip() else ""
