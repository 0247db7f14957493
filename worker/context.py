"""What tasks need, opened on first use in the process that uses it: nothing crosses a fork."""

import logging
from collections.abc import Mapping
from functools import cached_property

from celery import Celery

from db.store import Store
from integration.config import Settings
from integration.database import open_store
from integration.destinations import Destination, history_of, open_destination
from integration.queue import Bell
from model.assessor import Assessor
from worker.pipeline import Retry, Rules
from worker.watchdog import Watchdog

# What a report's requests may take of a task's time; the rest is for its page and our database.
_OF_TIME_LIMIT = 0.75
_log = logging.getLogger(__name__)


class Context:
    """One per process; `celery` is only needed to ring."""

    def __init__(self, settings: Settings, celery: Celery) -> None:
        self.settings = settings
        self._celery = celery

    @cached_property
    def store(self) -> Store:
        """The database."""
        return open_store(self.settings)

    @cached_property
    def assessor(self) -> Assessor:
        """The models; loading verifies their bundles."""
        own = self.settings
        return Assessor.load(
            own.model_path, own.strip_model_path, operating_point=own.operating_point
        )

    def stopped(self) -> bool:
        """Whether somebody has stopped a model of this worker; then it scores nothing."""
        stopped = {stop.model for stop in self.store.model_stops()}
        mine = [m for m in self.assessor.models if f"{m.name}@{m.version}" in stopped]
        for model in mine:
            _log.warning("model stopped model=%s@%s", model.name, model.version)
        return bool(mine)

    @property
    def silent(self) -> bool:
        """Whether nothing is sent."""
        return self.settings.mode == "silent"

    @cached_property
    def bell(self) -> Bell:
        """Rings follow-up tasks."""
        return Bell(self._celery)

    @cached_property
    def destinations(self) -> Mapping[str, Destination]:
        """Name -> what sends a report there."""
        given = self.settings.destinations
        keys, exclusively = self.settings.keys_folder, self.store.exclusively
        limit_s = _OF_TIME_LIMIT * self.settings.worker.time_limit_s
        return {
            name: open_destination(
                own, keys, exclusively, history_of(self.store, name), limit_s=limit_s
            )
            for name, own in given.items()
        }

    @cached_property
    def rules(self) -> Rules:
        """What becomes of an exam."""
        own = self.settings
        return Rules(
            destinations=tuple(own.destinations),
            max_attempts=own.worker.max_scoring_attempts,
            critical=own.critical,
            silent=self.silent,
        )

    @cached_property
    def retry(self) -> Retry:
        """The delivery rules; the lease outlives every request."""
        delivery = self.settings.delivery
        lease_s = 2 * self.settings.worker.time_limit_s
        return Retry(delivery.max_attempts, delivery.backoff_s, lease_s=lease_s)

    @cached_property
    def watchdog(self) -> Watchdog:
        """Ends this process when a task is stuck."""
        watchdog = Watchdog(self.settings.worker.time_limit_s)
        watchdog.start()
        return watchdog

    def warm_up(self) -> None:
        """Open what the first task would otherwise wait for, before threads race for it."""
        _ = (self.store, self.assessor, self.bell, self.destinations, self.retry, self.watchdog)
