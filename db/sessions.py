"""Transactions: what every part of the store stands on."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Self, TypeVar
from uuid import UUID

from sqlalchemy import Engine, Select, Update, func, select, text
from sqlalchemy.orm import Session, sessionmaker

from db.engine import WRITES, faults, open_engine
from db.errors import StoreUnavailable
from db.grouping import GroupCommit
from db.keyring import Keyring
from db.records import LIVE, Lane
from db.room import Room

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
        self._room: Room | None = None
        self._lane = LIVE
        self._groups = GroupCommit(self._writing) if engine.dialect.name == "sqlite" else None

    @classmethod
    def open(cls, url: str, keyring: Keyring | None = None) -> Self:
        """Return the store at `sqlite:///path` or `postgresql://...`; connects on first use.

        With a keyring what names patients is sealed; call `check_keys` before anything else.

        Raises:
            StoreUnusable: `database-unsupported`.
            StoreUnavailable: the SQLite file cannot be made.
        """
        return cls(open_engine(url, keyring))

    def schema(self) -> str | None:
        """Return the last migration that the database had, or None.

        Raises:
            StoreUnavailable: the database does not answer, or has never had one.
        """
        with self._reading() as session:
            found: str | None = session.scalar(text("SELECT version_num FROM alembic_version"))
        return found

    def clock(self) -> datetime:
        """Return the database's time, aware; of SQLite this machine's."""
        if self._engine.dialect.name == "sqlite":
            return datetime.now(UTC)
        with self._reading() as session:
            told: datetime = session.scalars(select(func.now())).one()
        return told

    @property
    def folder(self) -> Path | None:
        """Where the SQLite file lies; None for a server."""
        url = self._engine.url
        return Path(str(url.database)).parent if url.get_backend_name() == "sqlite" else None

    def limit(self, room: Room) -> None:
        """Take in new messages only while there is room."""
        self._room = room

    @property
    def full(self) -> bool:
        """Whether new messages are put off for want of room."""
        try:
            if self._room is not None:
                self._room.check()
        except StoreUnavailable:
            return True
        return False

    def receive_as(self, lane: Lane) -> None:
        """Take in what comes from now on as so urgent, and silently or not."""
        self._lane = lane

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
