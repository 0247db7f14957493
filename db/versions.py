"""Versions of a report: how one follows another, and how each gets to where the others went.

A version goes to every destination that had one before, or was to have it, and per destination in
order: one waits while an earlier one may be under way. What was never sent when a later version
came is not sent any more; the later one says all that it said.
"""

import hashlib
import json
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID, uuid5

from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from db.audit import AuditEntry, AuditKind, add_entry
from db.errors import NotFound, VersionConflict
from db.mapping import delivery_row, patient_key, stored_report
from db.oversight import answer_alert, escalate_alert, raise_alert
from db.records import DeliveryState, ExamState, StoredReport
from db.reviews import ReportStatus, Review
from db.sealed import Sealed, opened, row_id, sealed
from db.sessions import Sessions
from db.tables import DeliveryRow, ExamRow, ReportRow
from db.upkeep_tables import AuditRow


@dataclass(frozen=True)
class NewVersion:
    """What a report becomes.

    Attributes:
        status: of the report as a whole.
        issued_at: when it became so, aware.
        bundle: FHIR transaction Bundle (JSON object).
        actor: who made it: an authenticated client, an operator's name, a program.
        review: the decision it rests on, if it rests on one.
        escalates: whether it is made because nobody answered a critical finding.
        acknowledged_by: who answered a critical finding, where it is made because somebody did.
        still_asks: whether another one of its critical findings waits for an answer even then.
        critical: codes of findings that somebody has to be told of at once, and was not before.
        answer_by: until when a clinician has to decide because of them, or None.
    """

    status: ReportStatus
    issued_at: datetime
    bundle: dict[str, Any] = field(repr=False)
    actor: str
    review: Review | None = None
    escalates: bool = False
    acknowledged_by: str | None = None
    still_asks: bool = False
    critical: tuple[str, ...] = ()
    answer_by: datetime | None = None


@dataclass(frozen=True)
class VersionSummary:
    """A version without what it says.

    Attributes:
        reviewer: who decided, as the audit log names them; None: nobody did, or it tells no more.
    """

    version: int
    status: ReportStatus
    issued_at: datetime
    reviewer: str | None


class Versions(Sessions):
    """Adding and reading versions."""

    def add_version(self, exam_id: UUID, new: NewVersion, *, expected: int) -> tuple[UUID, ...]:
        """Add a version of a report, with its deliveries, and say so in the audit log.

        Args:
            exam_id: whose report.
            new: the version.
            expected: number of the version that it follows.

        Returns:
            Its deliveries. Those that wait for none before them are due at once.

        Raises:
            NotFound: no report on this exam.
            VersionConflict: `version-conflict`: another version came in between.
        """
        with self._writing() as session:
            _lock(session, exam_id)
            former = session.scalars(
                select(ReportRow).where(ReportRow.exam_id == exam_id, ReportRow.newest)
            ).one_or_none()
            if former is None:
                raise NotFound("not-found", f"no report on exam {exam_id}")
            if former.version != expected:
                detail = f"version {former.version} is the newest, not {expected}"
                raise VersionConflict("version-conflict", detail)
            former.newest = False
            session.flush()
            number = expected + 1
            session.add(_row(former, number, new))
            session.flush()
            ids = _pass_on(session, exam_id, number, new.issued_at)
            if new.critical:
                raise_alert(session, exam_id, new.critical, new.issued_at, new.answer_by)
            if new.review or (new.acknowledged_by and not new.still_asks):
                answer_alert(session, exam_id, new.issued_at)
            if new.escalates:
                escalate_alert(session, exam_id, new.issued_at)
            add_entry(session, _entry(exam_id, number, new))
        return ids

    def read_version(self, exam_id: UUID, version: int) -> StoredReport:
        """Return a version of a report.

        Raises:
            NotFound: there is none.
        """
        with self._reading() as session:
            row = session.get(ReportRow, (exam_id, version))
        if row is None:
            raise NotFound("not-found", f"no version {version} of a report on exam {exam_id}")
        return stored_report(row)

    def versions_of(self, exam_id: UUID) -> tuple[StoredReport, ...]:
        """Return the versions of a report, the newest first; empty without a report."""
        wanted = (
            select(ReportRow).where(ReportRow.exam_id == exam_id).order_by(ReportRow.version.desc())
        )
        with self._reading() as session:
            return tuple(stored_report(row) for row in session.scalars(wanted))

    def version_summaries(self, exam_id: UUID) -> tuple[VersionSummary, ...]:
        """Return the versions of a report, the oldest first; no patient data is read."""
        columns = (ReportRow.version, ReportRow.status, ReportRow.issued_at)
        wanted = select(*columns).where(ReportRow.exam_id == exam_id).order_by(ReportRow.version)
        told = select(AuditRow.content).where(
            AuditRow.exam_id == exam_id, AuditRow.kind == AuditKind.CONFIRMATION
        )
        with self._reading() as session:
            rows = session.execute(wanted).all()
            decisions = [json.loads(content) for content in session.scalars(told)]
        reviewers = {decision["version"]: decision["reviewer"] for decision in decisions}
        return tuple(VersionSummary(*row, reviewers.get(row.version)) for row in rows)


def _lock(session: Session, exam_id: UUID) -> None:
    session.execute(select(ExamRow.id).where(ExamRow.id == exam_id).with_for_update())


def _row(former: ReportRow, number: int, new: NewVersion) -> ReportRow:
    id_ = row_id(former.exam_id, number)
    return ReportRow(
        exam_id=former.exam_id,
        version=number,
        status=new.status,
        issued_at=new.issued_at,
        effective_on=former.effective_on,
        bundle=Sealed(id_, new.bundle),
        actor=new.actor,
        review=sealed(id_, new.review.to_json() if new.review else None),
    )


def _pass_on(session: Session, exam_id: UUID, number: int, now: datetime) -> tuple[UUID, ...]:
    """Make the deliveries of a version; return their ids."""
    mine = DeliveryRow.exam_id == exam_id
    names = session.scalars(select(DeliveryRow.destination).where(mine).distinct()).all()
    session.execute(
        update(DeliveryRow)
        .where(
            mine,
            DeliveryRow.state == DeliveryState.PENDING,
            or_(DeliveryRow.leased_until.is_(None), DeliveryRow.leased_until <= now),
        )
        .values(state=DeliveryState.SUPERSEDED)
    )
    ids = {name: uuid5(exam_id, f"{name}\x1f{number}") for name in sorted(names)}
    of = select(ExamRow.patient_identifier, ExamRow.patient_authority).where(ExamRow.id == exam_id)
    patient = patient_key(*(opened(value, exam_id) for value in session.execute(of).one()))
    # Not rung yet: one that has to wait for another is rung by the sweep.
    session.add_all(
        delivery_row(id_, exam_id, name, now, version=number, rung_at=None, patient=patient)
        for name, id_ in ids.items()
    )
    if ids:
        session.execute(
            update(ExamRow)
            .where(
                ExamRow.id == exam_id,
                ExamRow.state.in_([ExamState.DELIVERED, ExamState.UNDELIVERABLE]),
            )
            .values(state=ExamState.SCORED, reason=None)
        )
    return tuple(ids.values())


def _entry(exam_id: UUID, number: int, new: NewVersion) -> AuditEntry:
    """The clinician's words stay out of it: they may quote the patient."""
    plain = json.dumps(new.bundle, sort_keys=True, separators=(",", ":"))
    content: dict[str, Any] = {
        "version": number,
        "status": new.status.value,
        "sha256": hashlib.sha256(plain.encode()).hexdigest(),
    }
    kind = AuditKind.OPERATION
    if new.review:
        kind = AuditKind.CONFIRMATION
        content |= {"decision": new.review.decision.value, "reviewer": new.review.reviewer.key}
    if new.acknowledged_by:
        content |= {"acknowledged_by": new.acknowledged_by}
    return AuditEntry(kind, new.issued_at, new.actor, exam_id, content)
