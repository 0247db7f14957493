"""Transactions: what every part of the store stands on."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Self, TypeVar
from uuid import UUID

from sqlalchemy import Engine, Select, Update, select
from sqlalchemy.orm import Session, sessionmaker

from db.engine import WRITES, faults, open_engine
from db.grouping import GroupCommit

T = TypeVar("T")


class Sessions:
    """A database, one transaction at a time and a thread; thread-safe."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._reader = sessionmaker(engine)
        # Rows are read out once and never looked at again: nothing to refresh or expire.
        self._writer = sessionmaker(
            engine.execution_options(**{WRITES: True}),
            expire_on_commit=False,
            execution_options={"synchronize_session": False},
        )
        self._groups = GroupCommit(self._writing) if engine.dialect.name == "sqlite" else None

    @classmethod
    def open(cls, url: str) -> Self:
        """Return the store at `sqlite:///path` or `postgresql://...`; connects on first use.

        Raises:
            StoreUnusable: `database-unsupported`.
            StoreUnavailable: the SQLite file cannot be made.
        """
        return cls(open_engine(url))

    def ping(self) -> None:
        """Return when the database answers; raise StoreUnavailable otherwise."""
        with self._reading() as session:
            session.execute(select(1))

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    @contextmanager
    def _reading(self) -> Iterator[Session]:
        with faults(), self._reader() as session:
            yield session

    @contextmanager
    def _writing(self) -> Iterator[Session]:
        """Commit at the end, or nothing at all."""
        with faults(), self._writer.begin() as session:
            yield session

    def _commit(self, job: Callable[[Session], T]) -> T:
        """Return what `job` returned, once it is committed, perhaps together with others' jobs.

        It may run twice. PostgreSQL groups the commits of its connections by itself.
        """
        if self._groups is not None:
            return self._groups.run(job)
        with self._writing() as session:
            return job(session)

    def _claim(
        self, waiting: Select[UUID], mark: Callable[[Sequence[UUID]], Update]
    ) -> tuple[UUID, ...]:
        """Select rows and mark them in one transaction, so that nobody else selects them too."""
        with self._reading() as session:
            # A sweep looks often and seldom finds something: no write lock for nothing.
            if session.scalars(waiting).first() is None:
                return ()
        with self._writing() as session:
            ids = session.scalars(waiting.with_for_update(skip_locked=True)).all()
            session.execute(mark(ids))
        return tuple(ids)
