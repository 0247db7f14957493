"""`hisbundle retention`: what goes when, and what has to stay."""

import json
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import click

from db.retention import Hold, Periods, Pruned
from integration.cli.access import actor_option, needs
from integration.cli.database import opened
from integration.config import RetentionSettings
from integration.security.roles import Role

_json = click.option("--json", "as_json", is_flag=True, help="print one JSON object")


@click.group()
def retention() -> None:
    """Let go of what is past its period, as the settings under [retention] say.

    What is still open goes never, errors by a period of their own, and what is held stays until it
    is released. That a message was here is known for ever, so that it makes no second ECG.
    """


@retention.command()
@_json
@needs(Role.VIEWER)
def show(*, as_json: bool) -> None:
    """Tell what `run` would let go; nothing is changed."""
    with opened() as (settings, store):
        due = store.prunable(_periods(settings.retention), datetime.now(UTC))
        size = store.database_bytes()
    _tell(due, size, as_json=as_json)


@retention.command()
@click.option("--vacuum", is_flag=True, help="give SQLite's freed space back to the disk")
@actor_option
@_json
@needs(Role.ADMIN)
def run(*, vacuum: bool, actor: str, as_json: bool) -> None:
    """Let go; to be run each night by the system's scheduler."""
    with opened() as (settings, store):
        gone = store.prune(_periods(settings.retention), datetime.now(UTC), actor)
        if vacuum:
            store.vacuum()
        size = store.database_bytes()
    _tell(gone, size, as_json=as_json)


@retention.command()
@click.option("--patient", help="identifier: every ECG of this patient")
@click.option("--ecg", type=click.UUID, help="this ECG")
@click.option("--why", required=True, help="kept with it, and in the audit log")
@actor_option
@_json
@needs(Role.ADMIN)
def hold(*, patient: str | None, ecg: UUID | None, why: str, actor: str, as_json: bool) -> None:
    """Keep what belongs to a patient or an ECG, whatever its age; prints the hold's id."""
    if (patient is None) == (ecg is None):
        raise click.UsageError("give --patient or --ecg")
    new = Hold(uuid4(), datetime.now(UTC), actor, why, patient, ecg)
    with opened() as (_, store):
        store.add_hold(new)
    click.echo(json.dumps({"id": str(new.id)}) if as_json else new.id)


@retention.command()
@click.argument("id_", metavar="ID", type=click.UUID)
@actor_option
@needs(Role.ADMIN)
def release(*, id_: UUID, actor: str) -> None:
    """End a hold."""
    with opened() as (_, store):
        store.release_hold(id_, actor, datetime.now(UTC))


@retention.command()
@_json
@needs(Role.VIEWER)
def holds(*, as_json: bool) -> None:
    """List the holds; patients are left out."""
    with opened() as (_, store):
        found = store.holds()
    told = [
        {
            "id": str(one.id),
            "at": one.at.isoformat(),
            "by": one.actor,
            "why": one.why,
            "of": "a patient" if one.exam_id is None else str(one.exam_id),
        }
        for one in found
    ]
    if as_json:
        click.echo(json.dumps(told))
    else:
        click.echo("\n".join("  ".join(one.values()) for one in told) or "nothing is held")


def _periods(settings: RetentionSettings) -> Periods:
    days = {name.removesuffix("_days"): n for name, n in settings.model_dump().items()}
    return Periods(**{name: None if n is None else timedelta(n) for name, n in days.items()})


def _tell(pruned: Pruned, size: int, *, as_json: bool) -> None:
    counts = asdict(pruned)
    if as_json:
        click.echo(json.dumps(counts | {"database_bytes": size}))
    else:
        told = ", ".join(f"{name} {count}" for name, count in counts.items() if count)
        click.echo(f"{told or 'nothing'}; the database has {size / 2**20:.0f} MiB")
