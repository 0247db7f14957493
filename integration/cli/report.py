"""`hisbundle report`: what clinicians make of reports, where no EHR tells it."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import click

from db.reviews import Decision, Review, Reviewer
from integration.cli.access import needs
from integration.cli.database import opened
from integration.review import Reviews
from integration.security.roles import Role, account

_json = click.option("--json", "as_json", is_flag=True, help="print JSON")


@click.group()
def report() -> None:
    """Confirm, override or reject a report, or show its versions.

    Each decision makes a version, which goes where the one before it went; the workers' sweep
    sends it. The operating system's user stands in the audit log.
    """


@report.command()
@click.argument("ecg", type=click.UUID)
@_json
@needs(Role.VIEWER)
def show(*, ecg: UUID, as_json: bool) -> None:
    """Show the versions of a report: status, when, who; no patient data."""
    with opened() as (_, store):
        versions = store.version_summaries(ecg)
        ends = store.deliveries_of(ecg)
    if not versions:
        raise click.ClickException("there is no report with this id")
    told = [
        {
            "version": version.version,
            "status": version.status,
            "at": version.issued_at.isoformat(" ", "seconds"),
            "by": version.reviewer,
            "sent": {e.destination: e.state for e in ends if e.version == version.version},
        }
        for version in versions
    ]
    click.echo(json.dumps(told) if as_json else "\n".join(map(_line, told)))


def _line(told: Mapping[str, Any]) -> str:
    by = f" by {told['by']}" if told["by"] else ""
    sent = ", ".join(f"{name} {state}" for name, state in told["sent"].items())
    start = f"{told['version']}  {told['status']}  {told['at']}{by}"
    return f"{start}  {sent or 'sent nowhere'}"


def _decision(decision: Decision, words: str, *, needs_text: bool) -> click.Command:
    @click.argument("ecg", type=click.UUID)
    @click.option(
        "--by", required=True, help="the clinician's identifier, as VALUE or SYSTEM|VALUE"
    )
    @click.option("--name", help="how they are named on the page")
    @click.option("--text", required=needs_text, help=words)
    @click.option("--version", type=int, help="the version that was looked at; else the newest")
    @_json
    @needs(Role.OPERATOR)
    def decide(
        *,
        ecg: UUID,
        by: str,
        name: str | None,
        text: str | None,
        version: int | None,
        as_json: bool,
    ) -> None:
        system, _, value = by.rpartition("|")
        reviewer = Reviewer(None, system or None, value, name)
        review = Review(decision, reviewer, datetime.now(UTC), text or "")
        with opened() as (_, store):
            actor = f"cli:{account()}"
            made = Reviews(store, None).decide(ecg, review, actor=actor, expected=version)
        told = {"version": made.version, "status": made.status}
        click.echo(json.dumps(told) if as_json else f"version {made.version}: {made.status}")

    decide.__doc__ = {
        Decision.CONFIRM: "Confirm a report as it stands: it becomes final.",
        Decision.OVERRIDE: "Override a report with another conclusion: amended, or corrected.",
        Decision.REJECT: "Reject a report: it becomes entered-in-error.",
    }[decision]
    return click.command(decision.value)(decide)


for _one, _words in (
    (Decision.CONFIRM, "a note"),
    (Decision.OVERRIDE, "the clinician's conclusion"),
    (Decision.REJECT, "why"),
):
    report.add_command(_decision(_one, _words, needs_text=_one is Decision.OVERRIDE))
