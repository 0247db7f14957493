"""`hisbundle status`."""

import json
from dataclasses import asdict
from datetime import UTC, datetime

import click
from rich.console import Console
from rich.table import Table

from db.migrate import check
from db.records import ExamSummary, Status
from db.store import Store
from integration.config import load_settings


@click.command()
@click.option("--json", "as_json", is_flag=True, help="print one JSON object")
@click.option("--last", default=10, show_default=True, help="newest ECGs to list")
def status(*, as_json: bool, last: int) -> None:
    """Show what arrived and what became of it; no patient data."""
    database = load_settings().database
    check(database)
    store = Store.open(database)
    try:
        counts, exams = store.status(datetime.now(UTC)), store.recent_exams(last)
    finally:
        store.close()
    if as_json:
        click.echo(json.dumps(asdict(counts) | {"recent": [exam_line(e) for e in exams]}))
    else:
        _print(counts, exams)


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


def _print(counts: Status, exams: tuple[ExamSummary, ...]) -> None:
    console = Console()
    for title, by_state in (
        ("messages", counts.messages),
        ("ECGs", counts.exams),
        ("deliveries", counts.deliveries),
        ("refusals", counts.refusals),
    ):
        told = ", ".join(f"{name} {count}" for name, count in sorted(by_state.items()))
        console.print(f"{title:>11}: {told or 'none'}", highlight=False)
    if counts.conflicts:
        console.print(
            f"  conflicts: {counts.conflicts} messages share a control id", highlight=False
        )
    if counts.oldest_waiting_s is not None:
        console.print(f"    waiting: oldest for {counts.oldest_waiting_s:.0f} s", highlight=False)
    if exams:
        table = Table("received", "control id", "state", "quality", "anomaly", "flagged", "id")
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
