"""LUDB (Kalyakulina et al., IEEE Access 8:186181, 2020): 200 ECGs, findings in words.

The words are in the headers' remarks, in `ludb.csv` beside, or both; each kind of finding was
looked for in every ECG, so all types are annotated. One ECG a patient. NORM is derived: sinus
rhythm, an axis that is no deviation, and nothing else.
"""

import csv
import re
from collections import Counter
from pathlib import Path

import numpy as np

from model.datasets.cases import UNHEARD_OF, Cases, Finding, FromFiles, Read, age_of, labels, sex_of
from model.datasets.headers import named, remarks, wfdb_headers
from model.errors import DatasetError
from model.findings import ABNORMALITY_TYPES

TABLE = "ludb.csv"
_ABOUT = {"age", "sex", "diagnoses", "id", ""}
_KINDS = re.compile(
    r"rhythm|electric axis|conduction|extrasystol|hypertroph|pacing|ischemia|repolari[sz]ation"
    r"|other",
    re.IGNORECASE,
)

# Words -> (types, unsure). Every pattern that occurs in a remark counts.
_WORDS = {
    r"fibrillation|flutter|tachycardia|bradycardia|extrasystol|\bp[av]c\b|bigemin|trigemin"
    r"|quadrigemin|allorhythm|escape|junctional rhythm|atrial rhythm|idioventricular": ("ARR", ""),
    r"sino-?atrial block": ("ARR", "CD"),
    r"\bI{2,3} degree av|complete av|mobitz|wenckebach": ("CD ARR", ""),
    r"\bI degree av|bundle branch block|hemiblock|fascicular block|conduction (delay|distur)"
    r"|wpw|wolf|pre-?excitation": ("CD", ""),
    r"hypertrophy|atrial (overload|enlargement)": ("HYP", ""),
    r"ventricular overload": ("", "HYP STTC"),
    r"(?<!n)\bstemi|scar formation|myocardial infarction": ("MI", "STTC"),
    r"undefined ischemia|nstemi": ("STTC", "MI"),
    r"^ischemia|repolari[sz]ation abnormal": ("STTC", ""),
    r"pacing|pacemaker|paced": ("", " ".join(ABNORMALITY_TYPES)),
    r"early repolari[sz]ation": ("", "STTC"),
    r"left axis deviation": ("", "CD"),
    r"right axis deviation|axis.*undetermin": ("", "CD HYP"),
    r"irregular sinus|sinus arrhythmia|sinus node migration|wandering": ("", ""),
}
_NORMAL = re.compile(
    r"(rhythms?:\s*)?sinus rhythm"
    r"|electric axis of the heart:\s*(normal|vertical|horizontal)(\s.*)?",
    re.IGNORECASE,
)


def has_words(header: Path) -> bool:
    """Whether a header's remarks are LUDB's."""
    names = {named(remark)[0] for remark in remarks(header)}
    return "diagnoses" in names or {"rhythm", "electric axis of the heart"} <= names


def finding_of(remark: str) -> Finding | None:
    """What a remark says; None for one whose words are not known."""
    text = remark.strip().rstrip(".").strip()
    if _NORMAL.fullmatch(text):
        return Finding(normal=True)
    matched = [said for words, said in _WORDS.items() if re.search(words, text, re.IGNORECASE)]
    if not matched:
        return None
    types = frozenset(code for has, _ in matched for code in has.split())
    unsure = frozenset(code for _, may in matched for code in may.split())
    return Finding(types, unsure - types)


def cases(folder: Path, read: Read) -> Cases:
    """Every recording below a folder that has findings in its header or in the table.

    Raises:
        DatasetError: `labels-missing` when none has.
    """
    table, left_out, unheard_of = _table(folder), Counter[str](), Counter[str]()
    kept = []
    for header in wfdb_headers(folder):
        about, said = _said(header)
        row = table.get(header.stem, {})
        said = said or _said_in(row)
        if not said:
            left_out["labels-missing"] += 1
            continue
        found = [finding_of(remark) for remark in said]
        unheard_of.update(r for r, f in zip(said, found, strict=True) if f is None)
        label = labels(f or UNHEARD_OF for f in found)
        age, sex = (about.get(k) or row.get(k, "") for k in ("age", "sex"))
        kept.append((header, label, age_of(age), sex_of(sex)))
    if not kept:
        raise DatasetError("labels-missing", f"no header under {folder} has findings in words")
    n = len(kept)
    return Cases(
        source="LUDB",
        record=np.array([h.relative_to(folder).with_suffix("").as_posix() for h, *_ in kept]),
        types=np.stack([types for _, (types, _), _, _ in kept]),
        normal=np.array([normal for _, (_, normal), _, _ in kept], np.int8),
        patient=np.arange(n),
        patients_known=True,
        fold=np.zeros(n, np.int64),
        age=np.array([age for _, _, age, _ in kept]),
        groups={"sex": np.array([sex for *_, sex in kept])},
        ecg=FromFiles(tuple(header for header, *_ in kept), read),
        left_out=dict(left_out),
        remarks=tuple(
            f"{remark[:60]!r} is not understood: {k} ECGs count only for the types they do have"
            for remark, k in unheard_of.most_common(20)
        ),
    )


def _said(header: Path) -> tuple[dict[str, str], list[str]]:
    """Age and sex, and the findings."""
    lines = [remark for remark in remarks(header) if remark]
    about = {n: v for n, v in map(named, lines) if n in _ABOUT}
    return about, [line for line in lines if named(line)[0] not in _ABOUT or ":" not in line]


def table_of(folder: Path) -> Path | None:
    """The table in a folder, or beside it when only the folder with the recordings was named."""
    beside = [folder.parent / TABLE] if folder.name == "data" else []
    return next((path for path in (folder / TABLE, *beside) if path.is_file()), None)


def _table(folder: Path) -> dict[str, dict[str, str]]:
    """Rows of ludb.csv by ID, names of columns in lower case; empty when there is no table."""
    path = table_of(folder)
    if path is None:
        return {}
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        rows = [
            {(k or "").strip().lower(): v or "" for k, v in row.items() if isinstance(v, str)}
            for row in csv.DictReader(file)
        ]
    return {row.get("id", "").strip(): row for row in rows}


def _said_in(row: dict[str, str]) -> list[str]:
    """A table's cells as a header would have said them, the column's name before each."""
    return [
        line.strip() if ":" in line else f"{column.capitalize()}: {line.strip()}"
        for column, cell in row.items()
        if column not in _ABOUT and _KINDS.search(column)
        for line in cell.splitlines()
        if line.strip()
    ]
