"""`hisbundle evaluate`."""

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich import box
from rich.console import Console
from rich.table import Table

from integration.cli.progress import progress
from integration.cli.strip import evaluate_strip

if TYPE_CHECKING:
    from model.datasets.cases import Cases

Json = dict[str, Any]

_WIDTH = 120  # columns of the tables in a file or a pipe


def _folds(
    _context: click.Context, _option: click.Parameter, value: str | None
) -> tuple[int, ...] | None:
    if value is None:
        return None
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
@click.option(
    "--data-path",
    type=click.Path(path_type=Path),
    required=True,
    help="PTB-XL, LUDB, or WFDB records with SNOMED codes in #Dx lines",
)
@click.option("--folds", callback=_folds, help="of PTB-XL, such as 9 or 9,10  [default: 9]")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="write all figures here")
@click.option("--plots", type=click.Path(path_type=Path, file_okay=False), help="folder for PNGs")
@click.option(
    "--operating-point",
    help="screening, balanced or specific, for table, groups and confusion [default: the bundle's]",
)
@click.option("--limit", type=click.IntRange(min=1), help="so many ECGs, evenly spread")
@click.option(
    "--workers", type=click.IntRange(min=1), default=1, show_default=True, help="processes"
)
@click.option(
    "--lead-subsets/--no-lead-subsets",
    default=True,
    show_default=True,
    help="score 6, 4, 3, 2 and 1 leads as well, on at most 3000 ECGs",
)
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
    folds: tuple[int, ...] | None,
    json_path: Path | None,
    plots: Path | None,
    operating_point: str | None,
    limit: int | None,
    workers: int,
    lead_subsets: bool,
    baseline: bool,
) -> None:
    """Measure a model bundle on labelled ECGs, with 95 % intervals over patients.

    What DIR holds is found out: PTB-XL (ptbxl_database.csv), LUDB (ludb.csv or its headers), or
    WFDB records at any depth whose headers have SNOMED codes, as in the PhysioNet challenges 2020
    and 2021. Each ECG goes the way it goes in production: reader, quality gate, windows, network.
    One that cannot be read, is longer than ten minutes (the strip model's) or, where no patients
    are named, has the samples of another one is counted with its reason.

    With a strip bundle, DIR holds WFDB records with reference beats (.atr), as MIT-BIH's, or the
    strips of the PhysioNet challenge 2017. MIT-BIH's paced records are left out, and those that the
    bundle learned from unless there are no others.
    """
    from model.strip.card import is_strip  # noqa: PLC0415 (slow to import: only here)

    if model_path is not None and is_strip(model_path):
        _check_writable(json_path)
        _check_for_strips(folds, limit, operating_point)
        evaluate_strip(model_path, data_path, json_path, plots)
        return
    from integration.formats import read_ecg  # noqa: PLC0415 (slow to import: only here)
    from model import evaluate as evaluation  # noqa: PLC0415
    from model.datasets.layout import labelled, ptbxl_root  # noqa: PLC0415
    from model.detector import Detector  # noqa: PLC0415
    from model.evaluation_plots import write_plots  # noqa: PLC0415
    from model.figures import not_calibrated_on  # noqa: PLC0415
    from model.scoring import score_cases  # noqa: PLC0415

    detector = Detector.load(model_path)
    point = _point(operating_point, detector.card.type_calibration)
    _check_writable(json_path)
    cases = labelled(data_path, folds, read_ecg).spread(limit)
    pca = evaluation.baseline_of(ptbxl_root(data_path)) if baseline and _is_ptbxl(cases) else None
    plan = evaluation.plan_of(cases, subsets=lead_subsets)
    with progress("scoring ECGs", len(cases)) as advance:
        scored = score_cases(detector, plan, advance, model_path=model_path, workers=workers)
    with progress("figures", 2) as advance:
        figures = {
            "command": _command(cases, folds, limit, workers, operating_point),
            "model": vars(detector.identity),
            "operating_point": point,
            **evaluation.report(detector, scored, pca, point),
        }
        advance()
        figures["latency"] |= {
            "workers": workers,
            "with_explanation_ms": evaluation.explained_latency(detector, cases),
        }
        advance()
    if json_path is not None:
        json_path.write_text(json.dumps(_finite(figures), indent=2) + "\n", encoding="utf-8")
    if plots is not None:
        kept = scored.rows(scored.scorable)
        write_plots(figures, kept, not_calibrated_on(detector, kept), plots)
    _print(figures)


def _point(name: str | None, calibrated: Any) -> str:  # noqa: ANN401 (the card's, without its import)
    points = list(next(iter(calibrated.values())).operating_points)
    if name is None:
        return "balanced" if "balanced" in points else points[0]
    if name not in points:
        raise click.BadParameter(
            f"this bundle has {', '.join(points)}", param_hint="--operating-point"
        )
    return name


def _check_writable(path: Path | None) -> None:
    """Say so before minutes of work, not after."""
    if path is not None and (path.is_dir() or not path.absolute().parent.is_dir()):
        raise click.BadParameter("not a file in an existing folder", param_hint="--json")


def _check_for_strips(folds: tuple[int, ...] | None, limit: int | None, point: str | None) -> None:
    """Refuse what would otherwise be passed over, and the figures taken for something else."""
    given = {"--folds": folds, "--limit": limit, "--operating-point": point}
    for name, value in given.items():
        if value is not None:
            raise click.BadParameter("a strip bundle knows none", param_hint=name)


def _is_ptbxl(cases: "Cases") -> bool:
    return cases.statements is not None


def _command(
    cases: "Cases",
    folds: tuple[int, ...] | None,
    limit: int | None,
    workers: int,
    point: str | None,
) -> str:
    """The command without what differs between machines."""
    parts = ["hisbundle evaluate --data-path DIR"]
    if _is_ptbxl(cases):
        parts.append(f"--folds {','.join(map(str, folds or (9,)))}")
    parts += [f"--operating-point {point}"] if point else []
    parts += [f"--limit {limit}"] if limit else []
    parts += [f"--workers {workers}"] if workers > 1 else []
    return " ".join(parts)


def _print(figures: Json) -> None:
    """The main figures, as tables."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_WIDTH)
    _print_data(console, figures)
    console.print(_ranking_table(figures))
    if figures["not_calibrated_on"]:
        console.print(_points_table(figures))
    console.print(_anomaly_table(figures))
    if figures["lead_subsets"]:
        console.print(_leads_table(figures["lead_subsets"]))
    console.print(_groups_table(figures["groups"]))
    latency = figures["latency"]
    told = ", ".join(
        f"{name} {latency[f'{name}_ms']['median']} (p99 {latency[f'{name}_ms']['p99']})"
        for name in ("prepare", "network", "total", "with_explanation")
    )
    console.print(f"ms an ECG, median: {told}".replace("_", " "))


def _print_data(console: Console, figures: Json) -> None:
    data, quality = figures["data"], figures["quality"]
    of = (
        f"{data['patients']} patients"
        if data["patients_known"]
        else "patients not named: an ECG each"
    )
    console.print(f"{data['source']}: {data['ecgs']} ECGs, {of}")
    for title, counts in (
        ("left out", data["left_out"]),
        ("not counted", data["unreadable"]),
        (
            f"unscorable {quality['unscorable']} ({quality['unscorable_rate']:.1%})",
            quality["reasons"],
        ),
    ):
        if counts:
            console.print(f"{title}: " + ", ".join(f"{n} {reason}" for reason, n in counts.items()))
    if figures["trained_on"]:
        console.print(f"{figures['trained_on']} of these were trained on: no evidence")
    for remark in data["remarks"]:
        console.print(f"- {remark}", markup=False)


def _ranking_table(figures: Json) -> Table:
    ranking, counts = figures["ranking"], figures["data"]["ecgs_with_type"]
    table = _table("", "ECGs", "AUROC", "95 %", "average precision", "95 %", "prevalence")
    for title, name in (
        ("macro, abnormality types", "macro_auroc_types"),
        ("macro, superclasses", "macro_auroc_superclasses"),
        ("macro, statements", "macro_auroc_statements"),
    ):
        if name in ranking:
            table.add_row(title, "", *_told(ranking[name]), "", "", "")
    for code in ranking["types_measured"]:
        precision = ranking["average_precision"][code]
        prevalence = f"{precision['prevalence']:.3f}"
        told = (*_told(ranking["auroc"][code]), *_told(precision), prevalence)
        table.add_row(code, str(counts[code]), *told)
    return table


def _points_table(figures: Json) -> Table:
    table = _table(
        "type", "point", "threshold", "sensitivity", "specificity", "+P", "F1", "accuracy", "floor"
    )
    names = (
        "sensitivity",
        "specificity",
        "positive_predictive_value",
        "f1",
        "accuracy",
        "majority",
    )
    for code, points in figures["not_calibrated_on"]["thresholds"].items():
        for name, at in points.items():
            table.add_row(code, name, _number(at["threshold"]), *(_number(at[n]) for n in names))
    fused = figures["not_calibrated_on"]["anomaly"]
    table.add_row("anomaly", "", _number(fused["threshold"]), *(_number(fused[n]) for n in names))
    return table


def _anomaly_table(figures: Json) -> Table:
    table = _table("normal against abnormal", "AUROC", "95 %")
    views = {name: view["auroc"] for name, view in figures["anomaly"].items()}
    if figures["not_calibrated_on"]:
        views["fused"] = figures["not_calibrated_on"]["anomaly"]["auroc"]
    for name, estimate in views.items():
        table.add_row(name, *_told(estimate))
    return table


def _leads_table(subsets: Json) -> Table:
    table = _table("leads", "AUROC", "95 %", "loss", "95 %", "ARR", "not scorable", "withheld")
    for name, found in subsets.items():
        if found["ecgs"]:
            told = (*_told(found["macro_auroc_types"]), *_told(found["loss_against_12"]))
            rest = (
                _number(found["auroc"]["ARR"]),
                str(found["not_scorable"]),
                " ".join(found["withheld"]),
            )
            table.add_row(name, *told, *rest)
    return table


def _groups_table(groups: Json) -> Table:
    table = _table("group", "ECGs", "unscorable", "AUROC, types", "95 %")
    for name, values in groups.items():
        for value, found in values.items():
            told = _told(found["macro_auroc_types"]) if "macro_auroc_types" in found else ("", "")
            table.add_row(f"{name}: {value}", str(found["ecgs"]), str(found["unscorable"]), *told)
    return table


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for i, column in enumerate(columns):
        table.add_column(column, justify="right" if i else "left")
    return table


def _told(estimate: Json) -> tuple[str, str]:
    return _number(estimate["value"]), f"{_number(estimate['low'])}-{_number(estimate['high'])}"


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.3f}"


def _finite(value: Any) -> Any:  # noqa: ANN401 (JSON)
    """JSON has no NaN: a figure that does not exist is null."""
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and math.isnan(value) else value
