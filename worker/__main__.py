"""`python -P -m worker`: one Celery worker with its sweep. `hisbundle worker` runs this."""

import argparse
import logging
import os
import signal
import sys
import threading
import warnings
from functools import partial

from celery import Celery, signals
from celery.platforms import SecurityWarning

from db.store import Store
from integration import logs
from integration.config import Settings, load_settings
from integration.database import open_store
from integration.queue import make_celery, queue_depth, ring_now
from model.errors import HisbundleError
from worker.context import Context
from worker.heartbeat import Heartbeat
from worker.sweep import Doorbell, Sweeper
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
        logs.set_up(settings.log_level, settings.log_format)
        store = open_store(settings)
        store.close()  # its connections: processes fork from here, and it opens others
    except HisbundleError as error:
        sys.stderr.write(f"hisbundle worker: {error}\n")
        return 2
    if arguments.stop_with_stdin:
        threading.Thread(target=_stop_with_stdin, daemon=True).start()
    return _work(settings, store)


def _work(settings: Settings, store: Store) -> int:
    celery = make_celery(settings)
    context = Context(settings, celery)
    register(celery, context)
    pool = settings.worker.pool or ("threads" if settings.embedded else "prefork")
    if pool == "prefork":
        signals.worker_process_init.connect(lambda **_: context.warm_up(), weak=False)
    else:
        context.warm_up()
    sweeper = _sweeper(settings, store, celery)
    signals.worker_ready.connect(lambda **_: sweeper.start(), weak=False)
    signals.worker_shutting_down.connect(lambda **_: sweeper.stop(), weak=False)
    # Its words about running as root are about pickled tasks; ours are JSON.
    warnings.simplefilter("ignore", SecurityWarning)
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


def _sweeper(settings: Settings, store: Store, celery: Celery) -> Sweeper:
    """Return the sweep with a store of its own: the pool's processes fork from here.

    Embedded, the sweep is the doorbell, so it looks often; and the queue was lost with the last
    worker, so at its start everything that waits is rung at once.
    """
    worker, embedded = settings.worker, settings.embedded
    return Sweeper(
        store,
        Doorbell(lambda: queue_depth(celery), partial(ring_now, celery)),
        interval_s=worker.sweep_interval_s or (0.05 if embedded else 5.0),
        grace_s=worker.ring_grace_s,
        first_grace_s=0.0 if embedded else worker.ring_grace_s,
        critical=settings.critical,
        heartbeat=Heartbeat(settings.heartbeat_file),
        silent=settings.mode == "silent",
    )


def _stop_with_stdin() -> None:
    while os.read(0, 4096):  # not sys.stdin: its lock would be held while Python shuts down
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
