"""Figures of scored cases as JSON values: ranking, thresholds, calibration, groups, anomaly.

Every figure of a type is of the ECGs whose label of that type is known; figures that do not exist
(one class only, nothing flagged) are NaN. Intervals: 95 %, bootstrap over patients.
"""

from collections import Counter
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model import metrics
from model.anomaly import COMPONENTS
from model.baseline import BeatPca
from model.calibration import calibrates
from model.datasets.cases import NO, UNKNOWN, YES, Cases
from model.datasets.ptbxl import SUPERCLASSES, TYPES
from model.detector import Detector
from model.findings import ABNORMALITY_TYPES
from model.metrics import AtThreshold, Estimate, Ranking, Scores, Weights, bootstrap_weights
from model.scoring import Scored

Json = dict[str, Any]
Mask = NDArray[np.bool_]

BASELINE = "baseline: median beat, PCA"
MIN_GROUP = 30  # ECGs of a group; below, only their number is told
AGE_BANDS = ((0, 18), (18, 40), (40, 60), (60, 80), (80, 121))
_FIGURES = tuple(AtThreshold.__dataclass_fields__)


def described(scored: Scored) -> Json:
    """What was measured on, and what was left out."""
    cases = scored.cases
    return {
        "source": cases.source,
        "sha256": scored.sha256,
        "folds": sorted({int(f) for f in cases.fold if f}),
        "ecgs": len(cases),
        "patients": len(np.unique(cases.patient)),
        "patients_known": cases.patients_known,
        "ecgs_with_type": _count(cases, YES),
        "ecgs_without_type": _count(cases, NO),
        "ecgs_unknown": _count(cases, UNKNOWN),
        "normal_ecgs": int((cases.normal == YES).sum()),
        "abnormal_ecgs": int((cases.normal == NO).sum()),
        "left_out": cases.left_out,
        "unreadable": scored.unreadable,
        "remarks": list(cases.remarks),
    }


def abstention(scored: Scored) -> Json:
    """Verdicts of the gate; reasons and share of the ECGs it refused."""
    refused = [q for q in scored.quality if not q.scorable]
    return {
        "verdicts": dict(Counter(q.verdict for q in scored.quality)),
        "unscorable": len(refused),
        "unscorable_rate": len(refused) / len(scored.quality),
        "reasons": dict(Counter(r for q in refused for r in q.reasons)),
        "masked_leads": dict(
            Counter(f.reason for q in scored.quality if q.scorable for f in q.lead_faults)
        ),
    }


def ranking(scored: Scored) -> Json:
    """AUROC and average precision of scorable ECGs."""
    cases, types = scored.cases, scored.opinion.types
    figures: Json = {"macro_auroc_types": macro_auroc(cases, types, ABNORMALITY_TYPES)}
    classified = np.flatnonzero((cases.types[:, :-1] == YES).any(axis=1))
    superclasses = macro_auroc(cases.rows(classified), types[classified], SUPERCLASSES)
    figures["macro_auroc_superclasses"] = superclasses
    if cases.statements is not None:
        figures["macro_auroc_statements"] = _macro_statements(cases, scored.opinion.statements)
    figures["types_measured"] = [c for c in TYPES if _measurable(cases.types[:, TYPES.index(c)])]
    figures["auroc"], figures["average_precision"] = {}, {}
    for k, code in enumerate(TYPES):
        auroc, precision = _ranked(cases, types[:, k], cases.types[:, k])
        figures["auroc"][code], figures["average_precision"][code] = auroc, precision
    figures["macro_average_precision_types"] = _mean(
        [figures["average_precision"][code]["value"] for code in ABNORMALITY_TYPES]
    )
    return figures


def macro_auroc(cases: Cases, types: Scores, codes: tuple[str, ...]) -> Json:
    """Mean AUROC of those of the types that can be measured."""
    return _estimate(bootstrap_weights(cases.patient, _MacroAuroc(cases, types, codes))[0])


def macro_loss(cases: Cases, fewer: Scores, all_leads: Scores) -> Json:
    """How much lower the macro AUROC of the abnormality types is, on the same draws."""
    one, other = (_MacroAuroc(cases, types, ABNORMALITY_TYPES) for types in (all_leads, fewer))
    return _estimate(bootstrap_weights(cases.patient, lambda w: one(w) - other(w))[0])


def at_points(detector: Detector, scored: Scored) -> Json:
    """What each operating point's threshold does, by type and name."""
    return {
        code: {
            name: {"threshold": point.threshold, **_at(scored, k, point.threshold)}
            for name, point in detector.card.type_calibration[code].operating_points.items()
        }
        for k, code in enumerate(TYPES)
        if _measurable(scored.cases.types[:, k])
    }


def calibration(scored: Scored) -> Json:
    """Expected calibration error by type."""
    return {
        code: metrics.expected_calibration_error(
            scored.cases.types[rows, k] == YES, scored.opinion.types[rows, k]
        )
        for k, code in enumerate(TYPES)
        if _measurable(scored.cases.types[:, k])
        for rows in [known(scored.cases.types[:, k])]
    }


def confusion(detector: Detector, scored: Scored, point: str) -> Json:
    """2 x 2 counts of each type, and the share of each truth's ECGs that is flagged for each type.

    A truth's ECGs may have other types besides; `none` are those known to have no type at all.
    """
    flagged = flags(detector, scored, point)
    types = scored.cases.types
    truths = {code: types[:, k] == YES for k, code in enumerate(TYPES)}
    truths["none"] = (types == NO).all(axis=1)
    return {
        "operating_point": point,
        "two_by_two": {
            code: _two_by_two(types[:, k], flagged[:, k])
            for k, code in enumerate(TYPES)
            if _measurable(types[:, k])
        },
        "flagged_share": {
            truth: {
                "ecgs": int(rows.sum()),
                **{code: _mean(flagged[rows, k]) for k, code in enumerate(TYPES)},
            }
            for truth, rows in truths.items()
        },
    }


def flags(detector: Detector, scored: Scored, point: str) -> Mask:
    """Whether each type reaches its threshold at an operating point, `(n, 6)`."""
    calibrated = detector.card.type_calibration
    thresholds = [calibrated[code].operating_points[point].threshold for code in TYPES]
    reached: Mask = scored.opinion.types >= np.array(thresholds)
    return reached


def anomaly(scored: Scored, baseline: BeatPca | None) -> Json:
    """Each view of anomaly alone, normal against abnormal, and every type against normal."""
    scores = {name: scored.opinion.views[:, k] for k, name in enumerate(COMPONENTS)}
    if baseline is not None:
        scores[BASELINE] = baseline.misfit(scored.beats)
    return {name: _separation(scored.cases, score) for name, score in scores.items()}


def fused_anomaly(detector: Detector, scored: Scored) -> Json:
    """The anomaly score and its threshold."""
    threshold = detector.card.anomaly.threshold
    rows = known(scored.cases.normal)
    abnormal = scored.cases.normal[rows] == NO
    return {
        **_separation(scored.cases, scored.opinion.anomaly),
        "threshold": threshold,
        **rounded(metrics.at_threshold(abnormal, scored.opinion.anomaly[rows], threshold)),
    }


def not_calibrated_on(detector: Detector, scored: Scored) -> Scored:
    """Rows of patients on whom no probability and no threshold was fitted."""
    cases = scored.cases
    folds = detector.card.origin.validation_folds
    return scored.rows(~(np.isin(cases.fold, folds) & calibrates(cases.patient)))


def groups(detector: Detector, scored: Scored, point: str) -> Json:
    """Figures by age band, sex, site and device; rates of those not calibrated on."""
    values = {"age": _age_bands(scored.cases.age), **scored.cases.groups}
    return {
        name: {
            value or "unknown": _of_group(detector, scored.rows(of == value), point)
            for value in np.unique(of).tolist()
        }
        for name, of in values.items()
    }


def known(labels: NDArray[np.int8]) -> NDArray[np.int64]:
    """Rows whose label is known."""
    rows: NDArray[np.int64] = np.flatnonzero(labels != UNKNOWN)
    return rows


def rounded(found: AtThreshold) -> Json:
    """As a dict."""
    return asdict(found)


class _MacroAuroc:
    """The macro AUROC `(1,)` of weighted rows; draws without one of the types average the rest."""

    def __init__(self, cases: Cases, types: Scores, codes: tuple[str, ...]) -> None:
        self._columns = [
            (rows, Ranking(cases.types[rows, k] == YES, types[rows, k]))
            for k in map(TYPES.index, codes)
            if _measurable(cases.types[:, k])
            for rows in [known(cases.types[:, k])]
        ]

    def __call__(self, weights: Weights) -> Scores:
        return np.array([_mean([column.auroc(weights[rows]) for rows, column in self._columns])])


def _macro_statements(cases: Cases, statements: Scores) -> Json:
    if cases.statements is None:
        return _estimate(Estimate(*[float("nan")] * 3))
    columns = [
        Ranking(cases.statements[:, k], statements[:, k])
        for k in np.flatnonzero(cases.statements.any(axis=0) & ~cases.statements.all(axis=0))
    ]
    macro = bootstrap_weights(
        cases.patient, lambda w: np.array([_mean([column.auroc(w) for column in columns])])
    )
    return {**_estimate(macro[0]), "statements": len(columns)}


def _ranked(cases: Cases, scores: Scores, labels: NDArray[np.int8]) -> tuple[Json, Json]:
    """AUROC and average precision of known labels."""
    rows = known(labels)
    if not _measurable(labels):
        return (_estimate(Estimate(*[float("nan")] * 3)),) * 2
    column = Ranking(labels[rows] == YES, scores[rows])
    auroc, precision = bootstrap_weights(
        cases.patient[rows], lambda w: np.array([column.auroc(w), column.average_precision(w)])
    )
    prevalence = float((labels[rows] == YES).mean())
    return _estimate(auroc), {**_estimate(precision), "prevalence": prevalence}


def _at(scored: Scored, k: int, threshold: float) -> Json:
    """Figures at a threshold with intervals, `majority` and `accuracy` among them."""
    rows = known(scored.cases.types[:, k])
    labels, scores = scored.cases.types[rows, k] == YES, scored.opinion.types[rows, k]

    def figures(weights: Weights) -> Scores:
        found = asdict(metrics.at_threshold(labels, scores, threshold, weights))
        return np.array([found[name] for name in _FIGURES])

    estimates = bootstrap_weights(scored.cases.patient[rows], figures)
    values = {name: e.value for name, e in zip(_FIGURES, estimates, strict=True)}
    intervals = {n: [e.low, e.high] for n, e in zip(_FIGURES, estimates, strict=True)}
    return {**values, "intervals": intervals}


def _separation(cases: Cases, score: Scores) -> Json:
    abnormal = np.where(cases.normal == UNKNOWN, UNKNOWN, 1 - cases.normal).astype(np.int8)
    return {
        "auroc": _ranked(cases, score, abnormal)[0],
        "auroc_against_normal": {
            code: metrics.auroc(cases.types[rows, k] == YES, score[rows])
            for k, code in enumerate(TYPES)
            if k > 0
            for rows in [np.flatnonzero((cases.normal == YES) | (cases.types[:, k] == YES))]
        },
    }


def _of_group(detector: Detector, group: Scored, point: str) -> Json:
    figures: Json = {
        "ecgs": len(group.quality),
        "unscorable": int((~group.scorable).sum()),
    }
    group = group.rows(group.scorable)
    if len(group.quality) < MIN_GROUP:
        return figures
    fresh = not_calibrated_on(detector, group)
    flagged = flags(detector, fresh, point)
    measured = [k for k in range(1, len(TYPES)) if _measurable(group.cases.types[:, k])]
    return {
        **figures,
        "macro_auroc_types": macro_auroc(group.cases, group.opinion.types, ABNORMALITY_TYPES),
        "by_type": {
            TYPES[k]: {
                "positive": int((group.cases.types[:, k] == YES).sum()),
                "auroc": metrics.auroc(
                    group.cases.types[rows, k] == YES, group.opinion.types[rows, k]
                ),
                **_two_rates(fresh.cases.types[:, k], flagged[:, k]),
            }
            for k in measured
            for rows in [known(group.cases.types[:, k])]
        },
    }


def _two_rates(labels: NDArray[np.int8], flagged: Mask) -> Json:
    return {
        "sensitivity": _mean(flagged[labels == YES]),
        "specificity": _mean(~flagged[labels == NO]),
    }


def _two_by_two(labels: NDArray[np.int8], flagged: Mask) -> Json:
    return {
        "true_positive": int((flagged & (labels == YES)).sum()),
        "false_negative": int((~flagged & (labels == YES)).sum()),
        "false_positive": int((flagged & (labels == NO)).sum()),
        "true_negative": int((~flagged & (labels == NO)).sum()),
    }


def _age_bands(age: NDArray[np.float64]) -> NDArray[np.str_]:
    names = np.full(len(age), "", "U12")
    for low, high in AGE_BANDS:
        band = f"{low}-{high - 1}" if high <= AGE_BANDS[-1][0] else f"{low} and older"
        names[(age >= low) & (age < high)] = band
    return names


def _count(cases: Cases, value: int) -> dict[str, int]:
    return {code: int((cases.types[:, k] == value).sum()) for k, code in enumerate(TYPES)}


def _measurable(labels: NDArray[np.int8]) -> bool:
    """Both classes exist."""
    return bool((labels == YES).any() and (labels == NO).any())


def _mean(values: Any) -> float:  # noqa: ANN401 (whatever NumPy takes)
    """Mean of the numbers among these; NaN when there is none."""
    numbers = np.asarray(values, np.float64)
    numbers = numbers[~np.isnan(numbers)]
    return float(numbers.mean()) if len(numbers) else float("nan")


def _estimate(estimate: Estimate) -> Json:
    return asdict(estimate)
