"""The PhysioNet/CinC Challenge of 2017 (Clifford et al., Comput Cardiol 44, 2017).

One folder: a table `record,label` without a header line, and for each record, beside it or in
folders below, a `.hea` and a `.mat` (WFDB, 16 bits behind 24 bytes of MATLAB header).
Labels are N (sinus rhythm), A (fibrillation), O (other rhythm) and ~ (too noisy). The recorder was
held between both hands, so the lead is lead I, at times upside down.
"""

import csv
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import wfdb

from model.datasets.headers import wfdb_headers
from model.ecg import Ecg
from model.errors import DatasetError, EcgError

CLASSES = ("N", "A", "O", "~")
LEAD = "I"
TABLES = ("REFERENCE-v3.csv", "REFERENCE.csv", "REFERENCE-original.csv")  # the last revision first
MAX_RECORDS = 100_000
MAX_RECORD_BYTES = 10_000_000

_RECORD = re.compile(r"[A-Za-z0-9_-]{1,32}")  # never a path


@dataclass(frozen=True)
class Cinc2017:
    """The records of a folder.

    Attributes:
        places: where each lies, without ending.
        table: the file the labels come from.
        records: their names; each is another person's as far as the publisher tells.
        labels: one of CLASSES each.
    """

    places: dict[str, Path]
    table: str
    records: tuple[str, ...]
    labels: tuple[str, ...]

    def ecg(self, record: str) -> Ecg:
        """Read one strip.

        Raises:
            DatasetError: `dataset-missing`, `dataset-altered`.
        """
        path = self.places[record]
        _check_size(path.with_suffix(".mat"))
        try:
            read = wfdb.rdrecord(str(path))
        except OSError as error:
            raise DatasetError("dataset-missing", f"record {record} cannot be read") from error
        except (ValueError, IndexError, TypeError, AttributeError) as error:
            raise DatasetError("dataset-altered", f"record {record} is malformed") from error
        if read.n_sig != 1 or [unit.lower() for unit in read.units] != ["mv"]:
            raise DatasetError("dataset-altered", f"record {record} is not one lead in millivolts")
        try:
            return Ecg(read.p_signal.T.astype(np.float32), (LEAD,), float(read.fs))
        except EcgError as error:
            raise DatasetError("dataset-altered", f"record {record}: {error.detail}") from error


def has_labels(folder: Path) -> bool:
    """Whether the folder looks like this challenge's."""
    return any((folder / table).is_file() for table in TABLES)


def load(folder: Path) -> Cinc2017:
    """Read the table of labels.

    Raises:
        DatasetError: `dataset-missing`, `dataset-altered`.
    """
    table = next((name for name in TABLES if (folder / name).is_file()), None)
    if table is None:
        raise DatasetError("dataset-missing", f"{folder} has none of {', '.join(TABLES)}")
    with (folder / table).open(newline="", encoding="utf-8") as lines:
        rows = [[field.strip() for field in row] for row in csv.reader(lines) if row]
    if not 0 < len(rows) <= MAX_RECORDS:
        raise DatasetError("dataset-altered", f"{table} has {len(rows)} records")
    for number, row in enumerate(rows, start=1):
        if len(row) != 2 or not _RECORD.fullmatch(row[0]) or row[1] not in CLASSES:
            raise DatasetError("dataset-altered", f"{table}, line {number}: not a record and label")
    records, labels = zip(*rows, strict=True)
    if len(set(records)) != len(records):
        raise DatasetError("dataset-altered", f"{table} names a record twice")
    found = {h.stem: h.with_suffix("") for h in reversed([*wfdb_headers(folder)])}
    places = {record: found.get(record, folder / record) for record in records}
    return Cinc2017(places, table, tuple(records), tuple(labels))


def _check_size(path: Path) -> None:
    try:
        size = path.stat().st_size
    except OSError as error:
        raise DatasetError("dataset-missing", f"record {path.stem} cannot be read") from error
    if size > MAX_RECORD_BYTES:
        raise DatasetError("dataset-altered", f"record {path.stem} has {size} bytes")
