"""What is shown: reports, lists and counts."""

from datetime import date, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, func, select, tuple_
from sqlalchemy.orm import InstrumentedAttribute, Session, load_only

from db.engine import without_hurry
from db.errors import NotFound
from db.filters import Filter, Subject, matching
from db.mapping import stored_report
from db.records import (
    DeliveryEnd,
    DeliveryState,
    ExamState,
    ExamSummary,
    MessageState,
    Status,
    StoredReport,
    keepable,
)
from db.sealed import is_one_of
from db.sessions import Sessions
from db.tables import AssessmentRow, DeliveryRow, ExamRow, MessageRow, ReportRow
from model.findings import Findings


class Reports(Sessions):
    """Reading only."""

    def read_report(self, exam_id: UUID) -> StoredReport:
        """Return the newest version of the report on an exam.

        Raises:
            NotFound: no such exam, or none assessed yet.
        """
        with self._reading() as session:
            row = session.scalars(
                select(ReportRow).where(ReportRow.exam_id == exam_id, ReportRow.newest)
            ).one_or_none()
        if row is None:
            raise NotFound("not-found", f"no report on exam {exam_id}")
        return stored_report(row)

    def search_reports(
        self,
        *,
        identifier: str | None = None,
        authority: str | None = None,
        business_identifier: UUID | None = None,
        date_from: date | None = None,
        date_to: date | None = None,
        offset: int = 0,
        limit: int = 50,
    ) -> tuple[int, tuple[StoredReport, ...]]:
        """Return how many reports match, and one page of their newest versions, latest first.

        Args:
            identifier: the patient's.
            authority: that assigned it.
            business_identifier: id of the exam.
            date_from: first day of acquisition (else of issue), as its sender wrote it.
            date_to: last day.
            offset: reports to skip.
            limit: reports in the page.
        """
        if not all(keepable(text) for text in (identifier, authority) if text is not None):
            return 0, ()
        conditions: list[ColumnElement[bool]] = [ReportRow.newest.is_(True)]
        if identifier is not None:
            conditions.append(is_one_of(ExamRow.patient_token, [identifier]))
        if authority is not None:
            conditions.append(is_one_of(ExamRow.authority_token, [authority]))
        if business_identifier is not None:
            conditions.append(ReportRow.exam_id == business_identifier)
        if date_from is not None:
            conditions.append(ReportRow.effective_on >= date_from)
        if date_to is not None:
            conditions.append(ReportRow.effective_on <= date_to)
        joined = ReportRow.exam_id == ExamRow.id
        page = (
            select(ReportRow)
            .join(ExamRow, joined)
            .where(*conditions)
            .order_by(ReportRow.issued_at.desc(), ReportRow.exam_id)
            .offset(offset)
            .limit(limit)
        )
        count = select(func.count(ReportRow.exam_id)).join(ExamRow, joined).where(*conditions)
        with self._reading() as session:
            total = session.scalars(count).one()
            rows = session.scalars(page).all()
        return total, tuple(stored_report(row) for row in rows)

    def recent_exams(self, limit: int) -> tuple[ExamSummary, ...]:
        """Return the exams received last, newest first."""
        newest = _summaries().order_by(ExamRow.received_at.desc(), ExamRow.id).limit(limit)
        with self._reading() as session:
            return _read_summaries(session, newest)

    def find_exams(
        self, found: Filter, limit: int, before: ExamSummary | None = None
    ) -> tuple[ExamSummary, ...]:
        """Return the exams that a filter selects, newest first; its texts are not looked for.

        Args:
            found: a parsed filter.
            limit: at most so many.
            before: the last one of the page before.
        """
        page = _summaries().where(matching(found, Subject.EXAM))
        if before is not None:
            place = (before.received_at, before.id)
            page = page.where(tuple_(ExamRow.received_at, ExamRow.id) < tuple_(*place))
        newest = page.order_by(ExamRow.received_at.desc(), ExamRow.id.desc()).limit(limit)
        with self._reading() as session:
            return _read_summaries(session, newest)

    def count_exams(self, found: Filter) -> int:
        """Return how many exams a filter selects; its texts are not looked for."""
        counted = select(func.count(ExamRow.id)).where(matching(found, Subject.EXAM))
        with self._reading() as session:
            return session.scalars(counted).one()

    def deliveries_of(self, exam_id: UUID) -> tuple[DeliveryEnd, ...]:
        """Return where the versions of an exam's report went, and with what success."""
        wanted = (
            select(DeliveryRow)
            .where(DeliveryRow.exam_id == exam_id)
            .order_by(DeliveryRow.destination, DeliveryRow.version)
        )
        with self._reading() as session:
            return tuple(
                DeliveryEnd(row.destination, row.version, row.state, row.attempts, row.last_answer)
                for row in session.scalars(wanted)
            )

    def status(self, now: datetime) -> Status:
        """Return the counts, and at `now` the age of the exam that has waited longest."""
        refusals = (
            select(MessageRow.reason, func.count())
            .where(MessageRow.state == MessageState.REFUSED)
            .group_by(MessageRow.reason)
        )
        conflicts = select(func.count()).where(MessageRow.conflict_at.is_not(None))
        oldest = select(func.min(ExamRow.received_at)).where(ExamRow.state == ExamState.RECEIVED)
        with self._reading() as session:
            without_hurry(session)
            since = session.scalar(oldest)
            return Status(
                messages=_counts(session, MessageRow.state, MessageState),
                exams=_counts(session, ExamRow.state, ExamState),
                deliveries=_counts(session, DeliveryRow.state, DeliveryState),
                refusals={reason or "": n for reason, n in session.execute(refusals)},
                conflicts=session.scalars(conflicts).one(),
                oldest_waiting_s=None if since is None else (now - since).total_seconds(),
            )


def _counts(
    session: Session, column: InstrumentedAttribute[StrEnum], states: type[StrEnum]
) -> dict[str, int]:
    """Return every state with its count, 0 included."""
    counted = select(column, func.count()).group_by(column)
    found = dict(session.execute(counted).all())
    return {state.value: found.get(state, 0) for state in states}


def _summaries() -> Select[ExamRow, str, str, dict[str, Any] | None]:
    return (
        select(ExamRow, MessageRow.sender, MessageRow.control_id, AssessmentRow.findings)
        .join(MessageRow, MessageRow.id == ExamRow.message_id)
        .outerjoin(AssessmentRow, AssessmentRow.exam_id == ExamRow.id)
        # No patient: who may not read those columns may still read this.
        .options(load_only(ExamRow.state, ExamRow.reason, ExamRow.received_at))
    )


def _read_summaries(
    session: Session, query: Select[ExamRow, str, str, dict[str, Any] | None]
) -> tuple[ExamSummary, ...]:
    return tuple(
        ExamSummary(
            id=exam.id,
            sender=sender,
            control_id=control_id,
            state=exam.state,
            reason=exam.reason,
            received_at=exam.received_at,
            findings=None if findings is None else Findings.from_json(findings),
        )
        for exam, sender, control_id, findings in session.execute(query)
    )
