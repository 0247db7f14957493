"""Imports of archives: who brought what in, how far it is, and what came of it."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import func, select, update

from db.audit import AuditEntry, AuditKind, add_entry
from db.records import BACKLOG, ExamState
from db.sessions import Sessions
from db.tables import ExamRow
from db.upkeep_tables import ImportRow


@dataclass(frozen=True)
class Import:
    """One import.

    Attributes:
        actor: who began it.
        source: digest of what was named, the same whenever the same is named.
        paths: what was named.
        position: the last file that is done with all it holds, or None.
        counts: `outcome` or `outcome:reason` -> how many.
        finished_at: or None while there is more.
    """

    id: UUID
    created_at: datetime
    actor: str
    source: str
    paths: tuple[str, ...]
    position: str | None = None
    counts: dict[str, int] = field(default_factory=dict)
    finished_at: datetime | None = None


class Imports(Sessions):
    """What `integration.archive` keeps of its way."""

    def begin_import(self, new: Import) -> Import:
        """Return the unfinished import of the same source, or record a new one."""
        with self._writing() as session:
            row = session.scalars(
                select(ImportRow)
                .where(ImportRow.source == new.source, ImportRow.finished_at.is_(None))
                .order_by(ImportRow.created_at)
            ).first()
            if row is not None:
                return _import(row)
            session.add(ImportRow(**{n: getattr(new, n) for n in _COLUMNS}))
            content = {"import": str(new.id), "paths": list(new.paths)}
            add_entry(
                session,
                AuditEntry(AuditKind.OPERATION, new.created_at, new.actor, None, content),
            )
        return new

    def note_import(
        self, id_: UUID, position: str | None, counts: dict[str, int], *, ended: datetime | None
    ) -> None:
        """Note how far an import is."""
        with self._writing() as session:
            session.execute(
                update(ImportRow)
                .where(ImportRow.id == id_)
                .values(position=position, counts=counts, finished_at=ended)
            )

    def imports(self, limit: int) -> tuple[Import, ...]:
        """Return the latest imports, newest first."""
        newest = select(ImportRow).order_by(ImportRow.created_at.desc()).limit(limit)
        with self._reading() as session:
            return tuple(_import(row) for row in session.scalars(newest))

    def backlog_waiting(self) -> int:
        """Return how many ECGs of archives wait for a worker."""
        waiting = select(func.count()).where(
            ExamRow.state == ExamState.RECEIVED, ExamRow.priority == BACKLOG
        )
        with self._reading() as session:
            return session.scalars(waiting).one()


_COLUMNS = tuple(Import.__dataclass_fields__)


def _import(row: ImportRow) -> Import:
    values: dict[str, Any] = {name: getattr(row, name) for name in _COLUMNS}
    return Import(**values | {"paths": tuple(row.paths), "counts": dict(row.counts)})
