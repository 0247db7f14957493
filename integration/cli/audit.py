"""`hisbundle audit`: verify the chain, tell its head, export entries."""

import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import datetime
from uuid import UUID

import click

from db.errors import StoreUnavailable
from db.store import Store
from integration.cli.access import needs
from integration.cli.moments import Moment
from integration.config import load_settings
from integration.database import open_store
from integration.security.roles import Role

_HEAD = re.compile(r"(\d{1,18}):([0-9a-f]{64})")


@click.group()
def audit() -> None:
    """Prove afterwards what was decided, sent, confirmed and looked at.

    The log is append-only and chained by hashes: `verify` finds what was changed or taken out.
    """


@audit.command()
@click.option("--head", help="a head noted elsewhere, as NUMBER:SHA256; shows a cut-off end too")
@click.option("--json", "as_json", is_flag=True, help="print one JSON object")
@needs(Role.VIEWER)
def verify(*, head: str | None, as_json: bool) -> None:
    """Walk along the whole chain; exit code 1 when it is broken."""
    kept = _parse_head(head) if head else None
    with _store() as store:
        with suppress(StoreUnavailable):  # who may only read it leaves that to the workers
            while store.seal_audit():
                pass
        told = store.verify_audit(kept)
    if as_json:
        click.echo(json.dumps(asdict(told)))
    elif told.fault is None:
        click.echo(f"{told.entries} entries, unbroken; head {told.head[0]}:{told.head[1]}")
    else:
        click.echo(f"broken at entry {told.broken_at}: {told.fault}; {told.entries} entries read")
    if told.fault is not None:
        sys.exit(1)


@audit.command()
@click.option("--json", "as_json", is_flag=True, help="print one JSON object")
@needs(Role.VIEWER)
def head(*, as_json: bool) -> None:
    """Print number and hash of the last entry, to be kept where nobody here can write."""
    with _store() as store:
        number, sha256 = store.audit_head()
    told = {"number": number, "sha256": sha256}
    click.echo(json.dumps(told) if as_json else f"{number}:{sha256}")


@audit.command()
@click.option("--since", type=Moment(), help="first moment, UTC if without a zone")
@click.option("--until", type=Moment(), help="moment after the last one")
@click.option("--ecg", type=click.UUID, help="entries on this ECG alone")
@needs(Role.ADMIN)
def export(*, since: datetime | None, until: datetime | None, ecg: UUID | None) -> None:
    """Print sealed entries as FHIR AuditEvents, one JSON object a line."""
    from integration.fhir.audit import audit_event  # noqa: PLC0415 - help stays quick

    with _store() as store:
        for entry in store.audit_entries(since=since, until=until, exam_id=ecg):
            click.echo(json.dumps(audit_event(entry), separators=(",", ":")))


@contextmanager
def _store() -> Iterator[Store]:
    store = open_store(load_settings())
    try:
        yield store
    finally:
        store.close()


def _parse_head(text: str) -> tuple[int, str]:
    found = _HEAD.fullmatch(text)
    if found is None:
        raise click.BadParameter("give NUMBER:SHA256, as `hisbundle audit head` prints it")
    return int(found[1]), found[2]
