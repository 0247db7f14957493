"""`hisbundle ecg`: finding ECGs, showing one, and writing them to files."""

import json
import os
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import click
import orjson

from db.audit import AuditEntry, AuditKind
from db.clinical import NewResult
from db.errors import NotFound
from db.filters import parse_filter
from db.store import Store
from integration.cli.access import needs
from integration.cli.database import opened
from integration.cli.progress import progress
from integration.cli.status import exam_line
from integration.cli.tables import listing, screen
from integration.export import ENCODERS
from integration.render import page_of
from integration.replay import matching_exams
from integration.security.roles import Role, account
from model.findings import Findings

_FORMATS = ("json", "pdf", *ENCODERS)
_json = click.option("--json", "as_json", is_flag=True, help="print JSON")
_FILTER = click.argument("filter_", metavar="FILTER", default="")


@click.group()
def ecg() -> None:
    """Find ECGs, show one, write them to files.

    FILTER is what `hisbundle replay --help` describes, such as

      patient:4711 received>=2026-11-01    type:AF -state:delivered    score>=0.99

    Whoever shows or exports one is written into the audit log.
    """


@ecg.command("list")
@_FILTER
@click.option("--limit", default=20, show_default=True, help="newest ECGs to list")
@click.option("--count", is_flag=True, help="only tell how many there are")
@_json
@needs(Role.VIEWER)
def list_(*, filter_: str, limit: int, count: bool, as_json: bool) -> None:
    """List ECGs, newest first; no patient data."""
    found = parse_filter(filter_)
    with opened() as (_, store):
        if count:
            number = sum(1 for _ in matching_exams(store, found)) if found.texts else None
            number = store.count_exams(found) if number is None else number
            click.echo(json.dumps({"count": number}) if as_json else str(number))
            return
        exams = [exam for exam, _ in zip(matching_exams(store, found), range(limit), strict=False)]
    if as_json:
        click.echo(json.dumps([exam_line(exam) for exam in exams]))
        return
    table = listing("received", "sender", "control id", "state", "anomaly", "flagged", "id")
    for exam in exams:
        findings = exam.findings
        score = findings.anomaly_score if findings else None
        table.add_row(
            f"{exam.received_at:%Y-%m-%d %H:%M:%S}",
            exam.sender,
            exam.control_id,
            f"{exam.state} ({exam.reason})" if exam.reason else exam.state.value,
            "" if score is None else f"{score:.2f}",
            " ".join(findings.flags) if findings else "",
            str(exam.id),
        )
    screen().print(table if exams else "none")


@ecg.command()
@click.argument("id_", metavar="ID", type=click.UUID)
@_json
@needs(Role.OPERATOR)
def show(*, id_: UUID, as_json: bool) -> None:
    """Show all that is known of one ECG, and whose it is."""
    with opened() as (_, store):
        told = _all_of(store, id_)
        _note(store, [id_], "shown")
    if as_json:
        click.echo(json.dumps(told))
        return
    for name, value in told.items():
        text = value if isinstance(value, str) else json.dumps(value)
        click.echo(f"{name:>16}: {text}")


@ecg.command()
@_FILTER
@click.option(
    "--format", "format_", type=click.Choice(_FORMATS), required=True, help="of the files"
)
@click.option(
    "--to",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="folder that the files are written to, made where it is missing",
)
@click.option("--limit", type=click.IntRange(min=1), help="newest ECGs to export  [default: all]")
@_json
@needs(Role.OPERATOR)
def export(*, filter_: str, format_: str, folder: Path, limit: int | None, as_json: bool) -> None:
    """Write ECGs to files that are called after their ids; only their owner may read them."""
    found = parse_filter(filter_)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    written, passed_over = 0, 0
    with opened() as (_, store):
        total = store.count_exams(found)
        total = total if limit is None else min(limit, total)
        with progress("export", max(total, 1)) as advance:
            for exam, _ in zip(matching_exams(store, found), range(total), strict=False):
                try:
                    files = _files(store, exam.id, format_)
                except NotFound:  # nobody's yet, not assessed yet, or its samples were let go
                    passed_over += 1
                    continue
                finally:
                    advance()
                _note(store, [exam.id], f"exported as {format_}")
                for ending, content in files.items():
                    _write(folder / f"{exam.id}{ending}", content)
                written += 1
    told = {"written": written, "passed_over": passed_over}
    click.echo(json.dumps(told) if as_json else f"{written} written, {passed_over} passed over")


def _all_of(store: Store, id_: UUID) -> dict[str, Any]:
    exam = store.load_exam(id_)
    told: dict[str, Any] = {
        "id": str(exam.id),
        "message": str(exam.message_id),
        "state": exam.state.value,
        "reason": exam.reason,
        "patient": exam.patient.identifier,
        "authority": exam.patient.authority,
        "placer_order": exam.placer_order,
        "filler_order": exam.filler_order,
        "acquired": exam.acquired and exam.acquired.isoformat(),
        "received": exam.received_at.isoformat(),
        "leads": list(exam.ecg.leads),
        "sampling_rate_hz": exam.ecg.sampling_rate_hz,
        "duration_s": round(exam.ecg.duration_s, 3),
    }
    with suppress(NotFound):
        report = store.read_report(id_)
        told["issued"] = report.issued_at.isoformat()
        told["report"] = [report.version, report.status.value]
        told["findings"] = _findings(store.load_assessed(id_).findings)
    told["cart"] = [_said(result) for result in store.results_of_exam(id_)]
    told["deliveries"] = [
        {
            "to": d.destination,
            "version": d.version,
            "state": d.state.value,
            "tries": d.attempts,
            "answer": d.answer,
        }
        for d in store.deliveries_of(id_)
    ]
    return told


def _said(result: NewResult) -> dict[str, Any]:
    """Return what the cart measured and said: for who compares, nothing here relies on it."""
    return {
        "measured": [[m.quantity.value, m.value, m.unit] for m in result.measurements],
        "said": list(result.statements),
    }


def _findings(found: Findings) -> dict[str, Any]:
    return {
        "quality": [found.quality.verdict, *found.quality.reasons],
        "flagged": list(found.flags),
        "types": {t.code: [t.probability, t.threshold] for t in found.types},
        "anomaly": [found.anomaly_score, found.anomaly_threshold],
        "rhythms": [[r.code, r.start_s, r.end_s] for r in found.strip.rhythms]
        if found.strip
        else [],
        "models": [
            f"{model.name}@{model.version}"
            for model in (found.model, *([found.strip.model] if found.strip else []))
        ],
    }


def _files(store: Store, id_: UUID, format_: str) -> dict[str, bytes]:
    if format_ == "pdf":
        return {".pdf": page_of(store.load_assessed(id_))}
    if format_ in ENCODERS:
        return ENCODERS[format_](store.load_exam(id_))
    ecg_ = store.load_exam(id_).ecg
    told = _all_of(store, id_) | {"voltage_mv": ecg_.voltage_mv}
    return {".json": orjson.dumps(told, option=orjson.OPT_SERIALIZE_NUMPY)}


def _write(path: Path, content: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)


def _note(store: Store, ids: list[UUID], what: str) -> None:
    for id_ in ids:
        content = {"what": what}
        entry = AuditEntry(AuditKind.ACCESS, datetime.now(UTC), account(), id_, content)
        store.record_audit(entry)
