"""`hisbundle check`: whether an installation is fit for work."""

import json
import sys
from dataclasses import asdict

import click
from rich.console import Console
from rich.text import Text

from integration.checks import Level, checks
from integration.cli.access import needs
from integration.config import load_settings
from integration.security.roles import Role

_COLOURS = {Level.OK: "green", Level.WARNING: "yellow", Level.FAULT: "red"}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="print a JSON array")
@click.option("--strict", is_flag=True, help="end with 1 at a warning too")
@needs(Role.VIEWER)
def check(*, as_json: bool, strict: bool) -> None:
    """Look at settings, database, room, broker, models, certificates, ports and destinations.

    Nothing is changed and nothing is sent. Ends with 0 when all is well, with 1 at a fault.
    """
    console = Console(highlight=False, soft_wrap=True)
    found = []
    for one in checks(load_settings()):
        found.append(one)
        if not as_json:
            level = Text(f"{one.level:>8}", style=_COLOURS[one.level])
            console.print(Text.assemble(level, f"  {one.name}: {one.words}"))
    if as_json:
        click.echo(json.dumps([asdict(one) for one in found]))
    wrong = {Level.FAULT, Level.WARNING} if strict else {Level.FAULT}
    sys.exit(int(any(one.level in wrong for one in found)))
