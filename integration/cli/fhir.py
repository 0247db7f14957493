"""`hisbundle fhir`: what is read from FHIR servers."""

import json
from datetime import datetime
from typing import Any

import click
from rich.table import Table

from db.leases import SourceState
from db.store import Store
from integration.cli.access import needs
from integration.cli.tables import screen
from integration.config import Settings, load_settings
from integration.database import open_store
from integration.security.roles import Role


@click.group()
def fhir() -> None:
    """Look after FHIR servers that ECGs are read from."""


@fhir.command()
@click.option("--json", "as_json", is_flag=True, help="print one JSON object")
@needs(Role.VIEWER)
def sources(*, as_json: bool) -> None:
    """Show how far each source is read, what went wrong last, what its subscriptions said."""
    settings = load_settings()
    store = open_store(settings)
    try:
        told = [_source(store, settings, name) for name in settings.sources]
    finally:
        store.close()
    if as_json:
        click.echo(json.dumps({"sources": told}))
    else:
        _print(told)


def _source(store: Store, settings: Settings, name: str) -> dict[str, Any]:
    state = store.source_states().get(name, SourceState(None, None, None))
    cursors = store.source_cursors()
    return {
        "name": name,
        "base_url": settings.sources[name].base_url,
        "read_at": _iso(state.read_at),
        "due_at": _iso(state.due_at),
        "problem": state.problem,
        "queries": {
            query: _iso(cursors.get((name, query))) for query in settings.sources[name].queries
        },
        "subscriptions": [
            {
                "subscription": heard.subscription,
                "last_event": heard.last_event,
                "missed": heard.missed,
                "heard_at": _iso(heard.heard_at),
            }
            for heard in store.subscribed()
            if heard.source == name
        ],
    }


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(timespec="seconds")


def _print(sources: list[dict[str, Any]]) -> None:
    console = screen()
    if not sources:
        console.print("no [sources.NAME] in the settings")
    for source in sources:
        table = Table("", "", title=f"{source['name']}: {source['base_url']}", title_justify="left")
        table.show_header = False
        table.add_row("read at", source["read_at"] or "never")
        table.add_row("next", source["due_at"] or "now")
        table.add_row("problem", source["problem"] or "none")
        for query, cursor in source["queries"].items():
            table.add_row(query, f"taken up to {cursor}" if cursor else "not read yet")
        for heard in source["subscriptions"]:
            words = f"event {heard['last_event']}, {heard['missed']} missed, {heard['heard_at']}"
            table.add_row(heard["subscription"], words)
        console.print(table)
