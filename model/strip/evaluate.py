"""Measure a strip bundle on any folder of WFDB records with reference beats beside them.

Beats are scored by EC57 from the first sample on, at R peaks as annotated and as detected, with
escape beats as N (de Chazal) and as S (bxb), each lead of the record read. MIT-BIH's paced records
are left out, as usual, and so are records that the model learned from, unless there are no others.
"""

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.annotations import (
    BXB_CLASSES,
    DE_CHAZAL_CLASSES,
    Annotations,
    beat_annotations,
    read_annotations,
)
from model.datasets.mitbih import (
    PACED,
    SAME_PERSON,
    BeatRecord,
    load_record,
    original,
    record_names,
)
from model.ec57 import Comparison, compare
from model.ec57_report import Evaluation
from model.errors import DatasetError, EcgError
from model.metrics import Ranking, bootstrap_weights
from model.strip.detector import BeatReading, StripDetector
from model.strip.figures import figures_of

Json = dict[str, Any]
MAPPINGS = {"de-chazal": DE_CHAZAL_CLASSES, "bxb": BXB_CLASSES}
PEAKS = ("annotated", "detected")


@dataclass(frozen=True, eq=False)
class _Measured:
    """One record.

    Attributes:
        patient: whose it is.
        hours: how long it is.
        cpu_s: what reading it took.
        compared: by title: R peaks and mapping.
        abnormal: `(n,)` whether an annotated beat is not N.
        anomaly: `(n,)` its score.
    """

    patient: str
    hours: float
    cpu_s: float
    compared: dict[str, Comparison]
    abnormal: NDArray[np.bool_]
    anomaly: NDArray[np.float64]


def evaluate_folder(
    detector: StripDetector, folder: Path, on_record: Callable[[], None] = lambda: None
) -> Json:
    """All figures, with 95 % intervals over patients.

    `left_out` names the records that were not measured, by reason. `trained_on` names measured
    ones that the bundle learned from: their figures measure no generalisation. `persons_known`
    names others of the same persons.

    Raises:
        DatasetError: as `record_names`, or `nothing-readable`.
    """
    learned = detector.card.origin.annotated_records
    origins = {name: original(folder, name) for name in record_names(folder)}
    left_out = _left_out(origins, learned)
    measured: dict[str, _Measured] = {}
    for name in origins:
        if name not in left_out:
            try:
                measured[name] = _measure(detector, folder, name)
            except (DatasetError, EcgError) as error:
                left_out[name] = error.reason
        on_record()
    by_reason = {r: [n for n in left_out if left_out[n] == r] for r in left_out.values()}
    if not measured:
        told = "; ".join(f"{reason}: {' '.join(names)}" for reason, names in by_reason.items())
        raise DatasetError("nothing-readable", f"no record can be measured: {told}")
    return {
        "records": len(measured),
        "patients": len({one.patient for one in measured.values()}),
        "left_out": by_reason,
        "trained_on": [name for name in measured if origins[name] in learned],
        "persons_known": [n for n in measured if SAME_PERSON.get(origins[n] or "") in learned],
        **_figures(measured),
    }


def _left_out(origins: Mapping[str, str | None], learned: Collection[str]) -> dict[str, str]:
    """Names to reasons, of records and the ones of MIT-BIH that they are made of."""
    out = {name: "paced" for name, origin in origins.items() if origin in PACED}
    known = [name for name, origin in origins.items() if origin in learned]
    return out | dict.fromkeys(known, "trained-on") if len(origins) > len(out) + len(known) else out


def _measure(detector: StripDetector, folder: Path, name: str) -> _Measured:
    record = load_record(folder, name)
    expert = read_annotations(folder / name, "atr")
    started = time.process_time()
    detected = detector.read(record.voltage_mv, record.sampling_rate_hz)
    cpu_s = time.process_time() - started
    known = detector.read(record.voltage_mv, record.sampling_rate_hz, record.r_peaks)
    return _Measured(
        record.patient,
        record.voltage_mv.shape[1] / record.sampling_rate_hz / 3_600,
        cpu_s,
        dict(_comparisons(record, expert, (known, detected))),
        record.classes > 0,
        known.anomaly,
    )


def _figures(measured: Mapping[str, _Measured]) -> Json:
    hours = sum(one.hours for one in measured.values())
    patients = {name: one.patient for name, one in measured.items()}
    compared: dict[str, dict[str, Comparison]] = {}
    for name, one in measured.items():
        for title, comparison in one.compared.items():
            compared.setdefault(title, {})[name] = comparison
    return {
        "hours": hours,
        "cpu_seconds_an_hour": sum(one.cpu_s for one in measured.values()) / hours,
        **{title: figures_of(Evaluation(parts, patients)) for title, parts in compared.items()},
        "anomaly_auroc": _anomaly(list(measured.values())),
    }


def _comparisons(
    record: BeatRecord, expert: Annotations, readings: tuple[BeatReading, BeatReading]
) -> Iterator[tuple[str, Comparison]]:
    """Of one record, by title: R peaks and mapping."""
    for kind, reading in zip(PEAKS, readings, strict=True):
        told = beat_annotations(reading.r_peaks, reading.names, record.sampling_rate_hz)
        for mapping, classes in MAPPINGS.items():
            yield (
                f"{kind}, {mapping}",
                compare(
                    expert,
                    told,
                    n_samples=record.voltage_mv.shape[1],
                    start_s=0.0,
                    classes=classes,
                ),
            )


def _anomaly(measured: list[_Measured]) -> Json:
    """Area under the curve of beats that are not N against those that are."""
    patients = np.concatenate([np.full(len(one.anomaly), one.patient) for one in measured])
    ranked = Ranking(
        np.concatenate([one.abnormal for one in measured]),
        np.concatenate([one.anomaly for one in measured]),
    )
    return asdict(
        bootstrap_weights(patients, lambda w: np.array([ranked.auroc(w)]), n_draws=200)[0]
    )
