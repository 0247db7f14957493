"""Reads FHIR servers when their turn has come; of several listeners one at a time each.

Whether it has come stands in the database and is looked up every second: a notification that
another listener took makes it come, and the turn of a listener that died goes to the next.
"""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

from db.errors import StoreUnavailable
from db.store import Store
from integration.errors import TryLater
from integration.fhir.settings import SourceSettings
from integration.fhir.smart import SmartAuth
from integration.fhir.source_client import SourceClient
from integration.fhir_intake import FhirIntake
from integration.fhir_source import FhirSource, Reading
from model.errors import HisbundleError

LEASE_S = 120.0  # longer than a page takes; it is kept before each
_LOOK_S = 1.0
_log = logging.getLogger(__name__)


class Poller:
    """Turns at one source."""

    def __init__(self, source: FhirSource, store: Store, settings: SourceSettings) -> None:
        """Take whom to read, who has the turns, and how often to."""
        self.source, self._store, self._settings = source, store, settings
        self._holder: UUID = uuid4()
        self._stopping = threading.Event()
        self._silent: set[str] = set()

    async def run(self, stop: asyncio.Event) -> None:
        """Take turns until `stop` is set; a reading that goes on ends after its page."""
        while not stop.is_set():
            turn = asyncio.create_task(asyncio.to_thread(self.turn))
            waiting = asyncio.create_task(stop.wait())
            await asyncio.wait({turn, waiting}, return_when=asyncio.FIRST_COMPLETED)
            if stop.is_set():
                self._stopping.set()
            await turn
            waiting.cancel()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _LOOK_S)

    def turn(self) -> bool:
        """Read the source if it is this process's turn; return whether it was."""
        name = self.source.name
        try:
            if not self._store.take_source(name, self._holder, self._store.clock(), LEASE_S):
                return False
            pause_s, problem = self._read()
            now = self._store.clock()
            due_at = now + timedelta(seconds=pause_s)
            self._store.release_source(name, self._holder, now, due_at, problem)
            self._watch()
        except StoreUnavailable as error:
            _log.error("source %s not read reason=%s", name, error.reason)
            return False
        return True

    def _read(self) -> tuple[float, str | None]:
        """Return seconds until the next reading, and what went wrong."""
        try:
            taken = self.source.poll(self._goes_on)
        except StoreUnavailable:
            raise
        except TryLater as error:
            _log.warning("source %s cannot be read now: %s", self.source.name, error)
            return max(error.retry_after_s or 0.0, self._settings.interval_s), error.reason
        except HisbundleError as error:
            _log.error("source %s cannot be read: %s", self.source.name, error)
            return self._settings.interval_s, error.reason
        except Exception:  # noqa: BLE001 - whatever a server sends
            # The turn ends as every other, or nobody would read this source until its lease ends.
            _log.exception("reading of source %s broke", self.source.name)
            return self._settings.interval_s, "internal-error"
        return (self._settings.settle_s + 1 if taken.unsettled else self._settings.interval_s), None

    def _goes_on(self) -> bool:
        name, now = self.source.name, self._store.clock()
        return not self._stopping.is_set() and self._store.keep_source(
            name, self._holder, now, LEASE_S
        )

    def _watch(self) -> None:
        """Tell of subscriptions whose heartbeat stays away, once for each silence."""
        if self._settings.heartbeat_s is None:
            return
        before = self._store.clock() - timedelta(seconds=self._settings.heartbeat_s)
        heard = [s for s in self._store.subscribed() if s.source == self.source.name]
        silent = {s.subscription for s in heard if s.heard_at < before}
        for subscription in silent - self._silent:
            # Nothing is lost: what it does not tell is found by reading.
            _log.error("source %s is silent subscription=%s", self.source.name, subscription)
        self._silent = silent


def pollers_of(
    settings: Mapping[str, SourceSettings], intake: FhirIntake, store: Store, keys: Path
) -> list[Poller]:
    """Return who reads each source.

    Args:
        settings: by name.
        intake: stores.
        store: has cursors and turns.
        keys: folder of our signing keys.

    Raises:
        ConfigError: `source-url-invalid`.
    """
    found = []
    for name, source in settings.items():
        url, timeout_s = source.base_url, source.timeout_s
        auth = SmartAuth(url, source.smart, keys, timeout_s=timeout_s) if source.smart else None
        client = SourceClient(url, token=source.token, auth=auth, timeout_s=timeout_s)
        reading = Reading(name, source.queries, source.overlap_s, source.settle_s, source.since)
        found.append(Poller(FhirSource(reading, client, intake, store), store, source))
    return found
