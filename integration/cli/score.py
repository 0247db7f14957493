"""`hisbundle score`: ECG files to findings, without a server or a database."""

import json
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich import box
from rich.console import Console
from rich.table import Table

from integration.cli.progress import progress
from integration.fhir.wording import ANOMALY, CAVEAT, LABEL, places, quality_in_words
from integration.formats import read_ecg
from model.errors import EcgError
from model.findings import TYPE_NAMES, Findings

if TYPE_CHECKING:
    from model.detector import Detector

_MANY = 20  # from here on a progress bar is worth its line


@click.command()
@click.argument(
    "files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@click.option("--json", "as_json", is_flag=True, help="print one JSON object a line, one an ECG")
@click.option(
    "--model-path", type=click.Path(path_type=Path), help="bundle folder [default: the shipped one]"
)
@click.pass_context
def score(
    context: click.Context, *, files: tuple[Path, ...], as_json: bool, model_path: Path | None
) -> None:
    """Score ECG files without a server.

    FILE is a DICOM ECG or a WFDB record: its header, a sample file, or its name without extension.
    Exits with 0 when every ECG was scored, and with 1 when one could not be read or is unscorable;
    why is said on standard error, and the others are scored all the same.
    """
    from model.detector import Detector  # noqa: PLC0415 (torch is slow to import: only here)

    detector, failed = Detector.load(model_path), False
    # On a terminal the results themselves show how far it is.
    barred = len(files) >= _MANY and not sys.stdout.isatty()
    with progress("scoring", len(files)) if barred else nullcontext(lambda: None) as advance:
        for file in files:
            failed |= not _tell(detector, file, as_json=as_json)
            advance()
    if not as_json:
        click.echo(f"{LABEL} {CAVEAT}")
    context.exit(int(failed))


def _tell(detector: "Detector", file: Path, *, as_json: bool) -> bool:
    """Score one file and print what came out; return whether it was scored."""
    try:
        findings = detector.score(read_ecg(file))
    except EcgError as error:
        _complain(file, str(error))
        return False
    if as_json:
        click.echo(json.dumps(as_record(file, findings), allow_nan=False))
    else:
        _print(file, findings)
    if not findings.quality.scorable:
        _complain(file, f"unscorable: {', '.join(findings.quality.reasons)}")
    return findings.quality.scorable


def _complain(file: Path, what: str) -> None:
    click.echo(f"hisbundle: {click.format_filename(file)}: {what}", err=True)


def as_record(file: Path, findings: Findings) -> dict[str, Any]:
    """Return what `--json` prints for one ECG; scores are null when it is unscorable."""
    intervals = findings.explanation.intervals if findings.explanation else ()
    return {
        "file": click.format_filename(file),
        "label": LABEL,
        "quality": asdict(findings.quality),
        "types": [
            {
                "code": t.code,
                "name": TYPE_NAMES[t.code],
                "probability": t.probability,
                "threshold": t.threshold,
                "flagged": t.flagged,
            }
            for t in findings.types
        ],
        "normal_probability": findings.normal_probability,
        "anomaly": {
            "score": findings.anomaly_score,
            "threshold": findings.anomaly_threshold,
            "flagged": findings.anomalous,
        },
        "intervals": [
            asdict(i) | {"start_s": round(i.start_s, 3), "end_s": round(i.end_s, 3)}
            for i in intervals
        ],
        "model": asdict(findings.model),
    }


def _print(file: Path, findings: Findings) -> None:
    click.secho(click.format_filename(file), bold=True)
    click.echo(f"quality {quality_in_words(findings.quality)}")
    if not findings.quality.scorable:
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    table.add_column("result", justify="right")
    table.add_column("threshold", justify="right")
    table.add_column("strongest in")
    for name, value, threshold, where in _rows(findings):
        mark = " !" if value >= threshold else "  "
        table.add_row(name, f"{value:.2f}{mark}", f"{threshold:.2f}", where)
    Console(highlight=False).print(table)
    click.echo(_strongest(findings))


def _rows(findings: Findings) -> Iterator[tuple[str, float, float, str]]:
    for t in findings.types:
        yield TYPE_NAMES[t.code], t.probability, t.threshold, places(findings, t.code)
    if findings.anomaly_score is not None and findings.anomaly_threshold is not None:
        where = places(findings, ANOMALY)
        yield "Anomaly", findings.anomaly_score, findings.anomaly_threshold, where


def _strongest(findings: Findings) -> str:
    """Return the strongest interval in words, such as `ST/T change: strongest in V2, 3.1-3.5 s`."""
    intervals = findings.explanation.intervals if findings.explanation else ()
    if not intervals:
        return "nothing flagged, nothing to point at"
    first = intervals[0]
    name = TYPE_NAMES.get(first.type_code, "Anomaly")
    return f"{name}: strongest in {first.lead}, {first.start_s:.1f}-{first.end_s:.1f} s"
