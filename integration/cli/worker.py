"""`hisbundle worker`."""

import os
import sys
import time
from pathlib import Path

import click

from integration.config import load_settings
from integration.supervisor import WORKER_COMMAND

STALE_S = 60.0  # a heartbeat that is older is none


@click.command()
@click.option(
    "--check", is_flag=True, help="Only tell whether the worker of these settings lives; 1: no."
)
def worker(*, check: bool) -> None:
    """Run a Celery worker: it scores ECGs and delivers reports until SIGTERM.

    Start one on each machine once database_url and broker_url are set; `concurrency` under
    [worker] says how many ECGs it reads at the same time.
    """
    if check:
        file = load_settings().heartbeat_file
        if not _beats(file):
            raise click.ClickException(f"no sign of life in the last {STALE_S:.0f} s: {file}")
        click.echo("alive")
        return
    sys.stdout.flush()
    os.execv(WORKER_COMMAND[0], WORKER_COMMAND)  # noqa: S606 - the interpreter we run in


def _beats(file: Path) -> bool:
    try:
        return time.time() - file.stat().st_mtime < STALE_S
    except OSError:
        return False
