"""Measure a strip bundle on any folder of WFDB records with reference beats beside them.

Beats are scored by EC57 from the first sample on, at R peaks as annotated and as detected, with
escape beats as N (de Chazal) and as S (bxb), each lead of the record read.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from model.annotations import (
    BXB_CLASSES,
    DE_CHAZAL_CLASSES,
    Annotations,
    beat_annotations,
    read_annotations,
)
from model.datasets.mitbih import BeatRecord, load_record, record_names
from model.ec57 import Comparison, compare
from model.ec57_report import Evaluation
from model.metrics import auroc, bootstrap
from model.strip.detector import BeatReading, StripDetector
from model.strip.figures import figures_of

Json = dict[str, Any]
MAPPINGS = {"de-chazal": DE_CHAZAL_CLASSES, "bxb": BXB_CLASSES}
PEAKS = ("annotated", "detected")


def evaluate_folder(
    detector: StripDetector, folder: Path, on_record: Callable[[], None] = lambda: None
) -> Json:
    """All figures, with 95 % intervals over patients.

    `trained_on` names the records that share a name with one that the bundle learned from: figures
    on these measure no generalisation.

    Raises:
        DatasetError: as `record_names` and `load_record`.
    """
    compared: dict[str, dict[str, Comparison]] = {}
    anomaly, hours, cpu_s = [], 0.0, 0.0
    names = record_names(folder)
    for name in names:
        record = load_record(folder, name)
        started = time.process_time()
        detected = detector.read(record.voltage_mv, record.sampling_rate_hz)
        cpu_s += time.process_time() - started
        hours += record.voltage_mv.shape[1] / record.sampling_rate_hz / 3_600
        known = detector.read(record.voltage_mv, record.sampling_rate_hz, record.r_peaks)
        anomaly.append((record.patient, record.classes > 0, known.anomaly))
        expert = read_annotations(folder / name, "atr")
        for title, comparison in _comparisons(record, expert, (known, detected)):
            compared.setdefault(title, {})[name] = comparison
        on_record()
    return {
        "records": len(anomaly),
        "trained_on": sorted(set(names) & set(detector.card.origin.annotated_records)),
        "hours": hours,
        "cpu_seconds_an_hour": cpu_s / hours,
        **{title: figures_of(Evaluation(parts)) for title, parts in compared.items()},
        "anomaly_auroc": _anomaly(anomaly),
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


def _anomaly(parts: list[tuple[str, Any, Any]]) -> Json:
    """Area under the curve of beats that are not N against those that are."""
    patients = np.concatenate([[patient] * len(scores) for patient, _, scores in parts])
    abnormal = np.concatenate([labels for _, labels, _ in parts])
    scores = np.concatenate([scores for *_, scores in parts])
    return asdict(bootstrap(patients, lambda r: auroc(abnormal[r], scores[r]), n_draws=200))
