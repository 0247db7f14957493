"""What is measured of the work in the database: how much waits, what happened, what drifts.

Everything here is read through an index and within limits, so that it can be asked every few
seconds while millions of ECGs are stored. What happened is read from the audit log, along its
numbers: they have no gaps and grow in the order of sealing, so each event is seen exactly once.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Exists, Row, Select, and_, func, or_, select
from sqlalchemy.orm import aliased

from db.audit import AuditKind
from db.dead_letters import not_discarded
from db.records import BACKLOG, LIVE, DeliveryState, ExamState
from db.sessions import Sessions
from db.tables import DeliveryRow, ExamRow, MessageRow, ReportRow
from db.upkeep_tables import AuditRow

DRIFT_RECENT, DRIFT_USUAL = timedelta(days=1), timedelta(days=28)
SCORE_BINS = 10
VERDICTS = ("good", "limited", "unscorable")
_DUE = 10_000  # deliveries whose age is looked at
_SAMPLE = 20_000  # decisions that a spread looks at, the latest of its time


@dataclass(frozen=True)
class Queues:
    """What waits.

    Attributes:
        waiting: live ECGs that wait for a worker.
        oldest_exam_s: age of the one that has waited longest; 0 when none does.
        backlog: ECGs of archives that wait.
        due: destination -> deliveries that are due or put off.
        oldest_due_s: destination -> age of the oldest report among them; where many wait, of the
            oldest among the 10,000 that are due first.
        lost: destination -> deliveries that were given up and not discarded.
        failed: ECGs that could not be scored and were not discarded.
    """

    waiting: int
    oldest_exam_s: float
    backlog: int
    due: Mapping[str, int]
    oldest_due_s: Mapping[str, float]
    lost: Mapping[str, int]
    failed: int


@dataclass(frozen=True)
class Judged:
    """An ECG that was assessed.

    Both times are None where it was assessed before, and where it is not stored any more.

    Attributes:
        sender: of its message.
        live: whether it did not come out of an archive.
        verdict: one of VERDICTS.
        reason: why it is unscorable, or "".
        anomaly_score: in [0, 1], or None.
        waited_s: from its commit to the beginning of its scoring.
        scoring_s: from there to its stored report.
        at: when it was assessed.
        exam_id: of the ECG, or None.
    """

    sender: str
    live: bool
    verdict: str
    reason: str
    anomaly_score: float | None
    waited_s: float | None
    scoring_s: float | None
    at: datetime
    exam_id: UUID | None


@dataclass(frozen=True)
class Ended:
    """A delivery that ended.

    Both times are None where it ended so before, and where the ECG is not stored any more.

    Attributes:
        destination: its name.
        outcome: delivered or undeliverable.
        delivering_s: from the stored report to this end.
        whole_s: from the ECG's commit to this end; None of a later version of a report too.
        at: when it ended.
        exam_id: of the ECG, or None.
    """

    destination: str
    outcome: str
    delivering_s: float | None
    whole_s: float | None
    at: datetime
    exam_id: UUID | None


@dataclass(frozen=True)
class Reviewed:
    """A report on which a clinician decided.

    Attributes:
        sender: of the ECG's message, or "".
        decision: confirm, override or reject.
    """

    sender: str
    decision: str


Event = Judged | Ended | Reviewed


@dataclass(frozen=True)
class Spread:
    """How a sender's ECGs of some time were judged.

    Attributes:
        verdicts: how many of each of VERDICTS.
        scores: how many in each tenth of the anomaly score, SCORE_BINS numbers.
    """

    verdicts: tuple[int, ...]
    scores: tuple[int, ...]

    @property
    def assessed(self) -> int:
        """How many there were."""
        return sum(self.verdicts)


class Measures(Sessions):
    """Reading only."""

    def queues(self, now: datetime) -> Queues:
        """Return what waits."""
        live = select(func.count(), func.min(ExamRow.received_at)).where(
            ExamRow.state == ExamState.RECEIVED, ExamRow.priority == LIVE.priority
        )
        backlog = select(func.count()).where(
            ExamRow.state == ExamState.RECEIVED, ExamRow.priority == BACKLOG
        )
        failed = select(func.count()).where(
            ExamRow.state == ExamState.FAILED, not_discarded(ExamRow.id)
        )
        lost = and_(DeliveryRow.state == DeliveryState.UNDELIVERABLE, not_discarded(DeliveryRow.id))
        open_ = (
            select(DeliveryRow.destination, DeliveryRow.state, func.count())
            .where(or_(DeliveryRow.state == DeliveryState.PENDING, lost))
            .group_by(DeliveryRow.destination, DeliveryRow.state)
        )
        with self._reading() as session:
            waiting, oldest = session.execute(live).one()
            rows = session.execute(open_).all()
            behind = session.scalars(backlog).one()
            put_aside = session.scalars(failed).one()
            ages = {name: _seconds(at, now) for name, at in session.execute(_oldest_due())}
        return Queues(
            waiting=waiting,
            oldest_exam_s=0.0 if oldest is None else _seconds(oldest, now),
            backlog=behind,
            due={name: n for name, state, n in rows if state == DeliveryState.PENDING},
            oldest_due_s=ages,
            lost={name: n for name, state, n in rows if state == DeliveryState.UNDELIVERABLE},
            failed=put_aside,
        )

    def happened(self, after: int, limit: int) -> tuple[int, tuple[Event, ...]]:
        """Return what the audit log tells of after an entry's number, and the last number read.

        Args:
            after: number of an entry, 0 for the beginning.
            limit: entries that are read at most.
        """
        issued = (  # the version that was under way
            select(func.max(ReportRow.issued_at))
            .where(ReportRow.exam_id == AuditRow.exam_id, ReportRow.issued_at <= AuditRow.at)
            .scalar_subquery()
        )
        wanted = (
            select(
                AuditRow.number,
                AuditRow.kind,
                AuditRow.at,
                AuditRow.content,
                AuditRow.exam_id,
                _told_before().label("again"),
                ExamRow.received_at,
                ExamRow.rung_at,
                ExamRow.priority,
                MessageRow.sender,
                issued.label("issued_at"),
            )
            .outerjoin(ExamRow, ExamRow.id == AuditRow.exam_id)
            .outerjoin(MessageRow, MessageRow.id == ExamRow.message_id)
            .where(AuditRow.number > after)
            .order_by(AuditRow.number)
            .limit(limit)
        )
        with self._reading() as session:
            rows = session.execute(wanted).all()
        told = tuple(event for event in map(_event, rows) if event is not None)
        return (rows[-1].number if rows else after), told

    def spreads(self, since: datetime, until: datetime) -> dict[str, Spread]:
        """Return sender -> how its live ECGs were judged from `since` to `until`.

        It looks at the latest 20,000 decisions of that time; an archive's are left out of them.
        """
        decided = (
            select(MessageRow.sender, ExamRow.priority, AuditRow.content)
            .join(ExamRow, ExamRow.id == AuditRow.exam_id)
            .join(MessageRow, MessageRow.id == ExamRow.message_id)
            .where(
                and_(AuditRow.at >= since, AuditRow.at < until),
                AuditRow.kind == AuditKind.DECISION,
            )
            .order_by(AuditRow.at.desc())
            .limit(_SAMPLE)
        )
        found: dict[str, tuple[list[int], list[int]]] = {}
        with self._reading() as session:
            for sender, priority, content in session.execute(decided):
                if priority != LIVE.priority:
                    continue
                verdicts, scores = found.setdefault(sender, ([0] * len(VERDICTS), [0] * SCORE_BINS))
                verdict, _, score = _decision(content)
                verdicts[VERDICTS.index(verdict)] += 1
                if score is not None:
                    scores[min(int(score * SCORE_BINS), SCORE_BINS - 1)] += 1
        return {sender: Spread(tuple(a), tuple(b)) for sender, (a, b) in found.items()}


def _oldest_due() -> Select[str, datetime]:
    """Select destination and issue of the oldest report among those that are due first."""
    first = (
        select(DeliveryRow.destination, DeliveryRow.exam_id, DeliveryRow.version)
        .where(DeliveryRow.state == DeliveryState.PENDING)
        .order_by(DeliveryRow.next_attempt_at)
        .limit(_DUE)
        .subquery()
    )
    same = and_(ReportRow.exam_id == first.c.exam_id, ReportRow.version == first.c.version)
    return (
        select(first.c.destination, func.min(ReportRow.issued_at))
        .join(ReportRow, same)
        .group_by(first.c.destination)
    )


def _told_before() -> Exists:
    """Whether an earlier entry of the audit log tells the same of the same ECG."""
    earlier = aliased(AuditRow)
    return (
        select(earlier.id)
        .where(
            earlier.exam_id == AuditRow.exam_id,
            earlier.kind == AuditRow.kind,
            earlier.number < AuditRow.number,
            or_(earlier.kind == AuditKind.DECISION, earlier.content == AuditRow.content),
        )
        .exists()
    )


def _decision(content: str) -> tuple[str, str, float | None]:
    """Return verdict, reason and anomaly score; see `decisions.add_decision`."""
    told = json.loads(content)
    verdict, *reasons = told["quality"]
    return verdict, (reasons[0] if verdict == "unscorable" else ""), told["anomaly"][0]


def _event(row: Row[*tuple[Any, ...]]) -> Event | None:
    match row.kind:
        case AuditKind.DECISION:
            return _judged(row)
        case AuditKind.DELIVERY:
            return _ended(row)
        case AuditKind.CONFIRMATION:
            return Reviewed(row.sender or "", json.loads(row.content)["decision"])
        case _:
            return None


def _judged(row: Row[*tuple[Any, ...]]) -> Judged:
    verdict, reason, score = _decision(row.content)
    waited_s = scoring_s = None
    if row.received_at is not None and not row.again:
        began = row.rung_at or row.received_at
        waited_s = _seconds(row.received_at, began)
        scoring_s = _seconds(began, row.at)
    live = row.priority in (None, LIVE.priority)
    return Judged(
        row.sender or "",
        live,
        verdict,
        reason,
        score,
        waited_s,
        scoring_s,
        row.at,
        row.exam_id,
    )


def _ended(row: Row[*tuple[Any, ...]]) -> Ended:
    told = json.loads(row.content)
    known = row.issued_at is not None and not row.again
    return Ended(
        told["destination"],
        told["outcome"],
        _seconds(row.issued_at, row.at) if known else None,
        _seconds(row.received_at, row.at) if known and told.get("version", 1) == 1 else None,
        row.at,
        row.exam_id,
    )


def _seconds(since: datetime, until: datetime) -> float:
    return max((until - since).total_seconds(), 0.0)  # two machines' clocks may differ a little
