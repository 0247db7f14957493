"""The command line `hisbundle`: one file a command, imported only when it is called."""

import sys
from importlib import import_module

import click

from model.errors import HisbundleError

_COMMANDS = {
    "bench": "measure how long the parts take on this machine",
    "demo": "send ECGs through the whole product and print what came out",
    "evaluate": "measure a model bundle on a labelled data set",
    "export": "write a trained bundle's network as graphs for the runtime",
    "migrate": "bring the database to the schema of this version",
    "score": "score ECG files without a server",
    "send": "send messages as a hospital system would",
    "serve": "run the listeners (and, without a broker, a worker)",
    "status": "show what arrived and what became of it",
    "train": "train the resting 12-lead network",
    "worker": "run a Celery worker",
}


class _LazyGroup(click.Group):
    """Imports a command when it is called: help stays quick, torch stays away."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in alphabetical order."""
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command, or None."""
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"integration.cli.{cmd_name}"), cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands' one-line helps without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(sorted(_COMMANDS.items()))


@click.group(cls=_LazyGroup)
@click.version_option(package_name="hisbundle")
def cli() -> None:
    """ECGs from hospital messages, scored and explained, back as FHIR DiagnosticReports.

    Settings come from the environment (HISBUNDLE_MLLP__PORT=...) over a TOML file
    (hisbundle.toml here, or the file named by HISBUNDLE_CONFIG).
    """


def main() -> None:
    """Run a command; a fault that has a reason code ends with one line, not a traceback."""
    try:
        cli()
    except HisbundleError as error:
        click.echo(f"hisbundle: {error}", err=True)
        sys.exit(2)
