"""Measure a bundle on folds of PTB-XL: ranking, thresholds, anomaly views, baseline, lead subsets.

Rankings (AUROC, average precision) use every ECG that the quality gate lets pass. Figures that
depend on calibration, thresholds or the fusion leave out the patients these were chosen on.
"""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model import metrics
from model.anomaly import COMPONENTS
from model.baseline import BeatPca, median_beat
from model.datasets.ptbxl import TYPES, PtbXl, millivolts
from model.detector import Detector, Opinion, prepared_for
from model.ecg import LEADS_12, LIMB_LEADS, Ecg
from model.errors import DatasetError
from model.findings import ABNORMALITY_TYPES, Quality
from model.metrics import Estimate, bootstrap
from model.quality import assess_quality
from model.resting.freeze import calibration_rows
from model.signal import Prepared, prepare, remove_baseline

OnEcg = Callable[[], None]
Json = dict[str, Any]

LEAD_SUBSETS = {
    "6 limb leads": LIMB_LEADS,
    "I II III V2": ("I", "II", "III", "V2"),
    "I II V2": ("I", "II", "V2"),
    "I II": ("I", "II"),
    "I": ("I",),
    "II": ("II",),
}
_BATCH = 64
_OPINION = tuple(field.name for field in fields(Opinion))
_LATENCY_ECGS = 100


@dataclass(frozen=True, eq=False)
class Scored:
    """A data set with the detector's opinion of each row, as the product would have given it.

    Attributes:
        data: `n` rows.
        opinion: `n` rows; those that the gate refuses were read with all leads.
        quality: the gate's verdicts.
    """

    data: PtbXl
    opinion: Opinion
    quality: tuple[Quality, ...]

    @property
    def scorable(self) -> NDArray[np.bool_]:
        """Rows that the gate lets pass, `(n,)`."""
        return np.array([q.scorable for q in self.quality])

    def rows(self, chosen: NDArray[np.bool_]) -> "Scored":
        """Keep some rows, by mask."""
        opinion = Opinion(*(getattr(self.opinion, name)[chosen] for name in _OPINION))
        quality = tuple(q for q, keep in zip(self.quality, chosen, strict=True) if keep)
        return Scored(self.data.rows(chosen), opinion, quality)


def score_dataset(detector: Detector, data: PtbXl, on_ecg: OnEcg = lambda: None) -> Scored:
    """Gate, prepare and read every row.

    Raises:
        DatasetError: `statements-differ` between the model and the data set.
    """
    if data.statement_names != detector.card.statements:
        raise DatasetError("statements-differ", "the model was trained on other statements")
    quality, pieces = [], []
    for row in range(len(data.ecg_id)):
        ecg = ecg_of(data, row)
        verdict = assess_quality(ecg)
        quality.append(verdict)
        pieces.append(prepared_for(ecg, verdict) if verdict.scorable else prepare(ecg))
        on_ecg()
    return Scored(data, _judged(detector, pieces), tuple(quality))


def ecg_of(data: PtbXl, row: int, leads: tuple[str, ...] = LEADS_12) -> Ecg:
    """One row as a sender would have sent it, with some of its leads."""
    chosen = [LEADS_12.index(lead) for lead in leads]
    return Ecg(millivolts(data.voltage_uv[row, chosen]), leads, 100.0)


def report(detector: Detector, scored: Scored, normals: PtbXl | None) -> Json:
    """All figures but the lead subsets and the latency; `normals` train the baseline."""
    kept = scored.rows(scored.scorable)
    data, opinion = kept.data, kept.opinion
    fresh = not_calibrated_on(detector, kept)
    return {
        "data": {
            "sha256": scored.data.sha256(),
            "folds": sorted({int(f) for f in scored.data.fold}),
            "ecgs": len(scored.quality),
            "patients": len(np.unique(scored.data.patient_id)),
            "ecgs_with_type": dict(
                zip(TYPES, map(int, scored.data.types.sum(axis=0)), strict=True)
            ),
            "normal_ecgs": int(scored.data.normal.sum()),
        },
        "quality": _quality(scored.quality),
        "ranking": _ranking(data, opinion),
        "ranking_without_gate": _macro_of_types(scored.data, scored.opinion),
        "not_calibrated_on": {
            "ecgs": len(fresh.quality),
            "patients": len(np.unique(fresh.data.patient_id)),
            "thresholds": _thresholds(detector, fresh),
            "calibration_error": {
                code: metrics.expected_calibration_error(
                    fresh.data.types[:, i], fresh.opinion.types[:, i]
                )
                for i, code in enumerate(TYPES)
            },
            "anomaly": _fused_anomaly(detector, fresh),
        },
        "anomaly": _anomaly(data, opinion, normals),
    }


def not_calibrated_on(detector: Detector, scored: Scored) -> Scored:
    """Rows of patients on whom no probability and no threshold was fitted."""
    folds = detector.card.origin.validation_folds
    calibrating = calibration_rows(scored.data) & np.isin(scored.data.fold, folds)
    return scored.rows(~calibrating)


def lead_subsets(detector: Detector, data: PtbXl, on_ecg: OnEcg = lambda: None) -> Json:
    """Macro AUROC of the five types when only some leads are sent; the gate is not asked."""
    figures = {}
    for name, leads in LEAD_SUBSETS.items():
        pieces = []
        for row in range(len(data.ecg_id)):
            pieces.append(prepare(ecg_of(data, row, leads)))
            on_ecg()
        opinion = _judged(detector, pieces)
        figures[name] = {
            "macro_auroc_types": metrics.macro_auroc(data.types[:, 1:], opinion.types[:, 1:]),
            "auroc_ARR": metrics.auroc(data.types[:, -1], opinion.types[:, -1]),
        }
    return figures


def latency(detector: Detector, data: PtbXl) -> Json:
    """Milliseconds from an ECG in memory to its findings with explanation, one at a time."""
    ecgs = [ecg_of(data, row) for row in range(min(_LATENCY_ECGS, len(data.ecg_id)))]
    took_ms = []
    for ecg in ecgs:
        started = time.perf_counter()
        detector.score(ecg)
        took_ms.append(1_000 * (time.perf_counter() - started))
    return {
        "ecgs": len(ecgs),
        "median_ms": round(float(np.median(took_ms)), 1),
        "p95_ms": round(float(np.percentile(took_ms, 95)), 1),
    }


def _judged(detector: Detector, pieces: list[Prepared]) -> Opinion:
    batches = [pieces[start : start + _BATCH] for start in range(0, len(pieces), _BATCH)]
    parts = [detector.judge(detector.measure(batch), batch) for batch in batches]
    return Opinion(*(np.concatenate([getattr(p, name) for p in parts]) for name in _OPINION))


def _quality(verdicts: tuple[Quality, ...]) -> Json:
    return {
        "verdicts": dict(Counter(q.verdict for q in verdicts)),
        "reasons": dict(Counter(r for q in verdicts if not q.scorable for r in q.reasons)),
    }


def _ranking(data: PtbXl, opinion: Opinion) -> Json:
    classified = np.flatnonzero(data.types[:, :-1].any(axis=1))
    return {
        "macro_auroc_types": _macro_of_types(data, opinion),
        "macro_auroc_superclasses": _macro(
            data.types[classified, :-1], opinion.types[classified, :-1], data.patient_id[classified]
        ),
        "macro_auroc_statements": _macro(data.statements, opinion.statements, data.patient_id),
        "auroc": {
            code: _auroc(data.types[:, i], opinion.types[:, i], data.patient_id)
            for i, code in enumerate(TYPES)
        },
        "average_precision": {
            code: metrics.average_precision(data.types[:, i], opinion.types[:, i])
            for i, code in enumerate(TYPES)
        },
    }


def _macro_of_types(data: PtbXl, opinion: Opinion) -> Json:
    return _macro(data.types[:, 1:], opinion.types[:, 1:], data.patient_id)


def _thresholds(detector: Detector, fresh: Scored) -> Json:
    data, opinion = fresh.data, fresh.opinion
    return {
        code: {
            name: {
                "threshold": point.threshold,
                **asdict(
                    metrics.at_threshold(data.types[:, i], opinion.types[:, i], point.threshold)
                ),
            }
            for name, point in detector.card.type_calibration[code].operating_points.items()
        }
        for i, code in enumerate(TYPES)
    }


def _fused_anomaly(detector: Detector, fresh: Scored) -> Json:
    data, opinion = fresh.data, fresh.opinion
    threshold = detector.card.anomaly.threshold
    return {
        "auroc": _auroc(~data.normal, opinion.anomaly, data.patient_id),
        "threshold": threshold,
        **asdict(metrics.at_threshold(~data.normal, opinion.anomaly, threshold)),
        "auroc_against_normal": _against_normal(data, opinion.anomaly),
    }


def _anomaly(data: PtbXl, opinion: Opinion, normals: PtbXl | None) -> Json:
    views = {name: opinion.views[:, i] for i, name in enumerate(COMPONENTS)}
    if normals is not None:
        pca = BeatPca.fit(_beats(normals))
        views["baseline: median beat, PCA"] = pca.misfit(_beats(data))
    return {
        name: {
            "auroc": _auroc(~data.normal, score, data.patient_id),
            "auroc_against_normal": _against_normal(data, score),
        }
        for name, score in views.items()
    }


def _against_normal(data: PtbXl, score: metrics.Scores) -> dict[str, float]:
    """AUROC of each type's ECGs against the normal ones."""
    return {
        code: metrics.auroc(data.types[rows, TYPES.index(code)], score[rows])
        for code in ABNORMALITY_TYPES
        for rows in [np.flatnonzero(data.normal | data.types[:, TYPES.index(code)])]
    }


def _beats(data: PtbXl) -> NDArray[np.float32]:
    voltage_mv = remove_baseline(millivolts(data.voltage_uv))
    return np.stack([median_beat(row) for row in voltage_mv])


def _macro(labels: metrics.Labels, scores: metrics.Scores, patients: NDArray[np.int64]) -> Json:
    return _estimate(bootstrap(patients, lambda r: metrics.macro_auroc(labels[r], scores[r])))


def _auroc(labels: metrics.Labels, scores: metrics.Scores, patients: NDArray[np.int64]) -> Json:
    return _estimate(bootstrap(patients, lambda r: metrics.auroc(labels[r], scores[r])))


def _estimate(estimate: Estimate) -> Json:
    return asdict(estimate)
