"""`hisbundle backup` and `hisbundle restore`."""

import json
from datetime import UTC, datetime
from pathlib import Path

import click

from db.audit import AuditEntry, AuditKind
from db.backup import back_up
from db.store import Store
from integration.cli.access import needs
from integration.cli.database import opened
from integration.security.roles import Role, account

_json = click.option("--json", "as_json", is_flag=True, help="print one JSON object")


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@_json
@needs(Role.ADMIN)
def backup(*, file: Path, as_json: bool) -> None:
    """Copy the whole database into FILE while everything goes on; only its owner may read it.

    PostgreSQL needs pg_dump. The keys of `[encryption]` are not in it: keep them elsewhere.
    """
    with opened() as (settings, store):
        head = ":".join(map(str, store.audit_head()))
        back_up(settings.database, file)
        note(store, {"backup": str(file)})
    size = file.stat().st_size
    told = {"file": str(file), "bytes": size, "audit_head": head}
    if as_json:
        click.echo(json.dumps(told))
    else:
        click.echo(f"{file}: {size / 2**20:.1f} MiB; audit head {head} is in it")


def note(store: Store, content: dict[str, object]) -> None:
    """Write an administrator's act into the audit log."""
    entry = AuditEntry(AuditKind.OPERATION, datetime.now(UTC), account(), None, content)
    store.record_audit(entry)
