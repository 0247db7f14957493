"""`hisbundle migrate`."""

import click

from db.migrate import upgrade
from integration.config import load_settings


@click.command()
def migrate() -> None:
    """Bring the database to the schema of this version.

    Safe to repeat. The embedded default does it by itself at start.
    """
    upgrade(load_settings().database)
    click.echo("database is up to date")
