"""Replays: doing a step again for what a filter selects, in pieces, with a record of who and what.

A replay goes through its subjects in the order of their ids and notes after each piece how far it
is, so that it goes on there after a pause, a kill or a cancelled terminal. What it does to each
subject has the effect of being done once, however often.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, and_, func, select, update
from sqlalchemy.orm import InstrumentedAttribute, Session, undefer

from db.audit import AuditEntry, AuditKind, add_entry
from db.compress import expand
from db.dead_letters import not_discarded
from db.errors import NotFound
from db.filters import Filter, Subject, matching, nameless
from db.records import DeliveryState, ExamState, MessageState
from db.sealed import Sealed
from db.sessions import Sessions
from db.tables import DeliveryRow, ExamRow, MessageRow, WaveformRow
from db.upkeep_tables import AuditRow, ReplayRow


class Stage(StrEnum):
    """Which step is done again."""

    DECODE = "decode"  # of messages that were refused: read them anew
    SCORE = "score"  # of ECGs that failed and are still whole: let a worker have them again
    DELIVER = "deliver"  # of reports that did not arrive: send them again now

    @property
    def subject(self) -> Subject:
        """What the step is done to."""
        return _SUBJECT[self]


_SUBJECT = {
    Stage.DECODE: Subject.MESSAGE,
    Stage.SCORE: Subject.EXAM,
    Stage.DELIVER: Subject.DELIVERY,
}


class ReplayState(StrEnum):
    """Where a replay stands."""

    RUNNING = "running"
    PAUSED = "paused"
    CANCELLED = "cancelled"
    DONE = "done"


@dataclass(frozen=True)
class Replay:
    """One replay.

    Attributes:
        filter: as it was written, or what may be told of it.
        stage: the step.
        actor: who asked for it.
        matched: subjects when it began.
        succeeded: so far.
        failed: looked at, and as before.
        cursor: id of the last subject that was looked at.
    """

    id: UUID
    created_at: datetime
    actor: str
    filter: str
    stage: Stage
    state: ReplayState
    matched: int
    succeeded: int
    failed: int
    cursor: UUID | None
    finished_at: datetime | None


@dataclass(frozen=True)
class RefusedMessage:
    """A refused message, to be read again.

    Attributes:
        whole: whether `raw` is all that came.
    """

    id: UUID
    protocol: str
    sender: str
    reason: str
    raw: bytes = field(repr=False)
    whole: bool


class Replays(Sessions):
    """What replays need; `integration.replay` runs them."""

    def count_replayable(self, found: Filter, stage: Stage) -> int:
        """Return how many subjects a replay would take; texts of the filter are not looked for."""
        key, wanted = _wanted(found, stage)
        with self._reading() as session:
            return session.scalars(select(func.count(key)).where(wanted)).one()

    def replayable(
        self, found: Filter, stage: Stage, after: UUID | None, limit: int
    ) -> tuple[UUID, ...]:
        """Return the next subjects in the order of their ids."""
        key, wanted = _wanted(found, stage)
        page = select(key).where(wanted).order_by(key).limit(limit)
        if after is not None:
            page = page.where(key > after)
        with self._reading() as session:
            return tuple(session.scalars(page))

    def message_of(self, stage: Stage, id_: UUID) -> UUID:
        """Return the message that a subject came with.

        Raises:
            NotFound: no such subject.
        """
        exams = select(ExamRow.message_id)
        query = {
            Stage.DECODE: select(MessageRow.id).where(MessageRow.id == id_),
            Stage.SCORE: exams.where(ExamRow.id == id_),
            Stage.DELIVER: exams.join(DeliveryRow, DeliveryRow.exam_id == ExamRow.id).where(
                DeliveryRow.id == id_
            ),
        }[stage]
        with self._reading() as session:
            message_id = session.scalar(query)
        if message_id is None:
            raise NotFound("not-found", f"no {stage.subject} {id_}")
        return message_id

    def refused_message(self, message_id: UUID) -> RefusedMessage | None:
        """Return a message that is refused, or None when it is not, any more."""
        with self._reading() as session:
            row = session.scalars(
                select(MessageRow)
                .where(MessageRow.id == message_id, MessageRow.state == MessageState.REFUSED)
                .options(undefer(MessageRow.raw))
            ).one_or_none()
        kept = None if row is None else row.raw.open(row.id)
        if row is None or not kept:
            return None
        raw = expand(kept)
        whole = len(raw) == row.original_size
        return RefusedMessage(row.id, row.protocol, row.sender, row.reason or "", raw, whole)

    def begin_replay(self, replay: Replay) -> None:
        """Record a replay that begins, also in the audit log."""
        with self._writing() as session:
            values = {name: getattr(replay, name) for name in _COLUMNS}
            session.add(ReplayRow(**values | {"filter": Sealed(replay.id, replay.filter)}))
            content = {
                "replay": str(replay.id),
                "stage": replay.stage.value,
                "filter": nameless(replay.filter),
                "matched": replay.matched,
            }
            entry = AuditEntry(AuditKind.OPERATION, replay.created_at, replay.actor, None, content)
            add_entry(session, entry)

    def replay(self, replay_id: UUID) -> Replay:
        """Return a replay.

        Raises:
            NotFound: no such replay.
        """
        with self._reading() as session:
            row = session.get(ReplayRow, replay_id)
        if row is None:
            raise NotFound("not-found", f"no replay {replay_id}")
        return _replay(row, row.filter.open(row.id))

    def replays(self, limit: int) -> tuple[Replay, ...]:
        """Return the latest replays, newest first; no patient data is read.

        Of a filter it is told what the audit log tells, nothing where that was pruned.
        """
        columns = [getattr(ReplayRow, name) for name in _OPEN]
        newest = select(*columns).order_by(ReplayRow.created_at.desc()).limit(limit)
        with self._reading() as session:
            rows = session.execute(newest).all()
            begun = select(AuditRow.content).where(
                AuditRow.at.in_([row.created_at for row in rows]),
                AuditRow.kind == AuditKind.OPERATION,
            )
            told = [json.loads(content) for content in session.scalars(begun)]
        filters = {one["replay"]: one["filter"] for one in told if "replay" in one}
        return tuple(_replay(row, filters.get(str(row.id), "")) for row in rows)

    def note_progress(
        self, replay_id: UUID, cursor: UUID, *, succeeded: int, failed: int
    ) -> ReplayState:
        """Note a piece that is done; return the state, which others may have changed."""
        noted = (
            update(ReplayRow)
            .where(ReplayRow.id == replay_id)
            .values(
                cursor=cursor,
                succeeded=ReplayRow.succeeded + succeeded,
                failed=ReplayRow.failed + failed,
            )
            .returning(ReplayRow.state)
        )
        with self._writing() as session:
            return ReplayState(session.scalars(noted).one())

    def set_replay_state(self, replay_id: UUID, state: ReplayState, now: datetime) -> bool:
        """Change the state of a replay that has not ended; tell whether there was one."""
        ended = state in (ReplayState.DONE, ReplayState.CANCELLED)
        changed = (
            update(ReplayRow)
            .where(
                ReplayRow.id == replay_id,
                ReplayRow.state.in_([ReplayState.RUNNING, ReplayState.PAUSED]),
            )
            .values(state=state, finished_at=now if ended else None)
            .returning(ReplayRow.id)
        )
        with self._writing() as session:
            return session.scalar(changed) is not None

    def score_again(self, exam_ids: Sequence[UUID]) -> tuple[UUID, ...]:
        """Let failed exams wait for a worker again; return those that do.

        Those whose samples are past their period stay failed: no worker could score them.
        """
        waiting = (
            update(ExamRow)
            .where(ExamRow.id.in_(exam_ids), _failed_and_whole())
            .values(state=ExamState.RECEIVED, reason=None, attempts=0, rung_at=None)
            .returning(ExamRow.id)
        )
        with self._writing() as session:
            return tuple(session.scalars(waiting))

    def deliver_again(self, delivery_ids: Sequence[UUID], now: datetime) -> tuple[UUID, ...]:
        """Make deliveries due at `now` that were given up or put off; return those that are."""
        due = (
            update(DeliveryRow)
            .where(DeliveryRow.id.in_(delivery_ids), _undelivered())
            .values(
                state=DeliveryState.PENDING,
                attempts=0,
                next_attempt_at=now,
                rung_at=None,
                last_answer=None,
            )
            .returning(DeliveryRow.id, DeliveryRow.exam_id)
        )
        with self._writing() as session:
            rows = session.execute(due).all()
            _not_given_up(session, [row.exam_id for row in rows])
        return tuple(row.id for row in rows)


def _not_given_up(session: Session, exam_ids: Sequence[UUID]) -> None:
    """An exam is undeliverable while some delivery of it is."""
    lost = select(DeliveryRow.exam_id).where(DeliveryRow.state == DeliveryState.UNDELIVERABLE)
    session.execute(
        update(ExamRow)
        .where(
            ExamRow.id.in_(exam_ids),
            ExamRow.state == ExamState.UNDELIVERABLE,
            ExamRow.id.not_in(lost.where(DeliveryRow.exam_id.in_(exam_ids))),
        )
        .values(state=ExamState.SCORED, reason=None)
    )


def _wanted(found: Filter, stage: Stage) -> tuple[InstrumentedAttribute[UUID], ColumnElement[bool]]:
    key: InstrumentedAttribute[UUID]
    key, eligible = {
        Stage.DECODE: (MessageRow.id, MessageRow.state == MessageState.REFUSED),
        Stage.SCORE: (ExamRow.id, _failed_and_whole()),
        Stage.DELIVER: (DeliveryRow.id, _undelivered()),
    }[stage]
    return key, and_(eligible, matching(found, stage.subject), not_discarded(key))


def _failed_and_whole() -> ColumnElement[bool]:
    samples = select(WaveformRow.exam_id).where(WaveformRow.exam_id == ExamRow.id)
    return and_(ExamRow.state == ExamState.FAILED, samples.exists())


def _undelivered() -> ColumnElement[bool]:
    """Given up, or put off after a try that failed; not what is on its way just now."""
    put_off = and_(
        DeliveryRow.state == DeliveryState.PENDING,
        DeliveryRow.last_answer.is_not(None),
        DeliveryRow.leased_until.is_(None),
    )
    return (DeliveryRow.state == DeliveryState.UNDELIVERABLE) | put_off


_COLUMNS = tuple(Replay.__dataclass_fields__)
_OPEN = tuple(name for name in _COLUMNS if name != "filter")


def _replay(row: ReplayRow | Row[Any], filter_: str) -> Replay:
    values: dict[str, Any] = {name: getattr(row, name) for name in _OPEN}
    read = {"filter": filter_, "stage": Stage(row.stage), "state": ReplayState(row.state)}
    return Replay(**values | read)
