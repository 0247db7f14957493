"""`hisbundle encryption`: what the database is sealed with, and bringing it under new keys."""

import json
from dataclasses import asdict

import click

from db.keys import INDEX, SEAL, KeyUse
from integration.cli.access import needs
from integration.cli.database import opened
from integration.cli.progress import by_ones, progress
from integration.cli.tables import listing, screen
from integration.security.keys import new_key
from integration.security.roles import Role, account

_json = click.option("--json", "as_json", is_flag=True, help="print one JSON object")


@click.group()
def encryption() -> None:
    """Look after the keys that messages and identifiers are sealed with (`[encryption]`).

    To exchange keys: put a new one behind the old one and restart every process; put it first and
    restart them again; run `rotate`; take away what it says is not needed any more, and keep that
    as long as any backup from before. Encryption is turned on the same way, from no key to one.
    """


@encryption.command()
@click.argument("id_", metavar="ID")
def key(*, id_: str) -> None:
    """Print the lines of a fresh pair of keys, for the key file: nobody else has them."""
    click.echo("\n".join(new_key(kind, id_) for kind in (SEAL, INDEX)))


@encryption.command()
@_json
@needs(Role.ADMIN)
def status(*, as_json: bool) -> None:
    """Count what is under each key and what is plain; reads through the whole database."""
    with opened() as (_, store):
        uses = store.key_uses()
    if as_json:
        click.echo(json.dumps([asdict(use) for use in uses]))
        return
    table = listing("kind", "key", "values")
    for use in uses:
        table.add_row(use.kind, use.id or "none: plain", str(use.count))
    screen().print(table)


@encryption.command()
@click.option("--vacuum", is_flag=True, help="wipe what SQLite's free pages still hold of it")
@_json
@needs(Role.ADMIN)
def rotate(*, vacuum: bool, as_json: bool) -> None:
    """Bring everything under the first keys, while all goes on; killed, it goes on where it was."""
    with opened() as (_, store):
        with progress("rotate", max(store.sealable_rows(), 1)) as advance:
            changed = store.reseal(by_ones(advance))
        if vacuum:
            store.vacuum()
        unneeded = store.forget_keys(account())
    if as_json:
        click.echo(json.dumps({"changed": changed, "unneeded": [_name(use) for use in unneeded]}))
        return
    click.echo(f"{changed} rows changed")
    for use in unneeded:
        click.echo(f"{_name(use)} is not needed any more by this database, only by older backups")


def _name(use: KeyUse) -> str:
    return f"{use.kind} {use.id}"
