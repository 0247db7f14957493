"""Is the anomaly score of use on a type that training never saw?

For each abnormality type a network is trained on folds 1-8 without any ECG of that type, hence
without its head and statements, and without it the anomaly views are fitted. The score is then
asked to tell fold 9's ECGs of that type from fold 9's normal ones. The network is the last epoch's,
so that fold 9 has no part in choosing it.

    python -m model.leave_one_out --data-path DIR --epochs 6 --run-dir DIR --json OUT

Finished epochs are kept; the same command again goes on where it stopped.
"""

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from model import reporting
from model.anomaly import COMPONENTS, AnomalyFeatures, AnomalyModel, Scores, fit_anomaly
from model.datasets.ptbxl import TYPES, PtbXl
from model.findings import ABNORMALITY_TYPES
from model.metrics import Labels, auroc, bootstrap
from model.observing import observe_dataset
from model.reporting import Json
from model.resting.network import RestingNetwork
from model.resting.settings import Dimensions, Settings
from model.resting.training import history, load_averaged, train

_log = logging.getLogger(__name__)


def without(data: PtbXl, left_out: str) -> PtbXl:
    """Drop every ECG of a type, whatever else it has."""
    return data.rows(np.flatnonzero(~data.types[:, TYPES.index(left_out)]))


def heads_without(left_out: str) -> tuple[int, ...]:
    """Columns of the type logits that training has taught."""
    return tuple(i for i, code in enumerate(TYPES) if code != left_out)


def trained_without(
    left_out: str, training: PtbXl, report: PtbXl, settings: Settings, run_dir: Path
) -> RestingNetwork:
    """Train, or go on, or take what is finished: the last epoch's averaged network."""
    last = run_dir / "last.safetensors"
    if not last.exists() or len(history(run_dir)) < settings.epochs:
        train(
            without(training, left_out),
            without(report, left_out),
            settings,
            run_dir,
            resume=last.exists(),
            on_epoch=lambda figures: _log.info("%s %s", left_out, json.dumps(figures)),
        )
    return load_averaged(last, Dimensions(n_statements=len(training.statement_names)))


def figures(
    left_out: str, network: RestingNetwork, training: PtbXl, report: PtbXl
) -> dict[str, Json]:
    """AUROC of each view and of their fusion: ECGs of the type, and those of it alone."""
    seen = without(training, left_out)
    normals = seen.rows(np.flatnonzero(seen.normal))
    model = fit_anomaly(observe_dataset(network, normals), heads_without(left_out))
    of_type = report.types[:, TYPES.index(left_out)]
    alone = of_type & (report.types.sum(axis=1) == 1)
    observed = observe_dataset(network, report)
    return {
        "all": _against_normals(report, of_type, model, observed),
        "alone": _against_normals(report, alone, model, observed),
    }


def _against_normals(
    data: PtbXl, positive: Labels, model: AnomalyModel, observed: AnomalyFeatures
) -> Json:
    rows = np.flatnonzero(positive | data.normal)
    patients, labels = data.patient_id[rows], positive[rows]

    def estimate(scores: Scores) -> Json:
        return asdict(bootstrap(patients, lambda r: auroc(labels[r], scores[r])))

    views = model.views(observed.rows(rows))
    return {
        "ecgs": int(labels.sum()),
        "normals": int((~labels).sum()),
        "auroc": estimate(model.fused(views)),
        **{name: estimate(views[:, i]) for i, name in enumerate(COMPONENTS)},
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Train five networks and write one JSON."""
    parser = reporting.parser(__doc__.partition("\n")[0])
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--run-dir", type=Path, default=Path("runs/leave-one-out"))
    parser.add_argument("--types", nargs="+", choices=ABNORMALITY_TYPES, default=ABNORMALITY_TYPES)
    options = parser.parse_args(arguments)
    training, report = reporting.start(options)
    settings = Settings(epochs=options.epochs, seed=options.seed, crop_share=1.0)
    results = {}
    for code in options.types:
        network = trained_without(code, training, report, settings, options.run_dir / code)
        results[code] = figures(code, network, training, report)
        _log.info("%s %s", code, json.dumps(results[code]))
    command = f"python -m model.leave_one_out --data-path DIR --epochs {options.epochs}"
    content = {
        "command": f"{command} --seed {options.seed}",
        "data_sha256": training.sha256(),
        "settings": asdict(settings),
        "left_out": results,
    }
    reporting.finish(options, content)


if __name__ == "__main__":
    main()
