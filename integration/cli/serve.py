"""`hisbundle serve`."""

import click

from integration import logs
from integration.config import load_settings


@click.command()
@click.option(
    "--worker/--no-worker",
    "with_worker",
    default=None,
    help="Also run a worker and keep it alive. By default only without a broker.",
)
def serve(*, with_worker: bool | None) -> None:
    """Run the listeners until SIGTERM or Ctrl-C.

    MLLP takes HL7 v2 messages; HTTP takes ECGs and serves reports as FHIR; Kafka topics and
    FHIR servers that the settings name are read. Without a broker configured a worker runs beside
    them, and the database is brought up to date at start.
    """
    from integration.server import run  # noqa: PLC0415 - help stays quick

    settings = load_settings()
    logs.set_up(settings.log_level, settings.log_format)
    run(settings, with_worker=settings.embedded if with_worker is None else with_worker)
