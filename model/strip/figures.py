"""Figures of beats by EC57, as they stand in every report on the strip model."""

import math
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np

from model.ec57_report import Evaluation
from model.findings import AAMI_CLASSES
from model.metrics import Estimate

Json = dict[str, Any]

KINDS = ("ventricular", "supraventricular")


def figures_of(evaluation: Evaluation) -> Json:
    """All there is to say of an evaluation."""
    return {
        **beat_figures(evaluation),
        "by_record": per_record(evaluation),
        "table": evaluation.table().splitlines(),
    }


def finite(value: Any) -> Any:  # noqa: ANN401 (JSON)
    """JSON has no NaN: a figure that does not exist is null."""
    if isinstance(value, dict):
        return {key: finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [finite(one) for one in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def beat_figures(evaluation: Evaluation, *, intervals: bool = True) -> Json:
    """Accuracy with its floor, VEB and SVEB, with intervals over patients."""
    figures: dict[str, Callable[[Any], float]] = {
        "accuracy": lambda c: c.accuracy,
        **{
            f"{kind}_{name}": _rate(kind, name)
            for kind in KINDS
            for name in ("sensitivity", "positive_predictivity", "f1")
        },
    }
    gross = evaluation.gross
    return {
        "majority_accuracy": gross.majority,
        **{
            name: asdict(_interval(evaluation, figure)) if intervals else figure(gross)
            for name, figure in figures.items()
        },
        "average_over_records": {n: evaluation.average(f) for n, f in figures.items()},
        "f1_by_class": {c: gross.one_class(c).f1 for c in AAMI_CLASSES},
        "macro_f1": float(np.nanmean([gross.one_class(c).f1 for c in AAMI_CLASSES])),
        "qrs": gross.qrs._asdict(),
        "counts": gross.counts.tolist(),
    }


def _interval(evaluation: Evaluation, figure: Callable[[Any], float]) -> Estimate:
    """Of a figure that exists; where nothing was to be counted there is nothing to draw."""
    if math.isnan(figure(evaluation.gross)):
        return Estimate(math.nan, math.nan, math.nan)
    return evaluation.interval(figure)


def per_record(evaluation: Evaluation) -> Json:
    """Accuracy and hits, misses, alarms of either ectopy by record."""
    return {
        name: {
            "accuracy": one.accuracy,
            **{
                kind: {
                    "true_positives": rates.true_positives,
                    "false_negatives": rates.false_negatives,
                    "false_positives": rates.false_positives,
                }
                for kind, rates in (
                    ("ventricular", one.ventricular),
                    ("supraventricular", one.supraventricular),
                )
            },
        }
        for name, one in evaluation.records.items()
    }


def _rate(kind: str, name: str) -> Callable[[Any], float]:
    return lambda comparison: float(getattr(getattr(comparison, kind), name))
