"""Measure a bundle on labelled ECGs: all figures of one evaluation.

Rankings (AUROC, average precision) use every ECG that the quality gate lets pass. Figures that
depend on calibration, thresholds or the fusion leave out the patients these were chosen on.
"""

from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model import figures
from model.baseline import BeatPca, median_beat
from model.datasets import ptbxl
from model.datasets.cases import Cases, evenly
from model.detector import Detector
from model.errors import DatasetError, EcgError
from model.lead_subsets import LEAD_SETS, MAX_ECGS, lead_subsets
from model.scoring import Plan, Scored
from model.signal import remove_baseline

Json = dict[str, Any]

TRAINING_FOLDS = tuple(range(1, 9))
_EXPLAINED_ECGS = 100


def plan_of(cases: Cases, *, subsets: bool = True) -> Plan:
    """Score all cases; lead sets with as many as are needed, evenly spread."""
    if not subsets:
        return Plan(cases, {}, frozenset())
    rows = evenly(len(cases), MAX_ECGS)
    fewer = {name: leads for name, leads in LEAD_SETS.items() if name != "12"}
    return Plan(cases, fewer, frozenset(rows.tolist()))


def report(detector: Detector, scored: Scored, baseline: BeatPca | None, point: str) -> Json:
    """All figures but the times that need the ECGs again."""
    kept = scored.rows(scored.scorable)
    if not len(kept.quality):
        raise DatasetError("nothing-scorable", "the quality gate refused every ECG")
    fresh = figures.not_calibrated_on(detector, kept)
    return {
        "data": figures.described(scored),
        "trained_on": _trained_on(detector, scored),
        "quality": figures.abstention(scored),
        "ranking": figures.ranking(kept),
        "not_calibrated_on": _calibrated(detector, fresh, point) if len(fresh.quality) else None,
        "anomaly": figures.anomaly(kept, baseline),
        "groups": figures.groups(detector, scored, point),
        "lead_subsets": lead_subsets(detector, scored, point) if scored.subsets else None,
        "latency": latency(scored),
    }


def baseline_of(folder: Path) -> BeatPca | None:
    """Fitted on the normal ECGs of PTB-XL's folds 1-8; None where the folder lacks them.

    Raises:
        DatasetError: a recording is not what it should be.
    """
    try:
        training = ptbxl.load(folder, TRAINING_FOLDS)
    except DatasetError as error:
        if error.reason in {"dataset-missing", "fold-missing"}:
            return None
        raise
    normals = training.rows(training.normal)
    voltages_mv = (ptbxl.millivolts(row) for row in normals.voltage_uv)
    return BeatPca.fit(np.stack([median_beat(remove_baseline(v)) for v in voltages_mv]))


def latency(scored: Scored) -> Json:
    """Milliseconds an ECG, one at a time on one core, as measured while scoring."""
    total_ms = scored.prepare_ms + scored.network_ms
    return {
        "ecgs": int((~np.isnan(total_ms)).sum()),
        "prepare_ms": _times(scored.prepare_ms),
        "network_ms": _times(scored.network_ms),
        "total_ms": _times(total_ms),
    }


def explained_latency(detector: Detector, cases: Cases) -> Json:
    """Milliseconds from an ECG in memory to its findings with explanation."""
    took_ms = []
    few = cases.spread(_EXPLAINED_ECGS)
    for row in range(len(few)):
        try:
            ecg = few.ecg(row)
        except (DatasetError, EcgError):
            continue  # counted as unreadable when it was scored
        started = perf_counter()
        detector.score(ecg)
        took_ms.append(1_000 * (perf_counter() - started))
    return {"ecgs": len(took_ms), **_times(np.array(took_ms))}


def _calibrated(detector: Detector, fresh: Scored, point: str) -> Json:
    return {
        "ecgs": len(fresh.quality),
        "patients": len(np.unique(fresh.cases.patient)),
        "thresholds": figures.at_points(detector, fresh),
        "calibration_error": figures.calibration(fresh),
        "confusion": figures.confusion(detector, fresh, point),
        "anomaly": figures.fused_anomaly(detector, fresh),
    }


def _trained_on(detector: Detector, scored: Scored) -> int:
    """ECGs among these that the network learned from: their figures are no evidence."""
    return int(np.isin(scored.cases.fold, detector.card.origin.training_folds).sum())


def _times(took_ms: NDArray[np.float64]) -> Json:
    measured = took_ms[~np.isnan(took_ms)]
    if not len(measured):
        return {"median": None, "p99": None}
    median, p99 = np.percentile(measured, [50, 99])
    return {"median": round(float(median), 2), "p99": round(float(p99), 2)}
