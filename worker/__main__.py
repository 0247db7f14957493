"""`python -P -m worker`: one Celery worker with its sweep. `hisbundle worker` runs this."""

import argparse
import logging
import os
import signal
import sys
import threading

from celery import signals

import db.migrate
from db.store import Store
from integration import logs
from integration.config import Settings, load_settings
from integration.queue import make_celery, ring_now
from model.errors import HisbundleError
from worker.context import Context
from worker.sweep import Sweeper
from worker.tasks import register

_log = logging.getLogger("worker")


def main(argv: list[str] | None = None) -> int:
    """Run until SIGTERM; finish the tasks under way."""
    parser = argparse.ArgumentParser(prog="python -P -m worker", description=__doc__)
    parser.add_argument(
        "--stop-with-stdin",
        action="store_true",
        help="end when standard input closes: a worker never outlives the process that started it",
    )
    arguments = parser.parse_args(argv)
    try:
        settings = load_settings()
        logs.set_up(settings.log_level)
        db.migrate.check(settings.database)
    except HisbundleError as error:
        sys.stderr.write(f"hisbundle worker: {error}\n")
        return 2
    if arguments.stop_with_stdin:
        threading.Thread(target=_stop_with_stdin, daemon=True).start()
    return _work(settings)


def _work(settings: Settings) -> int:
    celery = make_celery(settings)
    context = Context(settings, celery)
    register(celery, context)
    pool = settings.worker.pool or ("threads" if settings.embedded else "prefork")
    if pool == "prefork":
        signals.worker_process_init.connect(lambda **_: context.warm_up(), weak=False)
    else:
        context.warm_up()
    sweeper = Sweeper(
        Store.open(settings.database),  # its own: the pool's processes fork from here
        lambda task, id_: ring_now(celery, task, id_),
        settings.worker.sweep_interval_s,
        settings.worker.ring_grace_s,
    )
    signals.worker_ready.connect(lambda **_: sweeper.start(), weak=False)
    signals.worker_shutting_down.connect(lambda **_: sweeper.stop(), weak=False)
    worker = celery.Worker(
        pool=pool,
        concurrency=settings.worker.concurrency,
        without_gossip=True,
        without_mingle=True,
        quiet=True,
    )
    _log.info("worker starts pool=%s concurrency=%d", pool, settings.worker.concurrency)
    worker.start()
    return int(worker.exitcode or 0)


def _stop_with_stdin() -> None:
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
