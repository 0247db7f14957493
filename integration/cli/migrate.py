"""`hisbundle migrate`."""

import click

from db.migrate import upgrade
from integration.cli.access import needs
from integration.config import load_settings
from integration.security.roles import Role


@click.command()
@needs(Role.ADMIN)
def migrate() -> None:
    """Bring the database to the schema of this version.

    Safe to repeat. The embedded default does it by itself at start.
    """
    upgrade(load_settings().database)
    click.echo("database is up to date")
