"""`hisbundle model`: the stop switch of each version of a model."""

import json
import re
from datetime import UTC, datetime

import click

from db.oversight import ModelStop
from integration.cli.access import actor_option, needs
from integration.cli.database import opened
from integration.security.roles import Role

_NAME = re.compile(r"[A-Za-z0-9._-]{1,90}@[A-Za-z0-9._+-]{1,90}")


@click.group()
def model() -> None:
    """Stop a version of a model, start it again, list what was used.

    A worker of which a model is stopped scores nothing, from its next ECG on: ECGs wait as
    `received`, until the model is started or another version is installed.
    """


@model.command("list")
@click.option("--json", "as_json", is_flag=True, help="print one JSON object")
@needs(Role.VIEWER)
def list_(*, as_json: bool) -> None:
    """List the versions that were used, with how many ECGs, and the stops in force."""
    with opened() as (_, store):
        used, stops = store.models_used(), {stop.model: stop for stop in store.model_stops()}
    names = sorted(used.keys() | stops.keys())
    if as_json:
        click.echo(
            json.dumps({name: _figures(used.get(name, 0), stops.get(name)) for name in names})
        )
        return
    for name in names:
        stop = stops.get(name)
        when = stop and stop.at.isoformat(" ", "seconds")
        told = f"  STOPPED {when} by {stop.actor}: {stop.why}" if stop else ""
        click.echo(f"{name}  {used.get(name, 0)} ECGs{told}")


def _figures(ecgs: int, stop: ModelStop | None) -> dict[str, object]:
    stopped = stop and {"at": stop.at.isoformat(), "by": stop.actor, "why": stop.why}
    return {"ecgs": ecgs, "stopped": stopped}


@model.command()
@click.argument("name")
@click.option("--why", required=True, help="stands in the audit log")
@actor_option
@needs(Role.OPERATOR)
def stop(*, name: str, why: str, actor: str) -> None:
    """Stop NAME@VERSION on all workers."""
    if not _NAME.fullmatch(name):
        raise click.BadParameter("give NAME@VERSION, as `hisbundle model list` prints it")
    with opened() as (_, store):
        store.stop_model(ModelStop(name, datetime.now(UTC), actor, why))
    click.echo(f"{name} is stopped")


@model.command()
@click.argument("name")
@actor_option
@needs(Role.OPERATOR)
def start(*, name: str, actor: str) -> None:
    """Let NAME@VERSION be used again."""
    with opened() as (_, store):
        store.start_model(name, actor, datetime.now(UTC))
    click.echo(f"{name} is started")
