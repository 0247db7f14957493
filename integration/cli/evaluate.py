"""`hisbundle evaluate`."""

import json
import math
from pathlib import Path
from typing import Any

import click

from integration.cli.progress import progress

TRAINING_FOLDS = tuple(range(1, 9))


def _folds(_context: click.Context, _option: click.Parameter, value: str) -> tuple[int, ...]:
    try:
        folds = tuple(sorted({int(part) for part in value.split(",")}))
    except ValueError:
        raise click.BadParameter("give numbers with commas, such as 9 or 9,10") from None
    if not all(1 <= fold <= 10 for fold in folds):
        raise click.BadParameter("folds are 1 to 10")
    return folds


@click.command()
@click.option(
    "--model-path", type=click.Path(path_type=Path), help="bundle folder [default: the shipped one]"
)
@click.option("--data-path", type=click.Path(path_type=Path), required=True, help="PTB-XL folder")
@click.option("--folds", default="9", show_default=True, callback=_folds, help="such as 9 or 9,10")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="write all figures here")
@click.option("--plots", type=click.Path(path_type=Path, file_okay=False), help="folder for PNGs")
@click.option(
    "--baseline/--no-baseline",
    default=True,
    show_default=True,
    help="fit the baseline on the normal ECGs of folds 1-8 and report it beside the network",
)
def evaluate(
    *,
    model_path: Path | None,
    data_path: Path,
    folds: tuple[int, ...],
    json_path: Path | None,
    plots: Path | None,
    baseline: bool,
) -> None:
    """Measure a model bundle on labelled ECGs, with 95 % intervals over patients."""
    from model import evaluate as evaluation  # noqa: PLC0415 (torch is slow to import: only here)
    from model.datasets import ptbxl  # noqa: PLC0415
    from model.detector import Detector  # noqa: PLC0415
    from model.plots import reliability, roc_curves  # noqa: PLC0415

    data = ptbxl.load(data_path, folds)
    normals = ptbxl.load(data_path, TRAINING_FOLDS) if baseline else None
    detector = Detector.load(model_path)
    with progress("reading ECGs", len(data.ecg_id)) as advance:
        scored = evaluation.score_dataset(detector, data, advance)
    with progress("lead subsets", len(evaluation.LEAD_SUBSETS) * len(data.ecg_id)) as advance:
        subsets = evaluation.lead_subsets(detector, data, advance)
    figures = {
        "command": f"hisbundle evaluate --data-path DIR --folds {','.join(map(str, folds))}",
        "model": vars(detector.identity),
        **evaluation.report(detector, scored, normals and normals.rows(normals.normal)),
        "lead_subsets": subsets,
        "latency": evaluation.latency(detector, data),
    }
    if json_path is not None:
        json_path.write_text(json.dumps(_finite(figures), indent=2) + "\n", encoding="utf-8")
    if plots is not None:
        fresh = evaluation.not_calibrated_on(detector, scored)
        plots.mkdir(parents=True, exist_ok=True)
        roc_curves(scored.data, scored.opinion, plots / "roc.png")
        reliability(fresh.data, fresh.opinion, plots / "reliability.png")
    _summary(figures)


def _summary(figures: dict[str, Any]) -> None:
    """The main figures, a line each."""
    ranking, fresh = figures["ranking"], figures["not_calibrated_on"]
    for title, estimate in (
        ("AUROC, five abnormality types", ranking["macro_auroc_types"]),
        ("AUROC, superclasses", ranking["macro_auroc_superclasses"]),
        ("AUROC, statements", ranking["macro_auroc_statements"]),
        *((f"AUROC, {code}", estimate) for code, estimate in ranking["auroc"].items()),
        *((f"anomaly, {name}", view["auroc"]) for name, view in figures["anomaly"].items()),
        ("anomaly, fused", fresh["anomaly"]["auroc"]),
    ):
        interval = f"[{estimate['low']:.3f}, {estimate['high']:.3f}]"
        click.echo(f"{title:<40} {estimate['value']:.3f} {interval}")


def _finite(value: Any) -> Any:  # noqa: ANN401 (JSON)
    """JSON has no NaN: a figure that does not exist is null."""
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and math.isnan(value) else value
