"""The anomaly views of a trained network on fold 9, and its false positives beside a baseline's.

python -m model.anomaly_report --checkpoint RUN/best.safetensors --data-path DIR
    [--baseline RUN/scores.npz ...] --json OUT

Everything is fitted on the normal ECGs of folds 1-8. A baseline's operating points, too, are chosen
on folds 1-8; on fold 9 our threshold is put where our sensitivity equals the baseline's, in every
bootstrap draw anew, and the false positives of both are counted.
"""

import argparse
import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from model.anomaly import COMPONENTS, AnomalyFeatures, fit_anomaly
from model.calibration import operating_points
from model.datasets import ptbxl
from model.datasets.ptbxl import TYPES, PtbXl, millivolts
from model.metrics import Labels, Rows, Scores, auroc, bootstrap
from model.observing import observe_all
from model.resting.network import RestingNetwork
from model.resting.settings import Dimensions
from model.resting.training import load_averaged
from model.signal import remove_baseline

TRAINING_FOLDS, REPORT_FOLDS = tuple(range(1, 9)), (9,)
SENSITIVITIES = (0.80, 0.85, 0.90)

_log = logging.getLogger("model.anomaly_report")

Json = dict[str, Any]


def views_report(data: PtbXl, scores: Mapping[str, Scores]) -> Json:
    """AUROC normal against abnormal with interval, and each type's ECGs against the normal ones."""
    return {name: _view_report(data, score) for name, score in scores.items()}


def _view_report(data: PtbXl, score: Scores) -> Json:
    return {
        "auroc": asdict(bootstrap(data.patient_id, lambda r: auroc(~data.normal[r], score[r]))),
        "auroc_against_normal": {
            code: auroc(data.types[rows, i], score[rows])
            for i, code in enumerate(TYPES)
            if i > 0
            for rows in [np.flatnonzero(data.normal | data.types[:, i])]
        },
    }


def thresholds(abnormal: Labels, scores: Scores) -> dict[str, float]:
    """A baseline's operating points on its training ECGs: Youden's, and fixed sensitivities."""
    fixed = {
        f"sensitivity {s:.2f} in training": float(np.quantile(scores[abnormal], 1 - s))
        for s in SENSITIVITIES
    }
    return {"Youden in training": operating_points(abnormal, scores)["balanced"].threshold, **fixed}


def false_positives(data: PtbXl, baseline: Scores, threshold: float, ours: Scores) -> Json:
    """Count both at the baseline's own sensitivity on `data`; their ratio with interval."""
    normal, patients = data.normal, data.patient_id

    def counts(rows: Rows) -> tuple[int, int]:
        positive, negative = rows[~normal[rows]], rows[normal[rows]]
        hits = int((baseline[positive] >= threshold).sum())
        return (
            int((baseline[negative] >= threshold).sum()),
            int((ours[negative] >= _threshold_for(ours[positive], hits)).sum()),
        )

    def ratio(rows: Rows) -> float:
        theirs, own = counts(rows)
        return own / theirs if theirs else float("nan")

    everyone = np.arange(len(normal))
    theirs, own = counts(everyone)
    return {
        "sensitivity": float((baseline[~normal] >= threshold).mean()),
        "normals": int(normal.sum()),
        "baseline_false_positives": theirs,
        "our_false_positives": own,
        "ratio": asdict(bootstrap(patients, ratio)),
    }


def _threshold_for(scores: Scores, hits: int) -> float:
    """The highest threshold at or above which at least `hits` of the scores lie."""
    return float(np.sort(scores)[len(scores) - hits]) if hits else float("inf")


def _observe(network: RestingNetwork, data: PtbXl) -> AnomalyFeatures:
    return observe_all(network, remove_baseline(millivolts(data.voltage_uv)))


def _against(baseline: Path, training: PtbXl, report: PtbXl, ours: Mapping[str, Scores]) -> Json:
    """For each score of a baseline, at each of its operating points, each of our scores."""
    with np.load(baseline, allow_pickle=False) as stored:
        names = [name.partition("/")[2] for name in stored if name.startswith("report/")]
        return {
            name: {
                point: {
                    own: false_positives(report, stored[f"report/{name}"], threshold, score)
                    for own, score in ours.items()
                }
                for point, threshold in thresholds(
                    ~training.normal, stored[f"training/{name}"]
                ).items()
            }
            for name in names
        }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Measure the anomaly views of a trained network.")
    parser.add_argument("--checkpoint", type=Path, required=True, help="best.safetensors of a run")
    parser.add_argument("--data-path", type=Path, required=True, help="PTB-XL folder")
    parser.add_argument("--cache", type=Path, help="keeps the samples for the next run")
    parser.add_argument("--baseline", type=Path, nargs="*", default=[], help="RUN_DIR/scores.npz")
    parser.add_argument("--threads", type=int, help="of torch [default: as many as cores]")
    parser.add_argument("--json", type=Path, help="write the figures here")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Fit, score, report."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    if options.threads:
        torch.set_num_threads(options.threads)
    training = ptbxl.load(options.data_path, TRAINING_FOLDS, options.cache)
    report = ptbxl.load(options.data_path, REPORT_FOLDS, options.cache)
    dims = Dimensions(n_statements=len(training.statement_names))
    network = load_averaged(options.checkpoint, dims)
    model = fit_anomaly(_observe(network, training.rows(np.flatnonzero(training.normal))))
    observed = _observe(network, report)
    views = model.views(observed)
    scores = {name: views[:, i] for i, name in enumerate(COMPONENTS)}
    scores["fused"] = model.score(observed)
    ours = {name: scores[name] for name in ("fused", "restoration")}
    content = {
        "command": "python -m model.anomaly_report --checkpoint RUN/best.safetensors"
        " --data-path DIR --baseline RUN/scores.npz",
        "checkpoint_sha256": hashlib.sha256(options.checkpoint.read_bytes()).hexdigest(),
        "data_sha256": training.sha256(),
        "anomaly": views_report(report, scores),
        "false_positives": {
            path.parent.name: _against(path, training, report, ours) for path in options.baseline
        },
    }
    _log.info("%s", json.dumps(content))
    if options.json is not None:
        options.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
