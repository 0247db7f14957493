"""The anomaly views of a bundle on fold 9, and its false positives beside a baseline's.

python -m model.anomaly_report --data-path DIR [--baseline RUN/scores.npz ...] --json OUT

The gate is not asked. The views were fitted on the normal ECGs of folds 1-8, and a baseline's
operating points are chosen there too; on fold 9 our threshold is put where our sensitivity equals
the baseline's, in every bootstrap draw anew, and the false positives of both are counted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from model import reporting
from model.anomaly import COMPONENTS, AnomalyModel
from model.calibration import operating_points
from model.datasets.ptbxl import TYPES, PtbXl
from model.metrics import Labels, Rows, Scores, auroc, bootstrap
from model.observing import observe_dataset
from model.reporting import Json
from model.resting.card import SHIPPED, load_resting
from model.resting.reference import trained_network

SENSITIVITIES = (0.80, 0.85, 0.90)


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


def main(arguments: Sequence[str] | None = None) -> None:
    """Score, report."""
    parser = reporting.parser("Measure the anomaly views of a bundle.")
    parser.add_argument("--model-path", type=Path, default=SHIPPED, help="bundle folder")
    parser.add_argument("--baseline", type=Path, nargs="*", default=[], help="RUN_DIR/scores.npz")
    options = parser.parse_args(arguments)
    training, report = reporting.start(options)
    bundle = load_resting(options.model_path)
    model = AnomalyModel.from_tensors(bundle.tensors)
    views = model.views(observe_dataset(trained_network(bundle), report))
    scores = {name: views[:, i] for i, name in enumerate(COMPONENTS)}
    scores["fused"] = model.fused(views)
    ours = {name: scores[name] for name in ("fused", "restoration")}
    figures = {
        "command": "python -m model.anomaly_report --data-path DIR --baseline RUN/scores.npz",
        "model": vars(bundle.identity),
        "data_sha256": training.sha256(),
        "anomaly": views_report(report, scores),
        "false_positives": {
            path.parent.name: _against(path, training, report, ours) for path in options.baseline
        },
    }
    reporting.finish(options, figures)


if __name__ == "__main__":
    main()
