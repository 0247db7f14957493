"""`hisbundle dead-letters`: what has come to a halt, why, and what helps."""

import json
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from uuid import UUID

import click

from db.audit import AuditEntry, AuditKind
from db.dead_letters import Halted
from db.filters import Subject
from db.replays import Stage
from db.store import Store
from integration.cli.access import actor_option, needs
from integration.cli.database import opened
from integration.cli.replay import replayer_of
from integration.cli.tables import listing, screen
from integration.hints import hint, hint_of_delivery
from integration.security.roles import Role, account

_STAGE = {stage.subject: stage for stage in Stage}
_json = click.option("--json", "as_json", is_flag=True, help="print JSON")
_id = click.argument("id_", metavar="ID", type=click.UUID)


@click.group("dead-letters")
def dead_letters() -> None:
    """Look after what has come to a halt: refused messages, failed ECGs, undelivered reports.

    No patient data is shown; the bytes of a message are, with `show --raw`.
    """


@dead_letters.command("list")
@_json
@needs(Role.VIEWER)
def list_(*, as_json: bool) -> None:
    """List them by reason, with an example and what helps."""
    with opened() as (_, store):
        groups = store.halted()
    if as_json:
        click.echo(json.dumps([asdict(g) | {"hint": _hint_of(g)} for g in groups], default=str))
        return
    table = listing("what", "reason", "count", "newest", "example", "what helps", ids="example")
    for group in groups:
        table.add_row(
            group.subject,
            group.reason,
            str(group.count),
            f"{group.newest:%Y-%m-%d %H:%M}",
            str(group.example),
            _hint_of(group),
        )
    screen().print(table if groups else "nothing has come to a halt")


@dead_letters.command()
@_id
@click.option("--raw", is_flag=True, help="write the message's bytes instead: they name a patient")
@_json
@needs(Role.OPERATOR)
def show(*, id_: UUID, raw: bool, as_json: bool) -> None:
    """Show one message, ECG or delivery by its id."""
    with opened() as (_, store):
        letter = store.letter(id_)
        if raw:
            _note_access(store, id_)
            sys.stdout.buffer.write(store.message_raw(letter.message_id))
            return
    told = asdict(letter) | {"hint": _hint(letter.subject, letter.reason, letter.detail)}
    if as_json:
        click.echo(json.dumps(told, default=str))
    else:
        told["namesakes"] = " ".join(map(str, letter.namesakes)) or None
        click.echo("\n".join(f"{name:>12}: {value}" for name, value in told.items()))


@dead_letters.command()
@click.argument("ids", metavar="ID...", type=click.UUID, nargs=-1, required=True)
@_json
@needs(Role.OPERATOR)
def retry(*, ids: tuple[UUID, ...], as_json: bool) -> None:
    """Do the step again for some by their ids; for many at once see `hisbundle replay`."""
    with opened() as (settings, store):
        replayer = replayer_of(settings, store)
        done = {
            str(id_): bool(replayer.act(_STAGE[store.letter(id_).subject], [id_])) for id_ in ids
        }
    if as_json:
        click.echo(json.dumps(done))
    else:
        for id_, one in done.items():
            click.echo(f"{id_}: {'done' if one else 'as before'}")
    if not all(done.values()):
        sys.exit(1)


@dead_letters.command()
@_id
@click.option("--why", required=True, help="kept with it, and in the audit log")
@actor_option
@needs(Role.OPERATOR)
def discard(*, id_: UUID, why: str, actor: str) -> None:
    """Say that one needs no more looking at; nothing is deleted."""
    with opened() as (_, store):
        store.discard(id_, why, actor, datetime.now(UTC))


def _note_access(store: Store, id_: UUID) -> None:
    content = {"what": "message", "of": str(id_)}
    entry = AuditEntry(AuditKind.ACCESS, datetime.now(UTC), account(), None, content)
    store.record_audit(entry)


def _hint_of(group: Halted) -> str:
    return _hint(group.subject, group.reason, group.reason.partition(": ")[2])


def _hint(subject: Subject, reason: str | None, answer: str | None) -> str:
    return hint_of_delivery(answer) if subject is Subject.DELIVERY else hint(reason)
