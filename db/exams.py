"""From an exam that waits to its assessment."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID, uuid5

from sqlalchemy import ColumnElement, Select, exists, or_, select, update
from sqlalchemy.orm import Session, defer

from db.decisions import add_decision
from db.episodes import episode_finding
from db.errors import Corrupt, NotFound
from db.mapping import (
    assessment_row,
    delivery_row,
    exam_of,
    facts_of,
    patient_key,
    report_row,
    review_of,
)
from db.oversight import raise_alert
from db.records import (
    BACKLOG,
    FIRST_EPISODE,
    LIVE,
    Assessed,
    Exam,
    ExamFacts,
    ExamState,
    NewAssessment,
)
from db.sealed import opened
from db.sessions import Sessions
from db.tables import AssessmentRow, ExamRow, ReportRow, WaveformRow
from model.findings import Findings, Quality

SAMPLES_GONE = "samples-gone"


class Exams(Sessions):
    """Exams."""

    def load_exam(self, exam_id: UUID) -> Exam:
        """Return an exam with its ECG.

        Raises:
            NotFound: no such exam, or one that is nobody's yet.
            Corrupt: its samples do not decode.
        """
        with self._reading() as session:
            row, waveform = _exam_rows(session, exam_id)
        return exam_of(row, waveform)

    def load_assessed(self, exam_id: UUID, version: int | None = None) -> Assessed:
        """Return an exam with what was found in it, as a version of its report tells it.

        Args:
            exam_id: of the exam.
            version: of the report; None: the newest.

        Raises:
            NotFound: no such exam or version, or none assessed yet.
            Corrupt: its samples do not decode.
        """
        which = ReportRow.newest if version is None else ReportRow.version == version
        with self._reading() as session:
            row, waveform = _exam_rows(session, exam_id)
            found = session.execute(
                select(AssessmentRow, ReportRow)
                .join(ReportRow, ReportRow.exam_id == AssessmentRow.exam_id)
                .where(AssessmentRow.exam_id == exam_id, which)
                .options(defer(ReportRow.bundle))
            ).one_or_none()
            episode = episode_finding(session, exam_id) if row.ordinal >= FIRST_EPISODE else None
        if found is None:
            raise NotFound("not-found", f"exam {exam_id} is not assessed, or has no such version")
        assessment, report = found
        findings = Findings.from_json(assessment.findings)
        if report.newest and episode is not None:  # as it stands now
            findings = replace(findings, episode=episode)
        return Assessed(
            exam_of(row, waveform),
            findings,
            assessment.assessed_at,
            report.version,
            report.status,
            report.issued_at,
            review_of(report),
        )

    def load_findings(self, exam_id: UUID) -> tuple[ExamFacts, Findings]:
        """Return what was found in an exam, with its episode as it stands now; needs no samples.

        Raises:
            NotFound: no such exam, or none assessed yet.
            Corrupt: what is stored of it does not decode.
        """
        assessed = (
            select(ExamRow, AssessmentRow)
            .join(AssessmentRow, AssessmentRow.exam_id == ExamRow.id)
            .where(ExamRow.id == exam_id)
        )
        with self._reading() as session:
            found = session.execute(assessed).one_or_none()
            episode = episode_finding(session, exam_id)
        if found is None:
            raise NotFound("not-found", f"exam {exam_id} is not assessed")
        row, assessment = found
        return facts_of(row), replace(Findings.from_json(assessment.findings), episode=episode)

    def begin_scoring(self, exam_id: UUID) -> Exam | None:
        """Count one more attempt and return the exam; None when it does not wait for scoring.

        An exam whose samples are gone or do not decode any more ends here, as failed.
        """
        begun = self._begin(ExamRow.id == exam_id)
        return begun[0] if begun else None

    def begin_first_scoring(self, exam_ids: Sequence[UUID], max_samples: int) -> list[Exam]:
        """Count the first attempt at some exams and return them, as `begin_scoring` does.

        Left out is what does not wait, was tried before, or has more samples a lead than this.
        """
        return self._begin(ExamRow.id.in_(exam_ids) & ~_comes_alone(max_samples))

    def to_score_alone(self, exam_ids: Sequence[UUID], max_samples: int) -> set[UUID]:
        """Return those of some exams that `begin_first_scoring` would leave out for themselves."""
        alone = select(ExamRow.id).where(ExamRow.id.in_(exam_ids), _comes_alone(max_samples))
        with self._reading() as session:
            return set(session.scalars(alone))

    def _begin(self, which: ColumnElement[bool]) -> list[Exam]:
        counted = (
            update(ExamRow)
            .where(which, ExamRow.state == ExamState.RECEIVED)
            .values(attempts=ExamRow.attempts + 1, rung_at=datetime.now(UTC))
            .returning(ExamRow.id)
        )
        with self._writing() as session:
            ids = session.scalars(counted).all()
            rows = session.execute(_with_waveforms(ids)).all() if ids else []
        for exam_id in set(ids) - {row.id for row, _ in rows}:
            self.fail_exam(exam_id, SAMPLES_GONE)
        begun = []
        for row, waveform in rows:
            try:
                begun.append(exam_of(row, waveform))
            except Corrupt as error:
                self.fail_exam(row.id, error.reason)
        return begun

    def save_assessment(self, exam_id: UUID, new: NewAssessment) -> tuple[UUID, ...] | None:
        """Store what a worker found in one exam; see save_assessments."""
        return self.save_assessments({exam_id: new})[exam_id]

    def save_assessments(
        self, found: Mapping[UUID, NewAssessment]
    ) -> dict[UUID, tuple[UUID, ...] | None]:
        """Store what a worker found in exams, in one transaction, where nobody was first.

        Returns:
            Of each exam the deliveries made, due at once; None when it did not wait for scoring.
        """
        # In one order, so that of two workers with the same exams one waits for the other; flushed
        # at the end, so that all rows of a table go in with one statement.
        with self._writing() as session, session.no_autoflush:
            return {id_: _save_if_first(session, id_, found[id_]) for id_ in sorted(found)}

    def fail_exam(self, exam_id: UUID, reason: str) -> None:
        """Give up scoring an exam, if it still waits for it."""
        with self._writing() as session:
            session.execute(
                update(ExamRow)
                .where(ExamRow.id == exam_id, ExamRow.state == ExamState.RECEIVED)
                .values(state=ExamState.FAILED, reason=reason)
            )

    def claim_waiting_exams(
        self, older_than: datetime, limit: int, *, backlog: bool = False
    ) -> tuple[UUID, ...]:
        """Return exams that wait and were not rung since `older_than`, oldest first.

        They count as rung from now on, so that of several sweeps one gets each.

        Args:
            older_than: aware.
            limit: at most so many.
            backlog: those that an archive brought, instead of the live ones.
        """
        waiting = (
            select(ExamRow.id)
            .where(
                ExamRow.state == ExamState.RECEIVED,
                # Equal, not above: SQLite would sort all that waits instead of using the index.
                ExamRow.priority == (BACKLOG if backlog else LIVE.priority),
                or_(ExamRow.rung_at.is_(None), ExamRow.rung_at < older_than),
            )
            .order_by(ExamRow.received_at)
            .limit(limit)
        )
        return self._claim(
            waiting,
            lambda ids: (
                update(ExamRow).where(ExamRow.id.in_(ids)).values(rung_at=datetime.now(UTC))
            ),
        )


def _save_if_first(session: Session, exam_id: UUID, new: NewAssessment) -> tuple[UUID, ...] | None:
    destinations = () if new.silent else tuple(dict.fromkeys(new.destinations))
    ids = tuple(uuid5(exam_id, destination) for destination in destinations)
    state, reason = _outcome(new.findings.quality, reported=not destinations)
    guarded = (
        update(ExamRow)
        .where(ExamRow.id == exam_id, ExamRow.state == ExamState.RECEIVED)
        .values(state=state, reason=reason, silent=new.silent)
        .returning(ExamRow.acquired_on, ExamRow.patient_identifier, ExamRow.patient_authority)
    )
    won = session.execute(guarded).one_or_none()
    if won is None:
        return None
    session.add(assessment_row(exam_id, new))
    add_decision(session, exam_id, new)
    if new.critical:
        due_at = None if new.silent else new.answer_by
        raise_alert(session, exam_id, new.critical, new.assessed_at, due_at)
    session.add(report_row(exam_id, new, won.acquired_on))
    if destinations:
        session.flush()  # a delivery's row needs its report's
        # Rung as of now: whoever saves an assessment rings its deliveries next.
        now = new.assessed_at
        patient = patient_key(
            opened(won.patient_identifier, exam_id), opened(won.patient_authority, exam_id)
        )
        session.add_all(
            delivery_row(id_, exam_id, destination, now, version=1, rung_at=now, patient=patient)
            for id_, destination in zip(ids, destinations, strict=True)
        )
    return ids


def _comes_alone(max_samples: int) -> ColumnElement[bool]:
    """Whether an exam was tried before, and may kill workers, or is so long as to take a while."""
    long = exists().where(WaveformRow.exam_id == ExamRow.id, WaveformRow.n_samples > max_samples)
    return or_(ExamRow.attempts > 0, long)


def _with_waveforms(ids: Sequence[UUID]) -> Select[ExamRow, WaveformRow]:
    return (
        select(ExamRow, WaveformRow)
        .join(WaveformRow, WaveformRow.exam_id == ExamRow.id)
        .where(ExamRow.id.in_(ids))
    )


def _exam_rows(session: Session, exam_id: UUID) -> tuple[ExamRow, WaveformRow]:
    found = session.execute(_with_waveforms([exam_id])).one_or_none()
    if found is None:
        raise NotFound("not-found", f"no exam {exam_id}")
    return found[0], found[1]


def _outcome(quality: Quality, *, reported: bool) -> tuple[ExamState, str | None]:
    if not quality.scorable:
        return ExamState.UNSCORABLE, quality.reasons[0]
    return (ExamState.DELIVERED if reported else ExamState.SCORED), None
