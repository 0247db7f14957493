"""`hisbundle worker`."""

import os
import sys

import click

from integration.supervisor import WORKER_COMMAND


@click.command()
def worker() -> None:
    """Run a Celery worker: it scores ECGs and delivers reports until SIGTERM.

    Start as many as there are cores to give, on as many machines as there are, once
    database_url and broker_url are set.
    """
    sys.stdout.flush()
    os.execv(WORKER_COMMAND[0], WORKER_COMMAND)  # noqa: S606 - the interpreter we run in
