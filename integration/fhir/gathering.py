"""Which resources of a search can be stored together, and how far that brings the reader.

A search by `_lastUpdated` gives parts of one ECG, such as twelve Observations, one after another,
perhaps on two pages, perhaps while the last of them is being written. What was changed less than a
settling time ago waits, and so does whatever is of the same patient and time.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import orjson

from integration.fhir.codes import Json
from integration.fhir.whose import OBSERVED_AT

_BEGINNING = datetime.min.replace(tzinfo=UTC)


@dataclass
class Gathering:
    """One reading of one search.

    Attributes:
        settle: parts of one ECG are written within this.
        reached: up to here, by the source's clock, all was given away; None before the first.
    """

    settle: timedelta
    reached: datetime | None = None
    _waiting: list[Json] = field(default_factory=list, repr=False)
    _fresh: list[Json] = field(default_factory=list, repr=False)
    _latest: datetime = _BEGINNING
    _given: datetime = _BEGINNING
    _ordered: bool = True

    def __len__(self) -> int:
        """Return how many wait to be given away."""
        return len(self._waiting)

    @property
    def unsettled(self) -> bool:
        """Whether something was too fresh."""
        return bool(self._fresh)

    def add(self, resource: Json, now: datetime) -> None:
        """Take the next one of the search.

        Args:
            resource: as it was found.
            now: by the source's clock.
        """
        updated = updated_at(resource)
        if updated is None or updated < self._latest:
            self._ordered = False
        self._latest = max(self._latest, updated or _BEGINNING)
        fresh = updated is not None and updated > now - self.settle
        (self._fresh if fresh else self._waiting).append(resource)

    def complete(self) -> list[Json]:
        """Give away what no later page of the search can belong to."""
        recent = [r for r in self._waiting if _updated(r) > self._latest - self.settle]
        given = self._without({moment(r) for r in (*recent, *self._fresh)})
        if not given and self._waiting:  # all within the time: the last one's alone may go on
            given = self._without({moment(self._waiting[-1])}) or self._without(set())
        self._advance(given)
        return given

    def rest(self) -> list[Json]:
        """Give away what is left at the end of the search, but what has to settle."""
        self._ordered = True  # nothing comes any more
        given = self._without({moment(r) for r in self._fresh})
        self._advance(given)
        return given

    def _without(self, moments: set[bytes]) -> list[Json]:
        given = [r for r in self._waiting if moment(r) not in moments]
        self._waiting = [r for r in self._waiting if moment(r) in moments]
        return given

    def _advance(self, given: list[Json]) -> None:
        self._given = max([self._given, *map(_updated, given)])
        left = map(_updated, (*self._waiting, *self._fresh))
        end = min([self._given, *left])
        if self._ordered and end > (self.reached or _BEGINNING):
            self.reached = end


def updated_at(resource: Json) -> datetime | None:
    """Return meta.lastUpdated, or None where it cannot be read."""
    meta = resource.get("meta")
    told = meta.get("lastUpdated") if isinstance(meta, dict) else None
    try:
        found = datetime.fromisoformat(told) if isinstance(told, str) else None
    except ValueError:
        return None
    return found if found is not None and found.tzinfo is not None else None


def _updated(resource: Json) -> datetime:
    return updated_at(resource) or _BEGINNING


def moment(resource: Json) -> bytes:
    """Return a key of whose and when: the same for parts of one ECG.

    What tells no time has one of its own.
    """
    when = [resource.get(name) for name in OBSERVED_AT]
    whose = resource.get("subject") if any(when) else resource.get("id")
    return orjson.dumps([whose, when], option=orjson.OPT_SORT_KEYS)
