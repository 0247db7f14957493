"""A FHIR server that ECGs are read from, by polling, at once where it says that it has some.

What it says is a hint: it makes the next reading by `_lastUpdated` come at once, and that finds
whatever was told, also what a lost notification did not tell. Everything read becomes messages of
the store as if it had been posted, each ECG by itself; a query's cursor moves after their commit.
A version of a resource is taken once.
"""

import hashlib
import logging
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl

import orjson

from db.sources import SourceVersion
from db.store import Store
from integration.errors import TryLater
from integration.fhir.bundle import references
from integration.fhir.codes import Json
from integration.fhir.gathering import Gathering, moment, updated_at
from integration.fhir.notification import Notification, notification_of
from integration.fhir.source_client import Page, SourceClient
from integration.fhir_body import Interaction
from integration.fhir_decisions import Origin
from integration.fhir_intake import FhirIntake

_CHUNK = 25  # resources that are stored in one go
_PAGE = 50
# What an ECG's resource may need from beside it: whose it is, its order, its file.
_CONTEXT = ("Patient", "ServiceRequest", "Binary")
_MAX_VERSION = 64
_ID = re.compile(r"[A-Za-z0-9.-]{1,64}")
_log = logging.getLogger(__name__)

Clock = Callable[[], datetime]


@dataclass(frozen=True)
class Reading:
    """How a source is read.

    Attributes:
        name: of the source.
        queries: searches, as `Observation?category=procedure`.
        overlap_s: how far behind the cursor each reading begins, for what became visible late.
        settle_s: what the source changed less than this ago waits for the next reading, so that
            parts of one ECG are not torn.
        since: where the first reading begins; None: with itself.
    """

    name: str
    queries: tuple[str, ...]
    overlap_s: float
    settle_s: float
    since: datetime | None = None


@dataclass(frozen=True)
class Taken:
    """What a reading brought.

    Attributes:
        resources: how many were new.
        unsettled: whether some were too fresh and are still to be taken.
    """

    resources: int
    unsettled: bool


class FhirSource:
    """One source; thread-safe, for the same content again makes no second ECG."""

    def __init__(
        self,
        reading: Reading,
        client: SourceClient,
        intake: FhirIntake,
        store: Store,
        clock: Clock = lambda: datetime.now(UTC),
    ) -> None:
        """Take where to read from and who stores it."""
        self._reading, self._client = reading, client
        self._intake, self._store, self._clock = intake, store, clock
        self._overlap = timedelta(seconds=reading.overlap_s)

    @property
    def name(self) -> str:
        """Name of its settings."""
        return self._reading.name

    def poll(self, goes_on: Callable[[], bool]) -> Taken:
        """Take what is new since the last time.

        Args:
            goes_on: is asked before each page whether to.

        Raises:
            TryLater, Refused: as `SourceClient.search`; `source-interrupted`. What was taken
                before stays, and the next reading goes on behind it.
            StoreUnavailable: likewise.
        """
        done = [self._poll(query, goes_on) for query in self._reading.queries]
        cursors = [self._store.source_cursor(self.name, query) for query in self._reading.queries]
        slowest = min(filter(None, cursors))
        self._store.forget_seen(self.name, slowest - 2 * self._overlap)
        return Taken(sum(d.resources for d in done), any(d.unsettled for d in done))

    def notified(self, resource: Json | None) -> Notification:
        """Keep the numbers of a notification and make the next reading come at once.

        Args:
            resource: that was posted; None: nothing but the word that there is something.

        Raises:
            Refused: as `notification_of`.
            StoreUnavailable: nothing was kept; it may come again.
        """
        told = Notification("event-notification") if resource is None else notification_of(resource)
        missing = self._missing(told)
        if missing:
            _log.warning("source %s missing_events=%d", self.name, missing)
        if told.status in {"error", "off"}:
            _log.error("source %s subscription is %s", self.name, told.status)
        if missing or told.type not in {"handshake", "heartbeat"}:
            # A second more, for HTTP tells the time in whole ones.
            settled = timedelta(seconds=self._reading.settle_s + 1)
            self._store.hasten_source(self.name, self._store.clock() + settled)
        return told

    def _missing(self, told: Notification) -> int:
        """Keep the numbers of a notification; return how many events were never heard of."""
        if not told.subscription:
            return 0
        numbers = sorted(event.number for event in told.events if event.number is not None)
        if numbers:
            return sum(self._hear(told, number) for number in numbers)
        return 0 if told.sent is None else self._hear(told, told.sent)

    def _hear(self, told: Notification, number: int) -> int:
        heard = self._store.hear_event(
            self.name,
            told.subscription,
            number,
            self._clock(),
            arrived=told.type == "event-notification",
            restarted=told.type == "handshake",
        )
        return heard.missing

    def _poll(self, query: str, goes_on: Callable[[], bool]) -> Taken:
        cursor = self._store.source_cursor(self.name, query)
        if cursor is None:
            cursor = self._reading.since or self._client.clock() or self._clock()
            self._store.advance_source(self.name, query, cursor)
        found, taken = Gathering(timedelta(seconds=self._reading.settle_s)), 0
        context: dict[str, Json] = {}
        for page in self._pages(query, cursor - self._overlap):
            if not goes_on():
                raise TryLater("source-interrupted", "another one goes on, or this process stops")
            context |= {_name_of(resource): resource for resource in page.included}
            for resource in page.matches:
                found.add(resource, page.told_at or self._clock())
            if len(found) >= _CHUNK:
                taken += self._take(found.complete(), context)
                self._advance(query, found)
        taken += self._take(found.rest(), context)
        self._advance(query, found)
        return Taken(taken, found.unsettled)

    def _pages(self, query: str, after: datetime) -> Iterable[Page]:
        kind, _, rest = query.partition("?")
        parameters = parse_qsl(rest, keep_blank_values=True)
        parameters += [("_lastUpdated", f"gt{_instant(after)}"), ("_sort", "_lastUpdated")]
        if not any(name == "_count" for name, _ in parameters):
            parameters.append(("_count", str(_PAGE)))
        return self._client.search(kind, parameters)

    def _advance(self, query: str, found: Gathering) -> None:
        if found.reached is not None:
            self._store.advance_source(self.name, query, found.reached)

    def _take(self, resources: Sequence[Json], context: dict[str, Json]) -> int:
        """Store what is new; return how many resources that were."""
        versions = [(resource, self._version(resource)) for resource in resources]
        unseen = self._store.unseen(self.name, [version for _, version in versions])
        new = [
            (resource, version)
            for resource, version in versions
            if (version.resource, version.version) in unseen
        ]
        if not new:
            return 0
        if not self._post([resource for resource, _ in new], context):
            # Something in it cannot even be taken apart; what is beside it can.
            together: dict[bytes, list[Json]] = {}
            for resource, _ in new:
                together.setdefault(moment(resource), []).append(resource)
            for group in together.values():
                self._post(group, context)
        self._store.mark_seen(self.name, [version for _, version in new])
        _log.info("source %s resources=%d", self.name, len(new))
        return len(new)

    def _post(self, resources: Sequence[Json], context: dict[str, Json]) -> bool:
        """Store resources, each ECG by itself; return whether the batch could be taken apart."""
        body = _batch(self._client.base_url, [*resources, *self._context_of(resources, context)])
        sender = Origin(f"source:{self.name}")
        reply = self._intake.answer(orjson.dumps(body), Interaction.BUNDLE, sender)
        return reply.status < 400

    def _context_of(self, resources: Sequence[Json], known: dict[str, Json]) -> list[Json]:
        """Return what the resources refer to, read from the source where it did not come along."""
        needed: dict[str, Json] = {}
        for reference in (r for resource in resources for r in references(resource)):
            local = self._client.local(reference)
            if local is None or local in needed or local.partition("/")[0] not in _CONTEXT:
                continue
            if local not in known and (found := self._client.read(local)) is not None:
                known[local] = found
            if local in known:
                needed[local] = known[local]
        return list(needed.values())

    def _version(self, resource: Json) -> SourceVersion:
        meta = resource.get("meta")
        told = meta.get("versionId") if isinstance(meta, dict) else None
        if not isinstance(told, str) or not told or len(told) > _MAX_VERSION:
            content = orjson.dumps(resource, option=orjson.OPT_SORT_KEYS)
            told = hashlib.sha256(content).hexdigest()
        return SourceVersion(_name_of(resource), told, updated_at(resource) or self._clock())


def _batch(base_url: str, resources: Iterable[Json]) -> Json:
    entries = [
        {
            "fullUrl": f"{base_url}/{_name_of(resource)}",
            "resource": resource,
            "request": {"method": "POST", "url": str(resource.get("resourceType"))},
        }
        for resource in resources
    ]
    return {"resourceType": "Bundle", "type": "batch", "entry": entries}


def _name_of(resource: Json) -> str:
    """Return `Type/id`, or of what has no sane id, its content's hash for it."""
    kind, id_ = resource.get("resourceType"), resource.get("id")
    if not isinstance(id_, str) or not _ID.fullmatch(id_):
        id_ = hashlib.sha256(orjson.dumps(resource, option=orjson.OPT_SORT_KEYS)).hexdigest()
    return f"{str(kind)[:64]}/{id_}"


def _instant(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
