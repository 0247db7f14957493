"""`hisbundle replay`: doing a step again for what a filter selects."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from uuid import UUID

import click

from db.filters import nameless, parse_filter
from db.replays import Replay, ReplayState, Stage
from db.store import Store
from integration.cli.access import actor_option, needs
from integration.cli.compare import compare
from integration.cli.database import opened
from integration.cli.progress import by_ones, progress
from integration.cli.tables import listing, screen
from integration.config import Settings
from integration.fhir_intake import FhirIntake
from integration.intake import Hl7Intake
from integration.replay import Replayer, fhir_reader, hl7_reader
from integration.review import Reviews
from integration.security.roles import Role
from integration.senders import senders_of

_stage = click.option(
    "--stage",
    type=click.Choice([s.value for s in Stage]),
    required=True,
    help="decode refused messages, score failed ECGs, or deliver reports that did not arrive",
)
_json = click.option("--json", "as_json", is_flag=True, help="print JSON")
_rate = click.option(
    "--rate", type=click.FloatRange(min=0, min_open=True), help="at most so many a second"
)


@click.group()
def replay() -> None:
    """Do a step again for what a filter selects, once its cause is mended.

    A filter has terms such as

      refusal:lead-* sender:CART* received>=2026-11-01 destination:fhir

    over the fields message-state, protocol, sender, control-id, refusal, received; state, reason,
    patient, order, acquired; score, model, type; destination, delivery-state, answer; and text,
    which looks into the messages themselves. Commas part alternatives, * stands for anything, a
    leading - negates. Doing it twice does nothing twice.
    """


replay.add_command(compare)


@replay.command()
@click.argument("filter_", metavar="FILTER")
@_stage
@click.option("--limit", default=20, show_default=True, help="ids to show")
@_json
@needs(Role.VIEWER)
def preview(*, filter_: str, stage: str, limit: int, as_json: bool) -> None:
    """Tell how many a replay would take, and the first of them; nothing is changed."""
    with _opened() as (_, store, replayer):
        ids = [str(id_) for id_ in replayer.preview(filter_, Stage(stage), limit)]
        count = store.count_replayable(parse_filter(filter_), Stage(stage))
    if as_json:
        click.echo(json.dumps({"matched": count, "first": ids}))
    else:
        click.echo("\n".join([f"{count} match", *ids]))


@replay.command()
@click.argument("filter_", metavar="FILTER")
@_stage
@_rate
@click.option("--yes", is_flag=True, help="do not ask")
@actor_option
@_json
@needs(Role.OPERATOR)
def run(
    *, filter_: str, stage: str, rate: float | None, yes: bool, actor: str, as_json: bool
) -> None:
    """Do the step again; ends with 1 when some are as before."""
    with _opened() as (_, store, replayer):
        count = store.count_replayable(parse_filter(filter_), Stage(stage))
        if not yes:
            click.confirm(f"{stage} {count} again?", abort=True, err=True)
        started = replayer.begin(filter_, Stage(stage), actor)
        click.echo(f"replay {started.id}", err=True)
        _go_on(replayer, started, rate, as_json=as_json)


@replay.command()
@click.argument("id_", metavar="ID", type=click.UUID)
@_rate
@_json
@needs(Role.OPERATOR)
def resume(*, id_: UUID, rate: float | None, as_json: bool) -> None:
    """Go on with one that was paused or killed."""
    with _opened() as (_, store, replayer):
        _change(store, id_, ReplayState.RUNNING)
        _go_on(replayer, store.replay(id_), rate, as_json=as_json)


@replay.command()
@click.argument("id_", metavar="ID", type=click.UUID)
@needs(Role.OPERATOR)
def pause(*, id_: UUID) -> None:
    """Let one that runs elsewhere stop after its piece, to be resumed."""
    with _opened() as (_, store, _replayer):
        _change(store, id_, ReplayState.PAUSED)


@replay.command()
@click.argument("id_", metavar="ID", type=click.UUID)
@needs(Role.OPERATOR)
def cancel(*, id_: UUID) -> None:
    """End one for good; what it has done stays done."""
    with _opened() as (_, store, _replayer):
        _change(store, id_, ReplayState.CANCELLED)


@replay.command("list")
@click.option("--last", default=20, show_default=True, help="newest replays to list")
@_json
@needs(Role.VIEWER)
def list_(*, last: int, as_json: bool) -> None:
    """List who replayed what, when, and what came of it; patients are left out."""
    with _opened() as (_, store, _replayer):
        found = store.replays(last)
    if as_json:
        click.echo(json.dumps([_plain(one) for one in found]))
        return
    table = listing("id", "at", "by", "stage", "filter", "state", "matched", "done", "as before")
    for one in found:
        table.add_row(
            str(one.id),
            f"{one.created_at:%Y-%m-%d %H:%M}",
            one.actor,
            one.stage,
            one.filter,
            one.state,
            *(str(n) for n in (one.matched, one.succeeded, one.failed)),
        )
    screen().print(table)


@contextmanager
def _opened() -> Iterator[tuple[Settings, Store, Replayer]]:
    with opened() as (settings, store):
        yield settings, store, replayer_of(settings, store)


def replayer_of(settings: Settings, store: Store) -> Replayer:
    """Return what replays; no worker is rung, its sweep looks by itself."""
    reviews = Reviews(store, None)
    readers = {
        "mllp": hl7_reader(Hl7Intake(store, None, senders_of(settings), reviews=reviews)),
        "fhir": fhir_reader(
            FhirIntake(store, None, reviews=reviews, look=store.answers_to, zone=settings.zone)
        ),
    }
    return Replayer(store, readers)


def _go_on(replayer: Replayer, started: Replay, rate: float | None, *, as_json: bool) -> None:
    left = max(1, started.matched - started.succeeded - started.failed)
    with progress(started.stage, left) as advance:
        ended = replayer.run(started, rate_per_s=rate, told=by_ones(advance))
    if as_json:
        click.echo(json.dumps(_plain(ended)))
    else:
        click.echo(f"{ended.state}: {ended.succeeded} done, {ended.failed} as before")
    if ended.failed:
        sys.exit(1)


def _change(store: Store, id_: UUID, state: ReplayState) -> None:
    store.replay(id_)
    if not store.set_replay_state(id_, state, datetime.now(UTC)):
        raise click.ClickException("this replay has ended")


def _plain(one: Replay) -> dict[str, object]:
    """Return a replay without what its filter may say of patients: viewers see it."""
    values = asdict(one) | {"filter": nameless(one.filter)}
    return {name: str(v) if isinstance(v, UUID | datetime) else v for name, v in values.items()}
