"""Packets of continuous recordings, and the exams that are made of them."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from sqlalchemy import delete, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from db.mapping import ecg_of, waveform_values
from db.records import ExamState, NewWindow, Packet, PatientRef, Stream
from db.sessions import Sessions
from db.tables import ExamRow, MessageRow, WaveformRow
from model.ecg import Ecg

INCOMPLETE_REASON = "window-incomplete"
LATE_REASON = "packet-late"
# A message's own ECGs are numbered from 0; a packet begins one window or reaches into the next.
_FIRST_WINDOW = 1_000_000


class Packets(Sessions):
    """Packets."""

    def waiting_packets(self, limit: int) -> tuple[Packet, ...]:
        """Return packets that wait for their window, the earliest recorded first."""
        waiting = (
            select(
                ExamRow.id,
                MessageRow.sender,
                ExamRow.patient_identifier,
                ExamRow.patient_authority,
                WaveformRow.sampling_rate_hz,
                WaveformRow.n_samples,
                WaveformRow.start,
                ExamRow.received_at,
            )
            .join(MessageRow, MessageRow.id == ExamRow.message_id)
            .join(WaveformRow, WaveformRow.exam_id == ExamRow.id)
            .where(ExamRow.state == ExamState.PACKET)
            .order_by(ExamRow.acquired_at, ExamRow.received_at, ExamRow.id)
            .limit(limit)
        )
        with self._reading() as session:
            rows = session.execute(waiting).all()
        return tuple(
            Packet(
                id=row.id,
                stream=Stream(
                    row.sender,
                    PatientRef(row.patient_identifier, row.patient_authority),
                    row.sampling_rate_hz,
                ),
                start=row.start,
                end=row.start + timedelta(seconds=row.n_samples / row.sampling_rate_hz),
                received_at=row.received_at,
            )
            for row in rows
            if row.patient_identifier is not None and row.start is not None
        )

    def packet_ecgs(self, ids: Sequence[UUID]) -> tuple[Ecg, ...]:
        """Return the samples of packets, in the order of `ids`.

        Raises:
            Corrupt: one does not decode.
        """
        with self._reading() as session:
            rows = session.scalars(select(WaveformRow).where(WaveformRow.exam_id.in_(ids))).all()
        found = {row.exam_id: row for row in rows}
        return tuple(ecg_of(found[id_]) for id_ in ids if id_ in found)

    def known_exams(self, ids: Sequence[UUID]) -> frozenset[UUID]:
        """Return those of `ids` that are exams."""
        with self._reading() as session:
            return frozenset(session.scalars(select(ExamRow.id).where(ExamRow.id.in_(ids))))

    def save_window(self, window: NewWindow) -> bool:
        """Make a window an exam that waits for scoring, and end its packets; once.

        Returns:
            False when the window is an exam already: nothing was done.
        """
        with self._writing() as session:
            if window.ecg is None:
                _end(session, window.done, ExamState.UNSCORABLE, INCOMPLETE_REASON)
                return True
            if not _insert_exam(session, window):
                return False
            id_ = window.stream.window_id(window.start)
            session.execute(insert(WaveformRow), [waveform_values(id_, window.ecg)])
            _end(session, window.done, ExamState.STITCHED, None)
        return True

    def end_late_packets(self, ids: Sequence[UUID]) -> None:
        """Put packets aside whose windows were made without them; their messages are kept."""
        with self._writing() as session:
            _end(session, ids, ExamState.UNSCORABLE, LATE_REASON)


def _insert_exam(session: Session, window: NewWindow) -> bool:
    first = session.get_one(ExamRow, window.first)
    reaches_in = first.acquired_at is not None and first.acquired_at < window.start
    values = {
        "id": window.stream.window_id(window.start),
        "message_id": first.message_id,
        "ordinal": _FIRST_WINDOW * (2 if reaches_in else 1) + first.ordinal,
        "state": ExamState.RECEIVED,
        "patient_identifier": first.patient_identifier,
        "patient_authority": first.patient_authority,
        "acquired_at": window.start,
        "acquired_on": window.start.date(),
        "placer_order": first.placer_order,
        "filler_order": first.filler_order,
        "received_at": first.received_at,
        "attempts": 0,
    }
    postgres = session.get_bind().dialect.name == "postgresql"
    new = (postgresql.insert if postgres else sqlite.insert)(ExamRow).values(values)
    statement = new.on_conflict_do_nothing(index_elements=["id"]).returning(ExamRow.id)
    return session.scalar(statement) is not None


def _end(session: Session, ids: Sequence[UUID], state: ExamState, reason: str | None) -> None:
    """End packets; their samples live on in the window, and in the bytes of their messages."""
    ended = session.scalars(
        update(ExamRow)
        .where(ExamRow.id.in_(ids), ExamRow.state == ExamState.PACKET)
        .values(state=state, reason=reason)
        .returning(ExamRow.id)
    ).all()
    if state is ExamState.STITCHED:
        session.execute(delete(WaveformRow).where(WaveformRow.exam_id.in_(ended)))
