"""Episodes of rhythms in continuous recordings, step by step, and the ECGs that tell of them.

An episode that is raised becomes an exam, the recording of its beginning, in the transaction that
raises it; what happens to exams happens to it: assessment, report, deliveries.
"""

from datetime import datetime
from uuid import UUID, uuid5

from sqlalchemy import Select, and_, delete, exists, insert, literal, select, update
from sqlalchemy.orm import Session

from db.chunks import stream_of
from db.mapping import patient_values, waveform_values
from db.records import FIRST_EPISODE, ExamState
from db.reviews import ReportStatus
from db.sessions import Sessions
from db.stream_tables import EpisodeRow, StreamRow
from db.streaming import Episode, Progress, episode_id
from db.tables import ExamRow, ReportRow, WaveformRow
from db.upkeep_tables import AlertRow
from model.alarms import Course, finding_of
from model.ecg import Ecg
from model.findings import EpisodeFinding

_NUMBERS = 2**31 - 1 - FIRST_EPISODE


class Episodes(Sessions):
    """Episodes, to be read."""

    def episode_finding_of(self, exam_id: UUID) -> EpisodeFinding | None:
        """Return the episode that an exam is the beginning of, as it stands now, or None."""
        with self._reading() as session:
            return episode_finding(session, exam_id)

    def unalerted_episodes(self, limit: int) -> tuple[Episode, ...]:
        """Return critical episodes without an alert, on which no clinician has decided.

        What else is critical in their ECGs may have one.
        """
        told = literal(",") + AlertRow.codes + ","
        alerted = exists().where(
            AlertRow.exam_id == EpisodeRow.exam_id, told.contains("," + EpisodeRow.code + ",")
        )
        undecided = ReportRow.status == ReportStatus.PRELIMINARY
        return self._episodes(_reported().where(EpisodeRow.critical, ~alerted, undecided), limit)

    def untold_ends(self, limit: int) -> tuple[Episode, ...]:
        """Return raised episodes that have ended since the report on their beginning was made."""
        return self._episodes(_reported().where(EpisodeRow.ended.is_not(None)), limit)

    def _episodes(self, wanted: Select[EpisodeRow, StreamRow], limit: int) -> tuple[Episode, ...]:
        with self._reading() as session:
            return tuple(_episode(*row) for row in session.execute(wanted.limit(limit)))

    def note_end_told(self, episode_id: UUID) -> None:
        """Note that the report tells of an episode's end, or that nobody needs to be told."""
        told = update(EpisodeRow).where(EpisodeRow.id == episode_id).values(told=True)
        with self._writing() as session:
            session.execute(told)


def episode_finding(session: Session, exam_id: UUID) -> EpisodeFinding | None:
    """Return how the episode stands that an exam is the beginning of, or None."""
    row = session.scalars(select(EpisodeRow).where(EpisodeRow.exam_id == exam_id)).one_or_none()
    return None if row is None else finding_of(_course(row))


def open_courses(session: Session, stream_id: UUID) -> tuple[Course, ...]:
    """Return the open episodes of a stream."""
    wanted = select(EpisodeRow).where(EpisodeRow.stream_id == stream_id, EpisodeRow.ended.is_(None))
    return tuple(_course(row) for row in session.scalars(wanted))


def follow_episodes(
    session: Session, step: Progress, message_id: UUID, now: datetime
) -> tuple[UUID, ...]:
    """Store how a stream's episodes stand after a step; return the exams that it made."""
    stream = step.claim.stream
    before = {episode_id(stream.id, course): course for course in step.claim.courses}
    made: list[UUID] = []
    for course in step.courses:
        id_ = episode_id(stream.id, course)
        if before.get(id_) == course:
            continue
        if course.raised and not (id_ in before and before[id_].raised):
            made.append(_insert_exam(session, step, id_, message_id, now))
        if not course.raised and course.ended:
            session.execute(delete(EpisodeRow).where(EpisodeRow.id == id_))
        else:
            session.merge(_row(id_, stream.id, course))
    return tuple(made)


def _reported() -> Select[EpisodeRow, StreamRow]:
    """Select episodes that have a report, and whose end is not told."""
    newest = and_(ReportRow.exam_id == EpisodeRow.exam_id, ReportRow.newest)
    return (
        select(EpisodeRow, StreamRow)
        .join(StreamRow, StreamRow.id == EpisodeRow.stream_id)
        .join(ReportRow, newest)
        .where(EpisodeRow.told.is_(False))
    )


def _insert_exam(
    session: Session, step: Progress, id_: UUID, message_id: UUID, now: datetime
) -> UUID:
    exam_id = uuid5(id_, "onset")
    ecg: Ecg = step.onsets[id_]
    patient = step.claim.stream.patient
    values = {
        "id": exam_id,
        "message_id": message_id,
        "ordinal": FIRST_EPISODE + id_.int % _NUMBERS,
        "state": ExamState.RECEIVED,
        **patient_values(exam_id, patient),
        "acquired_at": ecg.start,
        "acquired_on": ecg.start.date() if ecg.start else None,
        "received_at": now,
        "rung_at": now,  # whoever saves it rings it next
        "attempts": 0,
    }
    session.execute(insert(ExamRow), [values])
    session.execute(insert(WaveformRow), [waveform_values(exam_id, ecg)])
    return exam_id


def _row(id_: UUID, stream_id: UUID, course: Course) -> EpisodeRow:
    return EpisodeRow(
        id=id_,
        stream_id=stream_id,
        code=course.code,
        begun=course.begun,
        onset=course.onset,
        last_seen=course.last_seen,
        seen_s=course.seen_s,
        quiet_s=course.quiet_s,
        extreme=course.extreme,
        threshold=course.threshold,
        raised=course.raised,
        ended=course.ended,
        told=False,
        exam_id=uuid5(id_, "onset") if course.raised else None,
        critical=course.critical,
    )


def _course(row: EpisodeRow) -> Course:
    return Course(
        code=row.code,
        begun=row.begun,
        onset=row.onset,
        last_seen=row.last_seen,
        seen_s=row.seen_s,
        quiet_s=row.quiet_s,
        extreme=row.extreme,
        threshold=row.threshold,
        raised=row.raised,
        ended=row.ended,
        critical=row.critical,
    )


def _episode(row: EpisodeRow, stream: StreamRow) -> Episode:
    return Episode(row.id, stream_of(stream), _course(row), row.exam_id)
