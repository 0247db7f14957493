"""Who lay in a bed when: what admissions, transfers and discharges say, whenever they come.

A move holds from its time until the same patient's next one. Nobody is taken for lying in a bed
when two patients' moves say so, or when nothing was heard of the patient for `_NEWS_LASTS`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from uuid import UUID, uuid5

from sqlalchemy import bindparam, exists, func, insert, select, update
from sqlalchemy.orm import Session

from db.clinical import BedMove
from db.mapping import patient_values
from db.records import Bed, ExamState, NewMessage, PatientRef
from db.sealed import is_one_of, is_same, opened, sealed
from db.tables import BedMoveRow, ExamRow, WaveformRow
from model.stitch import MAX_PACKET_S

# A discharge whose message was lost must not keep a bed for ever.
_NEWS_LASTS = timedelta(days=30)
_BEDS = 0x0042_4544_5300  # of PostgreSQL's advisory locks
_NEW_MOVE = insert(BedMoveRow)
_ANY_WAITS = select(exists().where(ExamRow.state == ExamState.UNASSOCIATED))
_GIVE = update(ExamRow).where(ExamRow.id == bindparam("of"))


def hold_beds(session: Session, *, moved: bool) -> None:
    """Let moves and the ECGs that ask for a bed's patient see each other; at a transaction's start.

    An ECG that finds no move and the move that finds no waiting ECG must not commit side by side:
    who stores moves is alone, those who ask are so together. SQLite has one writer in any case.
    """
    if session.get_bind().dialect.name == "postgresql":
        lock = func.pg_advisory_xact_lock if moved else func.pg_advisory_xact_lock_shared
        session.execute(select(lock(_BEDS)))


def add_moves(session: Session, message: NewMessage, moves: Sequence[BedMove]) -> None:
    """Keep a message's moves."""
    rows = [
        {
            "id": id_,
            "message_id": message.id,
            "at": move.at,
            "bed": sealed(id_, move.bed.name if move.bed else None),
            "facility": sealed(id_, move.bed.facility if move.bed else None),
            "bed_token": move.bed.name if move.bed else None,
            "cancels": move.cancels,
            **patient_values(id_, move.patient),
        }
        for id_, move in (
            (uuid5(message.id, f"move {ordinal}"), move) for ordinal, move in enumerate(moves)
        )
    ]
    if rows:
        session.connection().execute(_NEW_MOVE, rows)


def patient_in(session: Session, bed: Bed, at: datetime) -> PatientRef | None:
    """Return who certainly lay in a bed at a time, or None."""
    return occupant(_moves_around(session, bed, at), bed, at)


def associate(
    session: Session, moves: Sequence[BedMove], rung_at: datetime | None
) -> tuple[UUID, ...]:
    """Give a patient to every waiting ECG whose bed these moves make certain.

    Returns:
        Those that wait for scoring now; a monitor's packets wait for their window first.
    """
    found: list[UUID] = []
    for bed, exams in groupby(_waiting(session, moves), lambda exam: exam.bed):
        timed = list(exams)
        around = _moves_around(session, bed, timed[0].acquired_at)
        by_patient: dict[tuple[PatientRef, ExamState], list[UUID]] = {}
        for exam in timed:
            if patient := occupant(around, bed, exam.acquired_at):
                by_patient.setdefault((patient, exam.becomes), []).append(exam.id)
        for (patient, state), ids in by_patient.items():
            _give(session, patient, ids, state, rung_at)
            found += ids if state is ExamState.RECEIVED else []
    return tuple(found)


@dataclass(frozen=True)
class _Waiting:
    """An ECG that is nobody's yet."""

    id: UUID
    bed: Bed
    acquired_at: datetime
    becomes: ExamState


def _waiting(session: Session, moves: Sequence[BedMove]) -> list[_Waiting]:
    """Return the ECGs that wait for word of any bed that these patients ever lay in."""
    if not moves or not session.scalar(_ANY_WAITS):  # a patient's moves may be thousands
        return []
    moved = _moves_of(session, {move.patient for move in moves})
    beds = sorted({move.bed.name for move in moved if move.bed})
    lasts_s = WaveformRow.n_samples / WaveformRow.sampling_rate_hz
    packet = WaveformRow.start.is_not(None) & (lasts_s < MAX_PACKET_S)
    rows = session.execute(
        select(ExamRow, packet)
        .join(WaveformRow, WaveformRow.exam_id == ExamRow.id)
        .where(ExamRow.state == ExamState.UNASSOCIATED, is_one_of(ExamRow.bed_token, beds))
        .with_for_update(of=ExamRow)
    )
    waiting = [
        _Waiting(
            row.id,
            Bed(name, opened(row.bed_facility, row.id)),
            row.acquired_at,
            ExamState.PACKET if is_packet else ExamState.RECEIVED,
        )
        for row, is_packet in rows
        if (name := opened(row.bed, row.id)) is not None and row.acquired_at is not None
    ]
    return sorted(waiting, key=lambda w: (w.bed.name, w.bed.facility or "", w.acquired_at))


def _give(
    session: Session,
    patient: PatientRef,
    exam_ids: list[UUID],
    state: ExamState,
    rung_at: datetime | None,
) -> None:
    given = {"state": state, "rung_at": rung_at}
    rows = [{"of": id_} | given | patient_values(id_, patient) for id_ in exam_ids]
    session.connection().execute(_GIVE, rows)


def occupant(moves: Sequence[BedMove], bed: Bed, at: datetime) -> PatientRef | None:
    """Return the one patient who lay in a bed at a time, or None.

    Args:
        moves: all moves of all patients who were ever said to lie there.
        bed: one without a facility is unknown where several facilities have a bed of its name.
        at: aware.
    """
    by_patient: dict[PatientRef, list[BedMove]] = {}
    for move in moves:
        by_patient.setdefault(move.patient, []).append(move)
    facilities = {m.bed.facility for m in moves if m.bed and m.bed.name == bed.name} - {None}
    if bed.facility is None and len(facilities) > 1:
        return None
    lying = [patient for patient, own in by_patient.items() if _same(_place(own, at), bed)]
    return lying[0] if len(lying) == 1 else None


def _same(place: Bed | None, bed: Bed) -> bool:
    return (
        place is not None
        and place.name == bed.name
        and (None in (place.facility, bed.facility) or place.facility == bed.facility)
    )


def _place(moves: Iterable[BedMove], at: datetime) -> Bed | None:
    """Return where a patient lay; of two moves of the same moment nobody knows which came last."""
    steps: list[BedMove] = []
    news_at: datetime | None = None
    for move in sorted(moves, key=lambda m: (m.at, m.cancels)):
        if move.at <= at:
            news_at = move.at
        if move.cancels:
            del steps[-1:]
        elif not steps or steps[-1].at != move.at:
            if not steps or steps[-1].bed != move.bed:
                steps.append(move)
        elif steps[-1].bed != move.bed:
            steps[-1] = BedMove(move.patient, move.at, None)
    if news_at is None or at - news_at > _NEWS_LASTS:
        return None
    return next((step.bed for step in reversed(steps) if step.at <= at), None)


def _moves_around(session: Session, bed: Bed, since: datetime) -> list[BedMove]:
    """Return all moves of every patient who was said to lie in a bed, lately enough to count."""
    said = select(BedMoveRow).where(
        is_one_of(BedMoveRow.bed_token, [bed.name]), BedMoveRow.at >= since - _NEWS_LASTS
    )
    return _moves_of(session, {_move(row).patient for row in session.scalars(said)})


def _moves_of(session: Session, patients: set[PatientRef]) -> list[BedMove]:
    """Return all moves of some patients.

    Each is looked for by name: tokens of two rows are not compared, since while keys are exchanged
    the same patient has two.
    """
    found: list[BedMove] = []
    for patient in patients:
        own = select(BedMoveRow).where(
            is_one_of(BedMoveRow.patient_token, [patient.identifier]),
            is_same(BedMoveRow.authority_token, patient.authority),
        )
        found += map(_move, session.scalars(own))
    return found


def _move(row: BedMoveRow) -> BedMove:
    bed = opened(row.bed, row.id)
    return BedMove(
        PatientRef(row.patient_identifier.open(row.id), opened(row.patient_authority, row.id)),
        row.at,
        Bed(bed, opened(row.facility, row.id)) if bed else None,
        row.cancels,
    )
