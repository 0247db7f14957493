"""The command line `hisbundle`: one file a command, imported only when it is called."""

import keyword
import sys
from importlib import import_module

import click

from integration.cli.examples import with_examples
from model.errors import HisbundleError

_COMMANDS = {
    "audit": "prove what was decided, sent, confirmed and looked at",
    "backup": "copy the whole database into a file",
    "bench": "measure how long the parts take on this machine",
    "check": "tell whether this installation is fit for work",
    "dead-letters": "look after what has come to a halt",
    "demo": "send ECGs through the whole product and print what came out",
    "ecg": "find ECGs, show one, write them to files",
    "encryption": "look after the keys that the database is sealed with",
    "evaluate": "measure a model bundle on a labelled data set",
    "export": "write a trained bundle's network as graphs for the runtime",
    "fhir": "look after FHIR servers that ECGs are read from",
    "import": "take in an archive, behind whatever arrives live",
    "kafka": "look after the topics that are read",
    "keys": "make and show the keys that say who we are to FHIR servers",
    "migrate": "bring the database to the schema of this version",
    "model": "stop a version of a model, start it again",
    "replay": "do a step again for what a filter selects",
    "report": "confirm, override or reject a report; show its versions",
    "restore": "put a backup in the database's place",
    "retention": "let go of what is past its period; legal holds",
    "score": "score ECG files without a server",
    "send": "send messages as a hospital system would",
    "serve": "run the listeners (and, without a broker, a worker)",
    "status": "show what arrived and what became of it",
    "streams": "find windows of continuous recordings",
    "train": "train the resting network, or those of strips",
    "worker": "run a Celery worker",
}


def command(name: str) -> click.Command:
    """Return a command by its name; its module and its function are called after it."""
    python = name.replace("-", "_") + "_" * keyword.iskeyword(name)
    found: click.Command = getattr(import_module(f"integration.cli.{python}"), python)
    return with_examples(name, found)


class _LazyGroup(click.Group):
    """Imports a command when it is called: help stays quick, torch stays away."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in alphabetical order."""
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command, or None."""
        if cmd_name not in _COMMANDS:
            return None
        return command(cmd_name)

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
        away = error.reason == "store-unavailable"
        more = "; `hisbundle check` looks at the database" if away else ""
        click.echo(f"hisbundle: {error}{more}", err=True)
        sys.exit(2)
