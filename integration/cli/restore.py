"""`hisbundle restore`: the way back from a backup."""

import json
import sys
from dataclasses import asdict
from pathlib import Path

import click

import db.backup
from db.migrate import upgrade
from integration.cli.access import needs
from integration.cli.backup import note
from integration.config import load_settings
from integration.database import open_store
from integration.security.roles import Role


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option("--yes", is_flag=True, help="do not ask")
@click.option("--json", "as_json", is_flag=True, help="print one JSON object")
@needs(Role.ADMIN)
def restore(*, file: Path, yes: bool, as_json: bool) -> None:
    """Put the backup FILE in the database's place, once every process is stopped.

    A SQLite file that is there is set aside, a PostgreSQL database has to be empty. Brings the copy
    to this version's schema and verifies its audit log; ends with 1 when that is broken.
    """
    if not yes:
        click.confirm("Is every listener and worker stopped?", abort=True, err=True)
    settings = load_settings()
    aside = db.backup.restore(settings.database, file)
    upgrade(settings.database)
    store = open_store(settings)
    try:
        while store.seal_audit():
            pass
        told = store.verify_audit()
        note(store, {"restored": str(file)})
    finally:
        store.close()
    if as_json:
        click.echo(json.dumps({"aside": aside and str(aside), "audit": asdict(told)}))
    else:
        audit = "unbroken" if told.fault is None else f"{told.fault} at entry {told.broken_at}"
        click.echo(f"restored; audit log: {told.entries} entries, {audit}")
        click.echo(f"what was there: {aside or 'nothing'}")
    sys.exit(int(told.fault is not None))
