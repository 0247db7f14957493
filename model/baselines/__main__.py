"""Train and measure one baseline.

python -m model.baselines --model lstm --data-path DIR --epochs 12 --run-dir DIR --json OUT

Trained on folds 1-8, reported on fold 9. Per-ECG scores stay in RUN_DIR/scores.npz.
"""

import argparse
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from model import reporting
from model.anomaly_report import views_report
from model.baselines.learning import Plan, seconds_taken
from model.baselines.registry import BASELINES, Outcome
from model.datasets.ptbxl import TYPES, PtbXl
from model.metrics import Labels, Scores, auroc, bootstrap, macro_auroc
from model.reporting import Json

_log = logging.getLogger("model.baselines")


def report(data: PtbXl, outcome: Outcome) -> Json:
    """AUROC with patient-bootstrap intervals: normal against abnormal, and types if there are."""
    figures: Json = {"anomaly": views_report(data, outcome.report)}
    if outcome.logits is not None:
        figures["ranking"] = _ranking(data, outcome.logits.astype(np.float64))
    return figures


def _ranking(data: PtbXl, logits: Scores) -> Json:
    types, statements = logits[:, : len(TYPES)], logits[:, len(TYPES) :]
    classified = np.flatnonzero(data.types[:, :-1].any(axis=1))
    return {
        "macro_auroc_types": _macro(data, data.types[:, 1:], types[:, 1:]),
        "macro_auroc_superclasses": _macro(
            data.rows(classified), data.types[classified, :-1], types[classified, :-1]
        ),
        "macro_auroc_statements": _macro(data, data.statements, statements),
        "auroc": {code: auroc(data.types[:, i], types[:, i]) for i, code in enumerate(TYPES)},
    }


def _macro(data: PtbXl, labels: Labels, scores: Scores) -> Json:
    return asdict(bootstrap(data.patient_id, lambda r: macro_auroc(labels[r], scores[r])))


def _parser() -> argparse.ArgumentParser:
    parser = reporting.parser("Train and measure one baseline.")
    parser.add_argument("--model", choices=BASELINES, required=True)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--max-lr", type=float, default=2e-3)
    parser.add_argument("--run-dir", type=Path, help="[default: runs/MODEL-SEED]")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, score, report."""
    options = _parser().parse_args(arguments)
    training, checked = reporting.start(options)
    plan = Plan(
        epochs=options.epochs,
        run_dir=options.run_dir or Path("runs") / f"{options.model}-{options.seed}",
        seed=options.seed,
        batch_size=options.batch_size,
        max_lr=options.max_lr,
        on_epoch=lambda figures: _log.info("%s %s", options.model, json.dumps(figures)),
    )
    outcome = BASELINES[options.model](training, checked, plan)
    plan.run_dir.mkdir(parents=True, exist_ok=True)
    _save_scores(plan.run_dir / "scores.npz", outcome)
    content = {"command": _command(options), "data_sha256": training.sha256(), "seed": plan.seed}
    if options.model != "template":
        content["training_seconds"] = seconds_taken(plan.run_dir)
    content.update(report(checked, outcome))
    reporting.finish(options, content)


def _command(options: argparse.Namespace) -> str:
    command = f"python -m model.baselines --model {options.model} --data-path DIR"
    if options.model == "template":
        return command
    return (
        f"{command} --epochs {options.epochs} --seed {options.seed}"
        f" --batch-size {options.batch_size} --max-lr {options.max_lr:g}"
    )


def _save_scores(path: Path, outcome: Outcome) -> None:
    columns = {
        f"{part}/{name}": values
        for part, scores in (("training", outcome.training), ("report", outcome.report))
        for name, values in scores.items()
    }
    np.savez_compressed(path, allow_pickle=False, **columns)


if __name__ == "__main__":
    main()
