"""`hisbundle streams`."""

import json
from datetime import datetime
from uuid import UUID

import click

from db.streaming import Window
from integration.cli.access import needs
from integration.cli.moments import Moment
from integration.config import load_settings
from integration.database import open_store
from integration.security.roles import Role
from model.findings import RHYTHM_NAMES


@click.command()
@click.option("--patient", help="identifier of the patient")
@click.option("--rhythm", type=click.Choice(list(RHYTHM_NAMES)), help="that the windows show")
@click.option("--since", type=Moment(), help="no window before this; UTC if without a zone")
@click.option("--until", type=Moment(), help="no window from this on")
@click.option("--last", default=50, show_default=True, help="newest windows to list")
@click.option("--json", "as_json", is_flag=True, help="print one JSON object")
@needs(Role.VIEWER)
def streams(
    *,
    patient: str | None,
    rhythm: str | None,
    since: datetime | None,
    until: datetime | None,
    last: int,
    as_json: bool,
) -> None:
    """Show windows of continuous recordings, the newest first; no patient data."""
    store = open_store(load_settings())
    try:
        found = store.find_windows(
            patient=patient,
            flag=rhythm,
            since=since,
            until=until,
            limit=last,
        )
    finally:
        store.close()
    told = [_told(stream_id, window) for stream_id, window in found]
    if as_json:
        click.echo(json.dumps({"windows": told}))
        return
    for one in told:
        click.echo("  ".join(map(str, one.values())))


def _told(stream_id: UUID, window: Window) -> dict[str, object]:
    return {
        "stream": str(stream_id),
        "start": window.start.isoformat(timespec="milliseconds"),
        "verdict": window.verdict,
        "heart_rate_bpm": window.heart_rate_bpm and round(window.heart_rate_bpm, 1),
        "beats": "".join(aami_class for _, aami_class in window.beats),
        "rhythms": ",".join(dict.fromkeys(r.code for r in window.rhythms)),
    }
