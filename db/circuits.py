"""Circuits: whether a destination takes reports, known to all workers.

    closed      it takes them: no row, or one that counts failures in a row
    open        it does not: nobody sends before `open_until`; then one tries
    half-open   it took one again: `permits` more may go, two for each that it takes, so that what
                an outage piled up comes back slowly at first and then faster

A permit that dies with its worker is not missed: after `open_until` one may try in any case.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.sessions import Sessions
from db.upkeep_tables import CircuitRow

OPENS_AFTER = 5  # failures in a row
_CLOSES_AT = 64  # permits
_ALL_OUT = -1  # permits that are under way


@dataclass(frozen=True)
class Circuit:
    """One that is not closed.

    Attributes:
        failures: in a row.
        open_until: when somebody may try again, whoever else does.
        permits: how many may go before; below 0: none, and `open_until` is when those that are
            under way count as lost.
    """

    destination: str
    failures: int
    open_until: datetime
    permits: int

    def room(self, now: datetime) -> int:
        """Return how many reports may go now."""
        return self.permits if self.permits > 0 else int(self.open_until <= now)


class Circuits(Sessions):
    """What workers hear from destinations, and what follows for the others."""

    def circuits(self) -> tuple[Circuit, ...]:
        """Return those that are not closed, by name."""
        with self._reading() as session:
            return read_circuits(session)

    def note_failure(
        self,
        destination: str,
        now: datetime,
        first_wait_s: float,
        most_s: float,
        asked_s: float | None = None,
    ) -> None:
        """Note that a destination is away, or asks for patience.

        Args:
            destination: its name.
            now: aware.
            first_wait_s: how long it is left alone when its circuit opens; doubles.
            most_s: but no longer.
            asked_s: what it asked for: then it is left alone at once, and so long at least.
        """
        with self._writing() as session:
            row = _locked(session, destination)
            if row is None:
                row = CircuitRow(destination=destination, failures=0, open_until=now, permits=None)
                session.add(row)
            row.failures += 1
            beyond = row.failures - OPENS_AFTER
            if beyond >= 0 or row.permits is not None or asked_s is not None:
                wait_s = min(first_wait_s * 2.0 ** min(max(beyond, 0), 20), most_s)
                wait_s = max(wait_s, asked_s or 0.0)
                until = now + timedelta(seconds=wait_s)
                # What it asked for before is not shortened by one that was under way.
                row.open_until = max(row.open_until, until) if row.permits == 0 else until
                row.permits = 0

    def note_answer(self, destination: str) -> None:
        """Note that a destination works: it took a report, or refused it with reason."""
        with self._reading() as session:
            if session.get(CircuitRow, destination) is None:
                return
        with self._writing() as session:
            row = _locked(session, destination)
            if row is None:
                return
            if row.permits is None or row.permits + 2 >= _CLOSES_AT:
                session.delete(row)
            else:
                row.permits, row.failures = max(row.permits, 0) + 2, 0


def read_circuits(session: Session) -> tuple[Circuit, ...]:
    """Return those that are not closed, by name."""
    rows = session.scalars(
        select(CircuitRow).where(CircuitRow.permits.is_not(None)).order_by(CircuitRow.destination)
    )
    return tuple(
        Circuit(row.destination, row.failures, row.open_until, row.permits or 0) for row in rows
    )


def take_permit(session: Session, destination: str, now: datetime, lease_s: float) -> bool:
    """Tell whether one report may go to a destination now, and count it."""
    if session.get(CircuitRow, destination) is None:
        return True
    row = _locked(session, destination)
    if row is None or row.permits is None:
        return True
    if row.permits <= 0 and row.open_until > now:
        return False
    row.permits = row.permits - 1 if row.permits > 1 else _ALL_OUT
    if row.permits == _ALL_OUT:
        row.open_until = now + timedelta(seconds=lease_s)
    return True


def _locked(session: Session, destination: str) -> CircuitRow | None:
    return session.get(CircuitRow, destination, with_for_update=True, populate_existing=True)
