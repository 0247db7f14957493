"""The doorbell: Celery tasks by name, carrying ids only.

The database is the truth. A ring that is lost, because the broker is down or dies, is rung again
by the sweep; so a listener never waits for the broker and never fails because of it. Without a
broker the sweep, looking often, is the only one that rings: Celery then runs on a queue in the
worker's own memory. (kombu's queue of files was tried: its readers meet half-written files.)
"""

import logging
import queue
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from uuid import UUID

from amqp.exceptions import AMQPError
from celery import Celery
from kombu.exceptions import OperationalError

from integration.config import Settings

SCORE = "hisbundle.score"
DELIVER = "hisbundle.deliver"
READ_ON = "hisbundle.read_on"  # with a continuous recording
QUEUE = "hisbundle"

_PENDING_RINGS = 10_000
_START_S = 120.0  # a child of the pool loads the models first; after 4, Celery would kill it
_log = logging.getLogger(__name__)


def make_celery(settings: Settings) -> Celery:
    """Return the Celery application; nothing connects yet."""
    app = Celery("hisbundle", set_as_current=False)
    app.conf.update(
        broker_url=_broker_url(settings),
        broker_transport_options=_transport_options(settings),
        broker_connection_timeout=4,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        accept_content=["json"],
        task_serializer="json",
        task_ignore_result=True,
        task_default_queue=QUEUE,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_time_limit=settings.worker.time_limit_s,
        worker_prefetch_multiplier=1,
        worker_proc_alive_timeout=_START_S,
        worker_cancel_long_running_tasks_on_connection_loss=True,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        enable_utc=True,
    )
    return app


def _broker_url(settings: Settings) -> str:
    if settings.broker_url is not None:
        return settings.broker_url.get_secret_value()
    return "memory://localhost/"


def _transport_options(settings: Settings) -> dict[str, object]:
    url = _broker_url(settings)
    if url.startswith("redis"):
        # Redis hands an unacknowledged task out again only after these; the default is an hour.
        return {
            "visibility_timeout": int(settings.worker.time_limit_s * 2),
            "unacked_restore_interval": 5,
            "unacked_restore_throttle": 0,
        }
    if url.startswith("memory"):
        return {"polling_interval": 0.005}  # otherwise it looks only once a second
    return {"max_retries": 1, "interval_start": 0}


class Bell:
    """Rings tasks from one thread of its own, so that no caller waits for the broker."""

    def __init__(self, celery: Celery) -> None:
        self._celery = celery
        self._rings: queue.Queue[tuple[str, UUID] | None] = queue.Queue(_PENDING_RINGS)
        self._thread = threading.Thread(target=self._run, name="bell", daemon=True)
        self._thread.start()

    def ring(self, task: str, ids: Iterable[UUID]) -> None:
        """Ring `task` for each id, soon; what does not fit is left to the sweep."""
        for id_ in ids:
            try:
                self._rings.put_nowait((task, id_))
            except queue.Full:
                _log.warning("ring dropped task=%s id=%s", task, id_)

    def close(self, timeout_s: float = 5.0) -> None:
        """Ring what is still waiting, then stop."""
        try:
            self._rings.put(None, timeout=timeout_s)
        except queue.Full:
            return
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while (item := self._rings.get()) is not None:
            task, id_ = item
            try:
                ring_now(self._celery, task, id_)
            except (OperationalError, OSError) as error:
                _log.warning("ring lost task=%s id=%s error=%s", task, id_, type(error).__name__)


def ring_now(celery: Celery, task: str, *ids: UUID) -> None:
    """Put one task into the queue; that of scoring takes several ids.

    Raises:
        OperationalError: the broker cannot be reached, or does not let us in.
    """
    with _faults():
        celery.send_task(task, args=[str(id_) for id_ in ids], retry=False)


def queue_depth(celery: Celery) -> int:
    """Return how many tasks wait in the queue.

    Raises:
        OperationalError: the broker cannot be reached, or does not let us in.
    """
    with _faults(), celery.connection_for_write() as connection:
        connection.ensure_connection(max_retries=1, timeout=4)
        try:
            return int(connection.default_channel.queue_declare(QUEUE, passive=True).message_count)
        except connection.channel_errors:  # nobody has declared it yet
            return 0


@contextmanager
def _faults() -> Iterator[None]:
    """Raise as OperationalError also what kombu holds for final: a refusal by RabbitMQ.

    A limit of connections or a virtual host that is down ends some day.
    """
    try:
        yield
    except AMQPError as error:
        raise OperationalError(type(error).__name__) from error
