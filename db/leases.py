"""Which process reads a FHIR server now, and when it is read next: one at a time, whoever it is."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from db.sessions import Sessions
from db.upkeep_tables import SourceRow


@dataclass(frozen=True)
class SourceState:
    """How the reading of a source goes.

    Attributes:
        due_at: when it is read next; None: it is being read, or was never.
        read_at: when it was read last, successfully or not.
        problem: reason code of what went wrong then, or None.
    """

    due_at: datetime | None
    read_at: datetime | None
    problem: str | None


class Leases(Sessions):
    """Turns at sources."""

    def take_source(self, source: str, holder: UUID, now: datetime, lease_s: float) -> bool:
        """Take the turn, if the source is due and nobody has it; return whether that is so.

        Args:
            source: name of its settings.
            holder: who asks; the lease is over after `lease_s` unless it is kept.
            now: aware.
            lease_s: seconds.
        """
        free = or_(SourceRow.leased_until.is_(None), SourceRow.leased_until <= now)
        due = or_(SourceRow.due_at.is_(None), SourceRow.due_at <= now)
        until = now + timedelta(seconds=lease_s)
        waiting = select(SourceRow.name).where(SourceRow.name == source, ~(free & due))
        with self._reading() as session:
            # It is asked every second: no write lock for nothing.
            if session.scalar(waiting) is not None:
                return False
        taken = (
            update(SourceRow)
            .where(SourceRow.name == source, free, due)
            .values(holder=holder, leased_until=until, due_at=None)
            .returning(SourceRow.name)
        )
        with self._writing() as session:
            if session.scalar(taken) is not None:
                return True
            if session.get(SourceRow, source) is not None:
                return False
            session.add(SourceRow(name=source, holder=holder, leased_until=until))
            return True

    def keep_source(self, source: str, holder: UUID, now: datetime, lease_s: float) -> bool:
        """Make a lease last for `lease_s` from now on; False: another one has it."""
        kept = (
            update(SourceRow)
            .where(SourceRow.name == source, SourceRow.holder == holder)
            .values(leased_until=now + timedelta(seconds=lease_s))
            .returning(SourceRow.name)
        )
        with self._writing() as session:
            return session.scalar(kept) is not None

    def release_source(
        self, source: str, holder: UUID, now: datetime, due_at: datetime, problem: str | None
    ) -> None:
        """End a turn.

        Args:
            source: name of its settings.
            holder: who had it; of another one's turn nothing changes.
            now: aware.
            due_at: when the next one is due, if nobody hastened it meanwhile.
            problem: reason code of what went wrong, or None.
        """
        with self._writing() as session:
            row = _locked(session, source)
            if row is not None and row.holder == holder:
                row.holder, row.leased_until = None, None
                row.due_at = min(due_at, row.due_at or due_at)
                row.read_at, row.problem = now, problem

    def hasten_source(self, source: str, due_at: datetime) -> None:
        """Make the next turn come no later; one that goes on now is followed by another."""
        with self._writing() as session:
            row = _locked(session, source)
            if row is not None:
                row.due_at = min(due_at, row.due_at or due_at)

    def source_states(self) -> dict[str, SourceState]:
        """Return how it goes, by name."""
        with self._reading() as session:
            rows = session.scalars(select(SourceRow)).all()
        return {row.name: SourceState(row.due_at, row.read_at, row.problem) for row in rows}


def _locked(session: Session, source: str) -> SourceRow | None:
    return session.get(SourceRow, source, with_for_update=True)
