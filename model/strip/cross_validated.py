"""The report on the folds that `cross_validation` trained.

    python -m model.strip.cross_validated --data-path DIR --run-dir RUN --json FILE

Calibration, decision offsets and the anomaly's scales of a fold come from the other folds' beats,
each judged by networks that never saw its patient. The recipe (inputs, sizes, epochs, teachers) was
chosen while looking at DS1's folds, so that these figures are a little kinder than a new data set.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.annotations import (
    DE_CHAZAL_CLASSES,
    Annotations,
    beat_annotations,
    read_annotations,
)
from model.datasets.mitbih import BeatRecord, load_ds1
from model.ec57 import compare, match_beats
from model.ec57_report import Evaluation
from model.findings import AAMI_CLASSES
from model.metrics import Rows, auroc, bootstrap
from model.strip.anomaly import VIEWS, fit_scale
from model.strip.calibrating import fit_calibration
from model.strip.card import BeatCalibration
from model.strip.cross_validation import N_FOLDS, SEED, UNTRAINED, WEAK, WEAK_SETTINGS
from model.strip.evaluate import MAPPINGS, PEAKS
from model.strip.figures import beat_figures, figures_of, finite
from model.strip.localising import localisation
from model.strip.settings import Settings

Json = dict[str, Any]
Scores = NDArray[np.float64]
PLAIN_SENSITIVITY = 0.85
_PREMATURE_SCALE, _DISTANCE_SCALE = 0.1, 0.1  # template baseline: 10 % early weighs as 0.1 QRS
_MATCH_S = 0.15


@dataclass(frozen=True, eq=False)
class Answers:
    """What a fold's networks said of one record at one kind of R peaks.

    Attributes:
        record: whose beats they are.
        fold: that held the record out.
        peaks: `(n,)`.
        classes: `(n,)` reference class of each peak, -1 where none is near.
        kept: arrays of `cross_validation`.
    """

    record: BeatRecord
    fold: int
    peaks: NDArray[np.int64]
    classes: NDArray[np.int64]
    kept: dict[str, NDArray[Any]]

    def raw(self, names: Sequence[str]) -> Scores:
        """Log probabilities averaged over networks."""
        each = [self.kept[f"{name}_log_probabilities"] for name in names]
        mean: Scores = np.mean(each, axis=0)
        return mean


def load_answers(run_dir: Path, records: Sequence[BeatRecord], kind: str) -> list[Answers]:
    """`kind` is `annotated` or `detected`."""
    found = []
    for record in records:
        with np.load(run_dir / f"{record.name}-{kind}.npz", allow_pickle=False) as file:
            kept = dict(file)
        peaks = kept.pop("peaks")
        window = round(_MATCH_S * record.sampling_rate_hz)
        expert, judged = match_beats(record.r_peaks, peaks, window)
        classes = np.full(len(peaks), -1)
        classes[judged] = record.classes[expert]
        found.append(Answers(record, int(kept.pop("fold")), peaks, classes, kept))
    return found


def calibrations(answers: list[Answers], names: Sequence[str]) -> list[BeatCalibration]:
    """One a fold, from the beats of the other folds."""
    return [
        calibration_of([a for a in answers if a.fold != fold], names) for fold in range(N_FOLDS)
    ]


def calibration_of(answers: list[Answers], names: Sequence[str]) -> BeatCalibration:
    """From all beats of some answers that have a reference."""
    raw = np.concatenate([a.raw(names)[a.classes >= 0] for a in answers])
    return fit_calibration(raw, np.concatenate([a.classes[a.classes >= 0] for a in answers]))


def evaluations(
    answers: list[Answers],
    names: Sequence[str],
    fitted: list[BeatCalibration],
    experts: dict[str, Annotations],
    classes: dict[str, str],
) -> Evaluation:
    """EC57's counts of every record, all its minutes scored."""
    parts = {}
    for a in answers:
        calibration = fitted[a.fold]
        told = calibration.classes(calibration.log_probabilities(a.raw(names)))
        rate_hz = a.record.sampling_rate_hz
        test = beat_annotations(a.peaks, [AAMI_CLASSES[k] for k in told], rate_hz)
        n_samples = a.record.voltage_mv.shape[1]
        parts[a.record.name] = compare(
            experts[a.record.name], test, n_samples=n_samples, start_s=0.0, classes=classes
        )
    return Evaluation(parts)


def anomaly_figures(
    answers: list[Answers], names: Sequence[str], fitted: list[BeatCalibration]
) -> Json:
    """False positives at the plain autoencoder's sensitivity, by view, and of all views fused."""
    abnormal = np.concatenate([a.classes > 0 for a in answers])
    patients = np.concatenate([[int(a.record.patient)] * len(a.classes) for a in answers])
    scores = _anomaly_scores(answers, names, fitted)
    plain = scores["plain_lstm_autoencoder"]
    return {
        "abnormal": "S, V, F, Q",
        "sensitivity": PLAIN_SENSITIVITY,
        **{name: _anomaly(abnormal, score, plain, patients) for name, score in scores.items()},
    }


def _anomaly(
    abnormal: NDArray[np.bool_], scores: Scores, plain: Scores, patients: NDArray[Any]
) -> Json:
    """One view's figures, with intervals over patients."""

    def area(rows: Rows) -> float:
        return auroc(abnormal[rows], scores[rows])

    def alarms(rows: Rows) -> float:
        return _alarms(abnormal[rows], scores[rows])

    def ratio(rows: Rows) -> float:
        return alarms(rows) / _alarms(abnormal[rows], plain[rows])

    return {
        "auroc": asdict(bootstrap(patients, area, n_draws=200)),
        "false_positive_rate": asdict(bootstrap(patients, alarms, n_draws=200)),
        "ratio_to_plain": asdict(bootstrap(patients, ratio, n_draws=200)),
    }


def _anomaly_scores(
    answers: list[Answers], names: Sequence[str], fitted: list[BeatCalibration]
) -> dict[str, Scores]:
    views = [views_of(a, names, fitted[a.fold]) for a in answers]
    fused, blind = [], []
    for a, view in zip(answers, views, strict=True):
        normals = np.concatenate(
            [v[b.classes == 0] for b, v in zip(answers, views, strict=True) if b.fold != a.fold]
        )
        fused.append(fit_scale(normals).score(view))
        without = normals.copy()
        without[:, -1] = 0
        shown = view.copy()
        shown[:, -1] = 0
        blind.append(fit_scale(without).score(shown))
    every = np.concatenate(views)
    distance = np.concatenate([a.kept["rest"].mean(axis=1) for a in answers])
    template = distance / _DISTANCE_SCALE + every[:, VIEWS.index("prematurity")] / _PREMATURE_SCALE
    return {
        "plain_lstm_autoencoder": np.concatenate([a.kept["plain"].mean(axis=1) for a in answers]),
        "template_baseline": template,
        **{name: every[:, k] for k, name in enumerate(VIEWS)},
        "fused_without_network": np.concatenate(blind),
        "fused": np.concatenate(fused),
    }


def views_of(a: Answers, names: Sequence[str], calibration: BeatCalibration) -> Scores:
    """As `anomaly.beat_views`, `(n, 4)`, from what was kept."""
    errors = a.kept[f"{names[0]}_errors"]
    against = -calibration.log_probabilities(a.raw(names))[:, 0]
    return np.column_stack(
        [
            np.log(errors + 1e-3).mean(axis=1),
            np.log(a.kept["rest"] + 1e-3).mean(axis=1),
            np.maximum(-a.kept["rhythm"][:, 0], 0),
            np.log(np.expm1(np.maximum(against, 1e-6))),
        ]
    )


def _alarms(abnormal: NDArray[np.bool_], scores: Scores) -> float:
    """False-positive rate at PLAIN_SENSITIVITY."""
    threshold = np.quantile(scores[abnormal], 1 - PLAIN_SENSITIVITY, method="lower")
    return float(np.mean(scores[~abnormal] >= threshold))


def report(data_path: Path, run_dir: Path) -> Json:
    """All figures, from annotated and from detected R peaks."""
    records = load_ds1(data_path / "mitdb")
    experts = {r.name: read_annotations(data_path / "mitdb" / r.name, "atr") for r in records}
    found = {kind: load_answers(run_dir, records, kind) for kind in PEAKS}
    known = found["annotated"]
    seeds = seeds_of(known)
    fitted = calibrations(known, seeds)
    return {
        "command": "python -m model.strip.cross_validated --data-path DIR --run-dir RUN",
        "folds": [[a.record.name for a in known if a.fold == k] for k in range(N_FOLDS)],
        "settings": asdict(Settings()),
        "seeds": len(seeds),
        "decisions": [c.model_dump() for c in fitted],
        **{
            f"{kind}, {mapping}": figures_of(evaluations(answers, seeds, fitted, experts, classes))
            for kind, answers in found.items()
            for mapping, classes in MAPPINGS.items()
        },
        "single_seeds": {seed: _one_seed(known, seed, experts) for seed in seeds},
        "anomaly": anomaly_figures(known, seeds, fitted),
        "localisation": {
            "settings": asdict(WEAK_SETTINGS),
            "labelled_as_a_whole": _localisation(known, WEAK),
            "as_shipped": _localisation(known, seeds[0]),
            "untrained": _localisation(known, UNTRAINED),
        },
    }


def seeds_of(answers: list[Answers]) -> list[str]:
    """Names of the networks that were trained alike but for the seed."""
    ending = "_log_probabilities"
    names = [key.removesuffix(ending) for key in answers[0].kept if key.endswith(ending)]
    return sorted(name for name in names if name.startswith(SEED))


def _one_seed(answers: list[Answers], seed: str, experts: dict[str, Annotations]) -> Json:
    fitted = calibrations(answers, [seed])
    evaluation = evaluations(answers, [seed], fitted, experts, DE_CHAZAL_CLASSES)
    return beat_figures(evaluation, intervals=False)


def _localisation(answers: list[Answers], name: str) -> Json:
    return localisation(
        [a.classes for a in answers],
        [a.kept[f"{name}_attention"] for a in answers],
        [a.record.patient for a in answers],
        [a.kept[f"{name}_falls"] for a in answers] if name == WEAK else None,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the report and print its main lines."""
    parser = argparse.ArgumentParser(description="Report on cross-validated folds.")
    parser.add_argument("--data-path", type=Path, required=True, help="holds mitdb")
    parser.add_argument("--run-dir", type=Path, required=True, help="what cross_validation wrote")
    parser.add_argument("--json", type=Path, required=True, help="all figures go here")
    chosen = parser.parse_args(arguments)
    measured = report(chosen.data_path, chosen.run_dir)
    chosen.json.write_text(json.dumps(finite(measured), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
