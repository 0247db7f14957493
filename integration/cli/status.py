"""`hisbundle status`."""

import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import click
from rich.console import Console

from db.records import ExamSummary, Status
from db.store import Store
from integration.cli.access import needs
from integration.cli.tables import listing, screen
from integration.config import load_settings
from integration.database import open_store
from integration.security.roles import Role


@click.command()
@click.option("--json", "as_json", is_flag=True, help="print one JSON object")
@click.option("--last", default=10, show_default=True, help="newest ECGs to list")
@needs(Role.VIEWER)
def status(*, as_json: bool, last: int) -> None:
    """Show what arrived and what became of it; no patient data."""
    store = open_store(load_settings())
    try:
        counts, exams = store.status(datetime.now(UTC)), store.recent_exams(last)
        oversight = _oversight(store)
    finally:
        store.close()
    if as_json:
        told = asdict(counts) | oversight | {"recent": [exam_line(e) for e in exams]}
        click.echo(json.dumps(told))
    else:
        _print(counts, oversight, exams)


def _oversight(store: Store) -> dict[str, object]:
    """Return what somebody may have to see: silent ECGs, critical findings, stops."""
    silent = store.rehearsal()
    waiting, escalated = store.open_alerts()
    return {
        "silent": asdict(silent) | {"flagged_per_100": silent.flagged_per_100},
        "critical": {"unanswered": waiting, "escalated": escalated},
        "stopped_models": [stop.model for stop in store.model_stops()],
    }


def exam_line(exam: ExamSummary) -> dict[str, object]:
    """Return one ECG as plain values for people and machines."""
    findings = exam.findings
    return {
        "id": str(exam.id),
        "sender": exam.sender,
        "control_id": exam.control_id,
        "state": exam.state.value,
        "reason": exam.reason,
        "received_at": exam.received_at.isoformat(),
        "quality": findings and findings.quality.verdict,
        "anomaly_score": findings and findings.anomaly_score,
        "flagged": [t.code for t in findings.flagged_types] if findings else [],
    }


def _print_oversight(console: Console, told: dict[str, Any]) -> None:
    silent, critical = told["silent"], told["critical"]
    if silent["assessed"]:
        rate = f"{silent['flagged_per_100']:.1f} flags in 100 ECGs, {silent['critical']} critical"
        console.print(f"     silent: {silent['assessed']} ECGs, {rate}")
    if critical["unanswered"]:
        late = f"{critical['escalated']} of them escalated"
        console.print(f"   critical: {critical['unanswered']} not answered, {late}")
    if stopped := told["stopped_models"]:
        console.print(f"    stopped: {', '.join(stopped)}")


def _print(counts: Status, oversight: dict[str, object], exams: tuple[ExamSummary, ...]) -> None:
    console = screen()
    for title, by_state in (
        ("messages", counts.messages),
        ("ECGs", counts.exams),
        ("deliveries", counts.deliveries),
        ("refusals", counts.refusals),
    ):
        told = ", ".join(f"{name} {count}" for name, count in sorted(by_state.items()))
        console.print(f"{title:>11}: {told or 'none'}")
    if counts.conflicts:
        console.print(f"  conflicts: {counts.conflicts} messages share a control id")
    if counts.oldest_waiting_s is not None:
        console.print(f"    waiting: oldest for {counts.oldest_waiting_s:.0f} s")
    _print_oversight(console, oversight)
    if exams:
        table = listing("received", "control id", "state", "quality", "anomaly", "flagged", "id")
        for exam in exams:
            line = exam_line(exam)
            score = exam.findings.anomaly_score if exam.findings else None
            table.add_row(
                f"{exam.received_at:%Y-%m-%d %H:%M:%S}",
                exam.control_id,
                f"{exam.state} ({exam.reason})" if exam.reason else exam.state.value,
                str(line["quality"] or ""),
                "" if score is None else f"{score:.2f}",
                " ".join(t.code for t in exam.findings.flagged_types) if exam.findings else "",
                str(exam.id),
            )
        console.print(table)
