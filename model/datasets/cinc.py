"""WFDB folders with SNOMED codes in `#Dx:` lines, as in the PhysioNet challenges 2020 and 2021.

These sets give no patient numbers, so each recording counts as a patient. Recordings of PTB-XL in
the challenges' form (HR00001...) are left out: the model was trained on most of them.
"""

import re
from collections import Counter
from pathlib import Path

import numpy as np

from model.datasets.cases import (
    Cases,
    FromFiles,
    Read,
    age_of,
    labels,
    sex_of,
    unannotated,
    without_unannotated,
)
from model.datasets.headers import named, remarks, wfdb_headers
from model.datasets.snomed import finding_of, is_known
from model.errors import DatasetError

# The challenges' prefixes of record names.
SOURCES = {
    "A": "CPSC 2018",
    "Q": "CPSC 2018 extra",
    "I": "INCART",
    "S": "PTB",
    "E": "Georgia",
    "JS": "Chapman-Shaoxing and Ningbo",
}
_PTBXL = re.compile(r"HR\d{5}")
_PREFIX = re.compile(r"[A-Za-z]+")


def has_codes(header: Path) -> bool:
    """Whether a header has a `Dx` line."""
    return any(named(remark)[0] == "dx" for remark in remarks(header))


def cases(folder: Path, read: Read) -> Cases:
    """Every recording below a folder whose header names findings.

    Raises:
        DatasetError: `labels-missing` when none does.
    """
    kept: list[tuple[Path, dict[str, str], list[str]]] = []
    left_out: Counter[str] = Counter()
    unheard_of: Counter[str] = Counter()
    for header in wfdb_headers(folder):
        said = dict(map(named, reversed(remarks(header))))
        codes = re.findall(r"[^\s,;]+", said.get("dx", ""))
        if _PTBXL.fullmatch(header.stem):
            left_out["trained-on"] += 1
        elif not any(code.isdigit() for code in codes):
            left_out["labels-missing"] += 1
        else:
            kept.append((header, said, codes))
            unheard_of.update(code for code in codes if not is_known(code))
    if not kept:
        raise DatasetError("labels-missing", f"no header under {folder} has SNOMED codes to use")
    return _cases(folder, read, kept, dict(left_out), unheard_of)


def _cases(
    folder: Path,
    read: Read,
    kept: list[tuple[Path, dict[str, str], list[str]]],
    left_out: dict[str, int],
    unheard_of: Counter[str],
) -> Cases:
    labelled = [labels(map(finding_of, codes)) for _, _, codes in kept]
    types = np.stack([row for row, _ in labelled])
    site = np.array([_source(header, folder) for header, _, _ in kept])
    return Cases(
        source="WFDB with SNOMED codes",
        record=np.array(
            [header.relative_to(folder).with_suffix("").as_posix() for header, *_ in kept]
        ),
        types=without_unannotated(types, site),
        normal=np.array([normal for _, normal in labelled], np.int8),
        patient=np.arange(len(kept)),
        patients_known=False,
        fold=np.zeros(len(kept), np.int64),
        age=np.array([age_of(said.get("age", "")) for _, said, _ in kept]),
        groups={
            "sex": np.array(
                [sex_of(said.get("sex", said.get("gender", ""))) for _, said, _ in kept]
            ),
            "site": site,
        },
        ecg=FromFiles(tuple(header for header, _, _ in kept), read),
        left_out=left_out,
        remarks=(
            *(
                f"{name} does not annotate {', '.join(codes)}: ECGs without are not counted as such"
                for name, codes in unannotated(types, site).items()
            ),
            *(
                f"code {code[:20]} is in no table: {n} ECGs count only for the types they do have"
                for code, n in unheard_of.most_common(20)
            ),
        ),
    )


def _source(header: Path, folder: Path) -> str:
    """Name by the record's prefix; a record of digits alone is named by the folder it lies in."""
    prefix = _PREFIX.match(header.stem)
    if prefix is None:
        return header.relative_to(folder).parts[0] if header.parent != folder else folder.name
    return SOURCES.get(prefix[0], prefix[0])
