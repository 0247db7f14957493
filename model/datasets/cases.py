"""Labelled ECGs of any source: labels in memory, samples read one ECG at a time.

A label is known or not. A data set that never writes hypertrophy down has no ECG without
hypertrophy, only ECGs of which it is not known; counting them as negatives would punish a model
for being right.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.datasets.ptbxl import TYPES
from model.ecg import Ecg
from model.findings import ABNORMALITY_TYPES

Trits = NDArray[np.int8]
Texts = NDArray[np.str_]
Read = Callable[[Path], Ecg]

YES, NO, UNKNOWN = 1, 0, -1
# A source with fewer ECGs of a type than this does not annotate it: what it has are accidents.
MIN_POSITIVES, MIN_POSITIVE_SHARE = 5, 0.001


@dataclass(frozen=True)
class Finding:
    """What one remark on an ECG says about the types.

    Attributes:
        types: it has these.
        unsure: of these it is not known, such as CD when an axis deviates.
        normal: the remark fits a normal ECG; any other makes NORM unsure at least.
    """

    types: frozenset[str] = frozenset()
    unsure: frozenset[str] = frozenset()
    normal: bool = False


UNHEARD_OF = Finding(unsure=frozenset(ABNORMALITY_TYPES))


@dataclass(frozen=True, eq=False)
class Cases:
    """n labelled ECGs.

    Attributes:
        source: name of the data set.
        record: `(n,)` name of each ECG within it.
        types: `(n, 6)` YES, NO or UNKNOWN in the order of TYPES.
        normal: `(n,)` likewise; NO is "abnormal" for the anomaly score.
        patient: `(n,)` numbers; each ECG its own where the source names no patients.
        patients_known: whether the source names them.
        fold: `(n,)` of PTB-XL; 0 elsewhere.
        age: `(n,)` years, NaN when unknown.
        groups: name (`sex`, `site`, `device`) to `(n,)` values; empty text when unknown.
        statements: `(n, k)`, or None where the source does not use PTB-XL's.
        statement_names: `k` names.
        ecg: reads the ECG of a row; an `EcgError` or `DatasetError` says why it cannot.
        left_out: reason to number of recordings that are no rows.
        remarks: what a reader of the figures must know.
    """

    source: str
    record: Texts
    types: Trits
    normal: Trits
    patient: NDArray[np.int64]
    patients_known: bool
    fold: NDArray[np.int64]
    age: NDArray[np.float64]
    groups: dict[str, Texts]
    ecg: Callable[[int], Ecg]
    statements: NDArray[np.bool_] | None = None
    statement_names: tuple[str, ...] = ()
    left_out: dict[str, int] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Number of ECGs."""
        return len(self.record)

    def rows(self, chosen: NDArray[Any]) -> "Cases":
        """Keep some rows, by index or mask."""
        index = np.arange(len(self))[chosen]
        arrays = {
            f.name: getattr(self, f.name)[index]
            for f in fields(self)
            if isinstance(getattr(self, f.name), np.ndarray)
        }
        groups = {name: values[index] for name, values in self.groups.items()}
        return replace(self, **arrays, groups=groups, ecg=_Some(self.ecg, index))

    def spread(self, most: int | None) -> "Cases":
        """At most so many rows, evenly spread over all."""
        return self if most is None else self.rows(evenly(len(self), most))


def evenly(n: int, most: int) -> NDArray[np.int64]:
    """At most so many of n rows, evenly spread."""
    return np.linspace(0, n - 1, min(most, n)).round().astype(np.int64)


@dataclass(frozen=True, eq=False)
class FromFiles:
    """Reads the ECG of a row from its file; can be sent to another process."""

    paths: tuple[Path, ...]
    read: Read

    def __call__(self, row: int) -> Ecg:
        """The ECG of a row."""
        return self.read(self.paths[row])


@dataclass(frozen=True, eq=False)
class _Some:
    ecg: Callable[[int], Ecg]
    index: NDArray[np.int64]

    def __call__(self, row: int) -> Ecg:
        return self.ecg(int(self.index[row]))


def labels(findings: Iterable[Finding]) -> tuple[Trits, int]:
    """Types `(6,)` and "normal" of one ECG from all remarks on it.

    NORM is derived: every remark fits a normal ECG, and there is one at least. Where ARR is all
    that an ECG has, NORM is not known: of such ECGs of PTB-XL 88 % have both (sinus bradycardia
    99 %, fibrillation 37 %). For the anomaly score they are abnormal.
    """
    found = list(findings)
    has = frozenset[str]().union(*(f.types for f in found))
    unsure = frozenset[str]().union(*(f.unsure for f in found)) - has
    normal = NO if has else YES if found and all(f.normal for f in found) else UNKNOWN
    row = [YES if t in has else UNKNOWN if t in unsure else NO for t in ABNORMALITY_TYPES]
    norm = UNKNOWN if has == {"ARR"} else normal
    return np.array([norm, *row], np.int8), normal


def unannotated(types: Trits, source: Texts) -> dict[str, list[str]]:
    """Types that a source does not annotate, by source; one it hardly ever names counts as such."""
    found = {}
    for name in np.unique(source):
        mine = types[source == name]
        least = max(MIN_POSITIVES, MIN_POSITIVE_SHARE * len(mine))
        rare = [t for t, n in zip(TYPES, (mine == YES).sum(axis=0), strict=True) if n < least]
        if rare:
            found[str(name)] = rare
    return found


def without_unannotated(types: Trits, source: Texts) -> Trits:
    """Types with every NO of a source made UNKNOWN where it does not annotate the type."""
    known = types.copy()
    for name, codes in unannotated(types, source).items():
        for k in map(TYPES.index, codes):
            known[(source == name) & (known[:, k] == NO), k] = UNKNOWN
    return known


def sex_of(text: str) -> str:
    """`male`, `female`, or empty."""
    return {"M": "male", "F": "female"}.get(text.strip().upper()[:1], "")


def age_of(text: str) -> float:
    """Years from 0 to 120, or NaN; `>89`, as LUDB has it, is 89."""
    try:
        years = float(text.strip().removeprefix(">"))
    except ValueError:
        return float("nan")
    return years if 0 <= years <= 120 else float("nan")
