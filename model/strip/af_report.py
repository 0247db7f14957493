"""Train the AF model, and measure it with the rules around it; or measure a bundle's.

    python -m model.strip.af_report --data-path DIR --weights OUT.safetensors --json OUT.json
    python -m model.strip.af_report --data-path DIR --model-path BUNDLE --json OUT.json

DIR holds `ptbxl100`, `mitdb` and `nstdb`. Three measurements: PTB-XL fold 9, leads I and II, which
nothing was fitted on; the four classes of the challenge of 2017 on lead I of fold 9, where
statements stand for rhythms and added noise for noise; and, of a model that is trained here, DS1 by
cross-validation over records: a bundle has learnt from them.
"""

import argparse
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file
from scipy.special import expit

from model.datasets import ptbxl
from model.datasets.ptbxl import PtbXl, millivolts
from model.ecg import Ecg
from model.findings import RhythmFinding
from model.metrics import at_threshold, auroc, bootstrap, expected_calibration_error
from model.signal import RATE_HZ
from model.strip import challenge
from model.strip.af import AfModel
from model.strip.af_examples import (
    DS1,
    Examples,
    af_share,
    labels_of,
    mitdb_examples,
    ptbxl_examples,
    read_noise,
    read_record,
    rhythm_seconds,
    with_noise,
)
from model.strip.af_training import (
    FITTING_FOLDS,
    Settings,
    calibrated,
    calibration_rows,
    fit,
    predict,
    train_network,
)
from model.strip.challenge import RPeakReader, rhythm_class, rhythm_of
from model.strip.detector import StripDetector

_log = logging.getLogger(__name__)

Json = dict[str, Any]
Rows = NDArray[np.int64]

# In two parts, each with its own draws of noise, so that they can be made side by side.
TEACHING_FOLDS = (((1, 2, 3, 4), 97), ((5, 6, 7, 8), 98))
MEASURED_FOLD = 9
# Records that are read by networks which have not seen them; the two with AF lie apart.
RECORD_GROUPS = (DS1[0::3], DS1[1::3], DS1[2::3])
GROUP_SETTINGS = Settings(seeds=1, epochs=6)
NOISE_SHARE, NOISE_SNR_DB = 0.05, -6.0
GATE_SNR_DB = (-6.0, 0.0, 6.0, 12.0, 18.0, 24.0)
GATE_STRIPS = 300


def fold_figures(model: AfModel, examples: Examples) -> Json:
    """Lead I and lead II, each alone; intervals over patients."""
    return {
        name: _figures(model, examples, np.flatnonzero(examples.lead == lead))
        for lead, name in enumerate(("I", "II"))
    }


def _figures(model: AfModel, examples: Examples, rows: Rows) -> Json:
    log_odds = predict(model, examples, rows)[:, 0]
    labels, patients = examples.labels[rows, 0] == 1, examples.group[rows]
    probability = expit(log_odds)

    def at(field: str, drawn: Rows) -> float:
        return float(
            getattr(at_threshold(labels[drawn], probability[drawn], model.threshold), field)
        )

    other = examples.labels[rows, 1] == 1
    irregularity = np.array([abs(part).mean() for part in _changes(examples, rows)])
    return {
        "ecgs": len(rows),
        "with_af": int(labels.sum()),
        "auroc": _estimate(patients, lambda r: auroc(labels[r], log_odds[r])),
        "baseline_auroc": _estimate(patients, lambda r: auroc(labels[r], irregularity[r])),
        **{
            name: _estimate(patients, partial(at, name))
            for name in (
                "sensitivity",
                "specificity",
                "positive_predictive_value",
                "f1",
                "accuracy",
            )
        },
        "majority": float(max(labels.mean(), 1 - labels.mean())),
        "specificity_among_other": _share(probability < model.threshold, other),
        "calibration_error": expected_calibration_error(labels, probability),
    }


def _estimate(groups: Rows, statistic: Callable[[Rows], float]) -> Json | None:
    """With a 95 % interval over groups; None where there is nothing to measure."""
    if np.isnan(statistic(np.arange(len(groups)))):
        return None
    return asdict(bootstrap(groups, statistic))


def _share(what: NDArray[np.bool_], among: NDArray[np.bool_]) -> float:
    return float(what[among].mean()) if among.any() else float("nan")


def _changes(examples: Examples, rows: Rows) -> list[NDArray[np.float32]]:
    """The log ratio of successive intervals: the baseline knows nothing else."""
    inputs = examples.inputs(rows)
    return [
        np.asarray(rhythm[present, 3])
        for rhythm, present in zip(inputs.rhythm, inputs.present, strict=True)
    ]


def ds1_figures(examples: Examples, folder: Path) -> Json:
    """Windows and episodes of each record by networks that have not seen the record."""
    models: dict[str, AfModel] = {}
    ptbxl_only = _model_without(examples, DS1)
    for group in RECORD_GROUPS:
        models |= dict.fromkeys(group, _model_without(examples, group))
    return {
        "trained_on_other_records_too": _ds1(models, examples, folder),
        "trained_on_ptbxl_alone": _ds1(dict.fromkeys(DS1, ptbxl_only), examples, folder),
    }


def _model_without(examples: Examples, records: Sequence[str]) -> AfModel:
    unseen = (examples.fold == 0) & np.isin(examples.group, [int(r) for r in records])
    teach = np.flatnonzero(np.isin(examples.fold, FITTING_FOLDS) & ~unseen)
    network = train_network(examples, teach, GROUP_SETTINGS, seed=0)
    return calibrated((network,), examples, calibration_rows(examples))


def _ds1(models: dict[str, AfModel], examples: Examples, folder: Path) -> Json:
    labels, flags, odds, records = [], [], [], []
    for record, model in models.items():
        rows = np.flatnonzero((examples.fold == 0) & (examples.group == int(record)))
        log_odds = predict(model, examples, rows)[:, 0]
        labels.append(examples.labels[rows, 0] == 1)
        flags.append(expit(log_odds) >= model.threshold)
        odds.append(log_odds)
        records.append(np.full(len(rows), int(record)))
    true, flagged = np.concatenate(labels), np.concatenate(flags)
    rank, group = np.concatenate(odds), np.concatenate(records)
    return {
        "windows": len(true),
        "auroc": _estimate(group, lambda r: auroc(true[r], rank[r])),
        "sensitivity": _share(flagged, true),
        "specificity": _estimate(group, lambda r: _share(~flagged[r], ~true[r])),
        "episodes": {record: _episodes(model, folder / record) for record, model in models.items()},
    }


def _episodes(model: AfModel, path: Path) -> Json:
    """Minutes of AF annotated, told, and both."""
    voltage_mv, leads, rate_hz = read_record(path)
    reading = rhythm_of(RPeakReader(model), voltage_mv, leads, rate_hz)
    told = [r for r in reading.rhythms if r.code == "AF"]
    rhythms = rhythm_seconds(path)
    return {
        "annotated_min": af_share(rhythms, 0.0, rhythms[-1][1]) * rhythms[-1][1] / 60,
        "told_min": _minutes(told),
        "both_min": sum(
            af_share(rhythms, r.start_s, r.end_s) * (r.end_s - r.start_s) / 60 for r in told
        ),
        "episodes_told": len(told),
    }


def _minutes(rhythms: list[RhythmFinding]) -> float:
    return sum(r.end_s - r.start_s for r in rhythms) / 60


def proxy_figures(model: AfModel, data: PtbXl, noise_mv: NDArray[np.float32]) -> Json:
    """The four classes on lead I: a share of the strips gets noise and counts as `~`."""
    rng = np.random.default_rng(0)
    detector = RPeakReader(model)
    af, other = labels_of(data).T
    sinus = data.statements[:, data.statement_names.index("SR")]
    rows = np.flatnonzero(sinus | (af == 1) | (other == 1))
    labels, told = [], []
    for row in rows:
        trace_mv = millivolts(data.voltage_uv[row, 0])
        label = "A" if af[row] else "O" if other[row] else "N"
        if rng.random() < NOISE_SHARE:
            trace_mv, label = with_noise(trace_mv, noise_mv, NOISE_SNR_DB, rng), "~"
        labels.append(label)
        told.append(rhythm_class(detector, _strip(trace_mv)))
    return challenge.figures(tuple(labels), tuple(told), data.patient_id[rows])


def gate_figures(model: AfModel, data: PtbXl, noise_mv: NDArray[np.float32]) -> Json:
    """Share of strips called too noisy, by the power of the noise."""
    rng = np.random.default_rng(1)
    detector = RPeakReader(model)
    shares = {}
    for snr_db in GATE_SNR_DB:
        told = [
            rhythm_class(
                detector,
                _strip(with_noise(millivolts(data.voltage_uv[row, 0]), noise_mv, snr_db, rng)),
            )
            for row in range(min(GATE_STRIPS, len(data.ecg_id)))
        ]
        shares[f"{snr_db:g} dB"] = told.count("~") / len(told)
    return shares


def _strip(trace_mv: NDArray[np.float32]) -> Ecg:
    return Ecg(trace_mv[None].astype(np.float32), ("I",), float(RATE_HZ))


def teaching_examples(data_path: Path) -> Examples:
    """What the networks learn from and are calibrated on."""
    noise_mv = read_noise(data_path / "nstdb")
    parts = [
        ptbxl_examples(ptbxl.load(data_path / "ptbxl100", folds), noise_mv, seed)
        for folds, seed in TEACHING_FOLDS
    ]
    return Examples.joined([*parts, mitdb_examples(data_path / "mitdb")])


def measure(model: AfModel, data_path: Path) -> Json:
    """What nothing was fitted on: PTB-XL's fold 9."""
    noise_mv = read_noise(data_path / "nstdb")
    measured = ptbxl.load(data_path / "ptbxl100", (MEASURED_FOLD,))
    return {
        "thresholds": {
            "af": model.threshold,
            "af_release": model.release,
            "other": model.other_threshold,
        },
        "fold_9": fold_figures(model, ptbxl_examples(measured, None)),
        "four_classes_proxy": proxy_figures(model, measured, noise_mv),
        "called_noisy": gate_figures(model, measured, noise_mv),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Train or load, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-path", type=Path, required=True)
    whence = parser.add_mutually_exclusive_group(required=True)
    whence.add_argument("--weights", type=Path, help="train, and write the weights here")
    whence.add_argument("--model-path", type=Path, help="measure this strip bundle")
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=Settings().epochs)
    given = parser.parse_args(arguments)
    if given.model_path:
        figures = _of_bundle(given.model_path, given.data_path)
    else:
        figures = _of_training(given.weights, given.data_path, given.epochs)
    given.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def _of_bundle(bundle: Path, data_path: Path) -> Json:
    detector = StripDetector.load(bundle)
    return {"model": asdict(detector.identity), **measure(detector.af, data_path)}


def _of_training(weights: Path, data_path: Path, epochs: int) -> Json:
    settings = replace(Settings(), epochs=epochs)
    examples = teaching_examples(data_path)
    _log.info("%d windows to learn from and to calibrate on", len(examples.fold))
    model = fit(examples, settings)
    save_file(model.tensors(), weights)
    return {
        "settings": asdict(settings),
        **measure(model, data_path),
        "ds1": ds1_figures(examples, data_path / "mitdb"),
    }


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    main()
