"""How far each FHIR server has been read, and what was heard of its subscriptions.

A source's cursor moves only after the ECGs it stands for are committed: a crash between the two
makes them come again, and the same message is stored once.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from db.sessions import Sessions
from db.upkeep_tables import SourceCursorRow, SourceSeenRow, SubscriptionRow


@dataclass(frozen=True)
class SourceVersion:
    """One version of a resource of a source.

    Attributes:
        resource: `Observation/17`.
        version: meta.versionId, or what stands for it.
        updated_at: meta.lastUpdated by the source's clock; aware.
    """

    resource: str
    version: str
    updated_at: datetime


@dataclass(frozen=True)
class Heard:
    """What a notification's event numbers mean.

    Attributes:
        last: the highest number before it, or None where it is the first one.
        missing: how many numbers between that and this were never heard.
    """

    last: int | None
    missing: int


@dataclass(frozen=True)
class Subscribed:
    """What was heard of a subscription so far.

    Attributes:
        source: name of its settings.
        subscription: its reference.
        last_event: the highest number.
        missed: how many events were never heard of.
        heard_at: when last, also of a heartbeat; aware.
    """

    source: str
    subscription: str
    last_event: int
    missed: int
    heard_at: datetime


class Sources(Sessions):
    """Cursors of FHIR servers that are read."""

    def source_cursor(self, source: str, query: str) -> datetime | None:
        """Return the time by the source's clock up to which all is taken, or None at first."""
        with self._reading() as session:
            return session.scalar(
                select(SourceCursorRow.cursor).where(
                    SourceCursorRow.source == source, SourceCursorRow.query == query
                )
            )

    def source_cursors(self) -> dict[tuple[str, str], datetime]:
        """Return every cursor by source and query."""
        with self._reading() as session:
            rows = session.scalars(select(SourceCursorRow)).all()
        return {(row.source, row.query): row.cursor for row in rows}

    def unseen(self, source: str, versions: Collection[SourceVersion]) -> set[tuple[str, str]]:
        """Return which of these have not been taken, as (resource, version)."""
        asked = {(v.resource, v.version) for v in versions}
        query = select(SourceSeenRow.resource, SourceSeenRow.version).where(
            SourceSeenRow.source == source,
            SourceSeenRow.resource.in_({resource for resource, _ in asked}),
        )
        with self._reading() as session:
            return asked - {(row.resource, row.version) for row in session.execute(query)}

    def mark_seen(self, source: str, versions: Iterable[SourceVersion]) -> None:
        """Keep that these are taken; those that are known stay as they are."""
        with self._writing() as session:
            for version in versions:
                _merge_seen(session, source, version)

    def advance_source(self, source: str, query: str, cursor: datetime) -> None:
        """Move a query's cursor, never back: all that the source changed before is taken."""
        with self._writing() as session:
            row = session.get(SourceCursorRow, (source, query), with_for_update=True)
            if row is None:
                session.add(SourceCursorRow(source=source, query=query, cursor=cursor))
            elif row.cursor < cursor:
                row.cursor = cursor

    def forget_seen(self, source: str, before: datetime) -> None:
        """Forget versions that the source will not be asked for again."""
        old = delete(SourceSeenRow).where(
            SourceSeenRow.source == source, SourceSeenRow.updated_at < before
        )
        with self._writing() as session:
            session.execute(old)

    def hear_event(
        self,
        source: str,
        subscription: str,
        number: int,
        at: datetime,
        *,
        arrived: bool = True,
        restarted: bool = False,
    ) -> Heard:
        """Keep the number of a subscription's event and return what it tells.

        A number that is not higher than the last is an event that came again or out of order; the
        last one stays.

        Args:
            source: name of its settings.
            subscription: its reference, as the notification has it.
            number: the event's, or the count since the subscription's start, from 0.
            at: aware.
            arrived: whether the event of this number is here now, and not only told of.
            restarted: whether the source counts anew from this number.
        """
        with self._writing() as session:
            row = session.get(SubscriptionRow, (source, subscription), with_for_update=True)
            if row is None:
                new = SubscriptionRow(
                    source=source, subscription=subscription, last_event=number, heard_at=at
                )
                session.add(new)
                return Heard(None, 0)
            last = row.last_event
            missing = max(number - last - arrived, 0)
            row.last_event, row.heard_at = number if restarted else max(last, number), at
            row.missed += missing
            return Heard(last, missing)

    def subscribed(self) -> list[Subscribed]:
        """Return what was heard of all subscriptions, those of one source together."""
        query = select(SubscriptionRow).order_by(
            SubscriptionRow.source, SubscriptionRow.subscription
        )
        with self._reading() as session:
            rows = session.scalars(query).all()
        return [
            Subscribed(row.source, row.subscription, row.last_event, row.missed, row.heard_at)
            for row in rows
        ]


def _merge_seen(session: Session, source: str, version: SourceVersion) -> None:
    key = (source, version.resource, version.version)
    if session.get(SourceSeenRow, key) is None:
        session.add(
            SourceSeenRow(
                source=source,
                resource=version.resource,
                version=version.version,
                updated_at=version.updated_at,
            )
        )
