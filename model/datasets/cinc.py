"""WFDB folders with SNOMED codes in `#Dx:` lines, as in the PhysioNet challenges 2020 and 2021.

These sets give no patient numbers, so each recording counts as a patient. Recordings of PTB-XL in
the challenges' form (HR00001...) are left out: the model was trained on most of them. A source may
look for a part of a type alone, as CPSC 2018 does for premature beats and fibrillation of ARR but
not for sinus tachycardia; the remarks say so where a few codes are all that it has of a type.
"""

import re
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np

from model.datasets.cases import (
    Cases,
    FromFiles,
    Read,
    Texts,
    age_of,
    labels,
    sex_of,
    unannotated,
    without_unannotated,
)
from model.datasets.headers import named, remarks, wfdb_headers
from model.datasets.snomed import finding_of, is_known, name_of
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
# A folder or prefix of no known meaning with fewer ECGs is a patient's or a day's, no source.
MIN_SOURCE = 100
# A source with so few findings of a type does not look for all of it; MI is one finding anyway.
FEW_FINDINGS = 3
BROAD_TYPES = ("STTC", "CD", "HYP", "ARR")
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
        told = ", ".join(f"{reason} ({n})" for reason, n in left_out.items()) or "no headers"
        raise DatasetError("labels-missing", f"nothing under {folder} has codes to use: {told}")
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
    site = _sources([header for header, _, _ in kept], folder)
    missing = unannotated(types, site)
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
                for name, codes in missing.items()
            ),
            *_narrow(site, [codes for *_, codes in kept], missing),
            *(
                f"code {code[:20]} is in no table: {n} ECGs count only for the types they do have"
                for code, n in unheard_of.most_common(20)
            ),
        ),
    )


def _narrow(site: Texts, codes: list[list[str]], missing: dict[str, list[str]]) -> Iterator[str]:
    """Say of which types a source has a few findings only."""
    for name in np.unique(site).tolist():
        mine = (set(said) for said, of in zip(codes, site, strict=True) if of == name)
        found = [code for code, _ in Counter(chain.from_iterable(mine)).most_common()]
        for kind in sorted(set(BROAD_TYPES) - set(missing.get(name, ()))):
            of_kind = [name_of(code) for code in found if kind in finding_of(code).types]
            if len(of_kind) <= FEW_FINDINGS:
                yield (
                    f"{name} has of {kind} only {', '.join(of_kind)}: ECGs without count as "
                    "negative and may have another"
                )


def _sources(headers: list[Path], folder: Path) -> Texts:
    """Name of each header's source; the folder's own for those of small ones."""
    names = [_source(header, folder) for header in headers]
    large = {name for name, n in Counter(names).items() if n >= MIN_SOURCE}
    kept = large | set(SOURCES.values())
    return np.array([name if name in kept else folder.name for name in names])


def _source(header: Path, folder: Path) -> str:
    """Name by the record's prefix; a record of digits alone is named by the folder it lies in."""
    prefix = _PREFIX.match(header.stem)
    if prefix is None:
        return header.relative_to(folder).parts[0] if header.parent != folder else folder.name
    return SOURCES.get(prefix[0], prefix[0])
