"""The Celery tasks: ids in, one plain function each.

A task never raises: what went wrong is in the database or in the log, and the sweep rings an
unfinished exam or delivery again.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from uuid import UUID

from celery import Celery

from db.errors import StoreUnavailable
from integration.queue import DELIVER, READ_ON, SCORE
from worker.context import Context
from worker.monitoring import read_on
from worker.pipeline import deliver, score_exams

_log = logging.getLogger(__name__)


def register(celery: Celery, context: Context) -> None:
    """Bind the tasks to what they need."""

    @celery.task(name=SCORE)  # type: ignore[untyped-decorator]
    def score(*exam_ids: str) -> None:
        with _guarded(context, SCORE, *exam_ids):
            if context.stopped():
                return  # they wait, until the model is started or another one is installed
            ids = [UUID(exam_id) for exam_id in exam_ids]
            deliveries = score_exams(context.store, context.assessor, ids, context.rules)
            context.bell.ring(DELIVER, deliveries)

    @celery.task(name=DELIVER)  # type: ignore[untyped-decorator]
    def send(delivery_id: str) -> None:
        if context.silent:
            return
        with _guarded(context, DELIVER, delivery_id):
            deliver(context.store, context.destinations, UUID(delivery_id), context.retry)

    @celery.task(name=READ_ON)  # type: ignore[untyped-decorator]
    def monitor(stream_id: str) -> None:
        with _guarded(context, READ_ON, stream_id):
            if context.stopped():
                return
            exams = read_on(
                context.store,
                context.assessor.strips,
                context.settings.alarms.rules,
                UUID(stream_id),
                datetime.now(UTC),
                critical=context.settings.critical,
            )
            context.bell.ring(SCORE, exams)


@contextmanager
def _guarded(context: Context, task: str, *ids: str) -> Iterator[None]:
    with context.watchdog.watch():
        try:
            yield
        except StoreUnavailable as error:
            _log.warning("task put off task=%s id=%s reason=%s", task, ",".join(ids), error.reason)
        except Exception:  # noqa: BLE001 - the last resort of a task
            # Celery would log the exception's text, which may quote a message; ours does not.
            _log.exception("task broke task=%s id=%s", task, ",".join(ids))
