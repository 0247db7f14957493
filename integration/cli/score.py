"""`hisbundle score`: ECG files to findings, without a server or a database."""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich import box
from rich.console import Console
from rich.table import Table

from integration.cli.progress import progress
from integration.cli.recordings import recordings
from integration.fhir.wording import (
    ANOMALY,
    CAVEAT,
    LABEL,
    ectopy_in_words,
    measured_in_words,
    places,
    quality_in_words,
    rate_in_words,
)
from integration.formats import NOT_ECG, read_ecgs
from model.ecg import Ecg
from model.errors import EcgError
from model.findings import (
    ABNORMALITY_TYPES,
    RHYTHM_NAMES,
    TYPE_NAMES,
    Findings,
    StripFindings,
)

if TYPE_CHECKING:
    from model.assessor import Examines
    from model.detector import Opinion
    from model.resting.card import RestingCard

_MANY = 20  # from here on a progress bar is worth its line
_NO_RECORDING = NOT_ECG | {"format-unknown", "archive-unsupported"}


@click.command()
@click.argument(
    "files", metavar="FILE|DIR...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@click.option(
    "--json/--table",
    "as_json",
    default=None,
    help="one JSON object a line, one an ECG, or a table  [default: a table on a terminal only]",
)
@click.option(
    "--model",
    "reader",
    type=click.Choice(["auto", "resting", "strip"]),
    default="auto",
    show_default=True,
    help="who reads: as in the server (six leads and more: resting, and strip its rhythm; fewer, "
    "or over ten minutes: strip), or one of them alone",
)
@click.option(
    "--model-path", type=click.Path(path_type=Path), help="resting bundle  [default: the shipped]"
)
@click.option(
    "--strip-model-path", type=click.Path(path_type=Path), help="strip bundle  [default: likewise]"
)
@click.pass_context
def score(
    context: click.Context,
    *,
    files: tuple[Path, ...],
    as_json: bool | None,
    reader: str,
    model_path: Path | None,
    strip_model_path: Path | None,
) -> None:
    """Score ECG files without a server.

    FILE is an ECG of a format that Hisbundle reads, such as DICOM or annotated ECG; of a WFDB
    record its header, a sample file, or its name without extension. Folders are searched at any
    depth; what is no recording there, such as a list or a licence, is passed over and counted.

    Exits with 0 when every ECG was scored, and with 1 when one could not be read or is unscorable;
    why is said on standard error and in the ECG's JSON line, and the others are scored all the
    same.
    """
    as_json = not sys.stdout.isatty() if as_json is None else as_json
    wanted = list(recordings(files))
    tell = _Teller(_reader(reader, model_path, strip_model_path), as_json=as_json)
    # On a terminal the results themselves show how far it is.
    barred = len(wanted) >= _MANY and not sys.stdout.isatty()
    with progress("scoring", len(wanted)) if barred else nullcontext(lambda: None) as advance:
        for file, must_be_ecg in wanted:
            tell(file, must_be_ecg=must_be_ecg)
            advance()
    if tell.passed_over:
        click.echo(f"hisbundle: passed over, no recordings: {tell.passed_over} files", err=True)
    if not wanted:
        click.echo("hisbundle: no files in there", err=True)
    if not as_json:
        click.echo(f"{LABEL} {CAVEAT}")
    context.exit(int(tell.failed or not tell.told))


def _reader(name: str, resting: Path | None, strip: Path | None) -> "Examines":
    from model.assessor import Assessor, StripReader  # noqa: PLC0415 (slow to import: only here)
    from model.detector import Detector  # noqa: PLC0415

    if name == "resting":
        return Detector.load(resting)
    return StripReader.load(strip) if name == "strip" else Assessor.load(resting, strip)


class _Teller:
    """Scores files and prints what came out; remembers what went wrong."""

    def __init__(self, reader: "Examines", *, as_json: bool) -> None:
        self.reader, self.as_json = reader, as_json
        self.told = self.passed_over = 0
        self.failed = False

    def __call__(self, file: Path, *, must_be_ecg: bool) -> None:
        try:
            found = read_ecgs(file)
        except EcgError as error:
            if error.reason in _NO_RECORDING and not must_be_ecg:
                self.passed_over += 1
            else:
                self._cannot_read(file, error)
            return
        for number, decoded in enumerate(found, start=1):
            self._score(file, decoded.ecg, number if len(found) > 1 else None)

    def _score(self, file: Path, ecg: Ecg, recording: int | None) -> None:
        try:
            findings, opinion = self.reader.examine(ecg)
        except EcgError as error:
            self._cannot_read(file, error, recording)
            return
        self.told += 1
        if self.as_json:
            record = as_record(file, ecg, findings) | _numbered(recording)
            if opinion is not None and (card := self.reader.card) is not None:
                record |= as_opinion(card, findings, opinion)
            click.echo(json.dumps(record, allow_nan=False))
        else:
            _print(file, findings)
        if not findings.quality.scorable:
            self._complain(file, f"unscorable: {', '.join(findings.quality.reasons)}")

    def _cannot_read(self, file: Path, error: EcgError, recording: int | None = None) -> None:
        if self.as_json:
            told = {"reason": error.reason, "detail": error.detail}
            record = {"file": click.format_filename(file), "error": told}
            click.echo(json.dumps(record | _numbered(recording)))
        self._complain(file, str(error))

    def _complain(self, file: Path, what: str) -> None:
        self.failed = True
        click.echo(f"hisbundle: {click.format_filename(file)}: {what}", err=True)


def _numbered(recording: int | None) -> dict[str, Any]:
    """Return which recording of its file it is, where the file holds several."""
    return {} if recording is None else {"recording": recording}


def as_record(file: Path, ecg: Ecg, findings: Findings) -> dict[str, Any]:
    """Return what `--json` prints for one ECG; scores are null when it is unscorable."""
    intervals = findings.explanation.intervals if findings.explanation else ()
    masked = {fault.lead for fault in findings.quality.lead_faults}
    return {
        "file": click.format_filename(file),
        "label": LABEL,
        "leads": [lead for lead in ecg.leads if lead not in masked],
        "sampling_rate_hz": ecg.sampling_rate_hz,
        "duration_s": round(ecg.duration_s, 3),
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
        "withheld": [{"code": code, "reason": "few-leads"} for code in _withheld(findings)],
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
        "strip": findings.strip and _strip(findings.strip),
        "model": asdict(findings.model),
    }


def _strip(strip: StripFindings) -> dict[str, Any]:
    """Return what the strip model says; a beat is its time, class, probability and anomaly."""
    beats = [
        [round(b.time_s, 3), b.aami_class, round(b.probability, 4), round(b.anomaly_score, 4)]
        for b in strip.beats
    ]
    told = asdict(strip) | {"beats": beats}
    del told["attention"]
    return told


def as_opinion(card: "RestingCard", findings: Findings, opinion: "Opinion") -> dict[str, Any]:
    """Return what the findings rest on: operating points, statements, components of the anomaly.

    `statements` are as the network gives them, not calibrated. Nothing that is withheld is told by
    another name: statements and components are empty where types, or the anomaly score, are.
    """
    probabilities = {t.code: t.probability for t in findings.types}
    if findings.normal_probability is not None:
        probabilities["NORM"] = findings.normal_probability
    complete = not _withheld(findings)
    names = next(iter(card.type_calibration.values())).operating_points
    return {
        "flags": {
            name: [
                code
                for code, p in probabilities.items()
                if p >= card.type_calibration[code].operating_points[name].threshold
            ]
            for name in names
        },
        "statements": dict(zip(card.statements, opinion.statements[0].tolist(), strict=True))
        if complete
        else {},
        "anomaly_components": dict(
            zip(card.anomaly.components, opinion.views[0].tolist(), strict=True)
        )
        if findings.anomaly_score is not None
        else {},
    }


def _withheld(findings: Findings) -> Sequence[str]:
    if not findings.quality.scorable or not findings.types:
        return ()
    told = {t.code for t in findings.types}
    if findings.normal_probability is not None:
        told.add("NORM")
    if findings.anomaly_score is not None:
        told.add(ANOMALY)
    return [code for code in ("NORM", *ABNORMALITY_TYPES, ANOMALY) if code not in told]


def _print(file: Path, findings: Findings) -> None:
    click.secho(click.format_filename(file), bold=True)
    click.echo(f"quality {quality_in_words(findings.quality)}")
    if not findings.quality.scorable:
        return
    if findings.types:
        _print_types(findings)
    if findings.strip:
        _print_strip(findings.strip)


def _print_strip(strip: StripFindings) -> None:
    rhythms = [
        f"{RHYTHM_NAMES[r.code]} {r.start_s:.1f}-{r.end_s:.1f} s ({measured_in_words(r)})"
        for r in strip.rhythms
    ]
    click.echo(f"rate {rate_in_words(strip)}, {len(strip.beats)} beats")
    click.echo(f"rhythm: {'; '.join(rhythms) or 'no finding reached its threshold'}")
    click.echo(f"ectopic beats: {ectopy_in_words(strip) or 'none found'}")


def _print_types(findings: Findings) -> None:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    table.add_column("result", justify="right")
    table.add_column("threshold", justify="right")
    table.add_column("strongest in")
    for name, value, threshold, where in _rows(findings):
        mark = " !" if value >= threshold else "  "
        table.add_row(name, f"{value:.2f}{mark}", f"{threshold:.2f}", where)
    Console(highlight=False).print(table)
    if withheld := _withheld(findings):
        names = ", ".join(TYPE_NAMES.get(code, code) for code in withheld)
        click.echo(f"not assessed with so few leads: {names}")
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
