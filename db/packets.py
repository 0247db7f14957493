"""Packets of continuous recordings that came as messages: into their streams.

A monitor that speaks HL7 v2 has each packet acknowledged by itself, so each is a message and, until
it is known whose it is and its stream has taken it, an exam in the state `packet`.
"""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from sqlalchemy import Select, delete, select, update
from sqlalchemy.orm import Session

from db.chunks import Arrival, add_arrivals
from db.mapping import packed_of, patient_of
from db.records import ExamState, PatientRef
from db.sessions import Sessions
from db.streaming import Stream
from db.tables import ExamRow, MessageRow, WaveformRow
from model.stitch import MAX_AHEAD_S

AHEAD_REASON = "time-in-future"


class Packets(Sessions):
    """Packets."""

    def adopt_packets(self, limit: int) -> int:
        """Give packets that wait to their streams, the earliest recorded first; return how many.

        Their samples move there; the bytes of their messages stay. One that says to be of the
        future, by a wrong clock, ends as unscorable: its stream would wait for that time.
        """
        with self._reading() as session:
            if session.scalars(_waiting(1)).first() is None:
                return 0
        with self._writing() as session:
            ids = session.scalars(_waiting(limit).with_for_update(skip_locked=True)).all()
            arrivals = _arrivals(session, ids)
            taken = [arrival for arrival in arrivals if not _ahead(arrival)]
            if taken:
                add_arrivals(session, taken)
            _end(session, [arrival.id for arrival in taken], ExamState.STITCHED, None)
            ahead = [arrival.id for arrival in arrivals if _ahead(arrival)]
            _end(session, ahead, ExamState.UNSCORABLE, AHEAD_REASON)
        return len(ids)


def _waiting(limit: int) -> Select[UUID]:
    return (
        select(ExamRow.id)
        .where(ExamRow.state == ExamState.PACKET)
        .order_by(ExamRow.acquired_at, ExamRow.received_at, ExamRow.id)
        .limit(limit)
    )


def _arrivals(session: Session, ids: Sequence[UUID]) -> list[Arrival]:
    rows = session.execute(
        select(ExamRow, MessageRow.sender, WaveformRow)
        .join(MessageRow, MessageRow.id == ExamRow.message_id)
        .join(WaveformRow, WaveformRow.exam_id == ExamRow.id)
        .where(ExamRow.id.in_(ids))
        .order_by(ExamRow.received_at, ExamRow.id)
    ).all()
    return [
        _arrival(exam, sender, patient, waveform)
        for exam, sender, waveform in rows
        if (patient := patient_of(exam)) is not None
    ]


def _arrival(exam: ExamRow, sender: str, patient: PatientRef, waveform: WaveformRow) -> Arrival:
    return Arrival(
        id=exam.id,
        stream=Stream(sender, patient, waveform.sampling_rate_hz),
        message_id=exam.message_id,
        received_at=exam.received_at,
        packed=packed_of(waveform),
    )


def _ahead(arrival: Arrival) -> bool:
    return arrival.start > arrival.received_at + timedelta(seconds=MAX_AHEAD_S)


def _end(session: Session, ids: Sequence[UUID], state: ExamState, reason: str | None) -> None:
    session.execute(update(ExamRow).where(ExamRow.id.in_(ids)).values(state=state, reason=reason))
    if state is ExamState.STITCHED:
        session.execute(delete(WaveformRow).where(WaveformRow.exam_id.in_(ids)))
