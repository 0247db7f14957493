"""Values to rows and back."""

from datetime import UTC, date, datetime
from uuid import NAMESPACE_URL, UUID, uuid5

from db.compress import shrink
from db.errors import NotFound
from db.records import (
    FIRST_EPISODE,
    LIVE,
    DeliveryState,
    Exam,
    ExamFacts,
    ExamState,
    Lane,
    MessageState,
    NewAssessment,
    NewExam,
    NewMessage,
    PatientRef,
    StoredReport,
)
from db.reviews import Review
from db.sealed import Sealed, opened, row_id, sealed
from db.tables import (
    AssessmentRow,
    BedMoveRow,
    DeliveryRow,
    ExamRow,
    OrderRow,
    ReportRow,
    ResultRow,
    WaveformRow,
)
from db.waveform import Packed, pack, unpack
from model.ecg import Ecg
from model.stitch import is_packet

_PATIENTS = uuid5(NAMESPACE_URL, "urn:hisbundle:patient")


def message_values(
    message: NewMessage, state: MessageState, reason: str | None, answer: bytes
) -> dict[str, object]:
    """Return a message's row."""
    return {
        "id": message.id,
        "protocol": message.protocol,
        "sender": message.sender,
        "control_id": message.control_id,
        "state": state,
        "reason": reason,
        "received_at": message.received_at,
        "original_size": message.original_size,
        "sha256": message.sha256,
        "raw": Sealed(message.id, shrink(message.raw)),
        "answer": Sealed(message.id, shrink(answer)),
    }


def exam_values(
    message: NewMessage, ordinal: int, exam: NewExam, rung_at: datetime | None, lane: Lane = LIVE
) -> dict[str, object]:
    """Return an exam's row before anything is known of its patient."""
    acquired = exam.acquired
    instant = acquired if isinstance(acquired, datetime) else None
    id_ = message.exam_id(ordinal)
    return {
        "id": id_,
        "message_id": message.id,
        "ordinal": ordinal,
        "state": ExamState.PACKET if is_packet(exam.ecg) else ExamState.RECEIVED,
        "reason": None,
        "acquired_at": instant,
        "acquired_on": acquired.date() if isinstance(acquired, datetime) else acquired,
        "filler_order": sealed(id_, exam.filler_order),
        "received_at": message.received_at,
        "rung_at": rung_at,
        "attempts": 0,
        "bed": sealed(id_, exam.bed.name if exam.bed else None),
        "bed_facility": sealed(id_, exam.bed.facility if exam.bed else None),
        "bed_token": exam.bed.name if exam.bed else None,
        "priority": lane.priority,
        "silent": lane.silent,
        **patient_values(id_, None),
        **order_values(id_, exam.placer_order),
    }


def patient_values(row_id: UUID, patient: PatientRef | None) -> dict[str, object]:
    """Return the columns of a row that say whose it is."""
    identifier = None if patient is None else patient.identifier
    authority = None if patient is None else patient.authority
    return {
        "patient_identifier": sealed(row_id, identifier),
        "patient_authority": sealed(row_id, authority),
        "patient_token": identifier,
        "authority_token": authority,
    }


def order_values(row_id: UUID, placer_order: str | None) -> dict[str, object]:
    """Return the columns of an exam that say which order it answers."""
    return {"placer_order": sealed(row_id, placer_order), "order_token": placer_order}


def patient_of(row: ExamRow | ResultRow | BedMoveRow | OrderRow) -> PatientRef | None:
    """Return whose a row is.

    Raises:
        Corrupt: its identifiers are another row's, or were changed.
    """
    identifier = opened(row.patient_identifier, row.id)
    if identifier is None:
        return None
    return PatientRef(identifier, opened(row.patient_authority, row.id))


def waveform_values(exam_id: UUID, ecg: Ecg) -> dict[str, object]:
    """Return the columns of an exam's samples."""
    packed = pack(ecg)
    resolution = packed.resolution_mv
    return {
        "exam_id": exam_id,
        "leads": list(packed.leads),
        "n_samples": packed.n_samples,
        "sampling_rate_hz": packed.sampling_rate_hz,
        "start": packed.start,
        "resolution_mv": None if resolution is None else list(resolution),
        "encoding": packed.encoding,
        "samples": Sealed(exam_id, packed.samples),
    }


def ecg_of(waveform: WaveformRow) -> Ecg:
    """Return the samples of an exam.

    Raises:
        Corrupt: they do not decode, or are another exam's.
    """
    return unpack(packed_of(waveform))


def packed_of(waveform: WaveformRow) -> Packed:
    """Return the samples of an exam as they are kept."""
    resolution = waveform.resolution_mv
    return Packed(
        leads=tuple(waveform.leads),
        n_samples=waveform.n_samples,
        sampling_rate_hz=waveform.sampling_rate_hz,
        start=waveform.start,
        resolution_mv=None if resolution is None else tuple(resolution),
        encoding=waveform.encoding,
        samples=waveform.samples.open(waveform.exam_id),
    )


def exam_of(row: ExamRow, waveform: WaveformRow) -> Exam:
    """Return an exam; raise NotFound while it is nobody's."""
    return Exam(**vars(facts_of(row)), ecg=ecg_of(waveform))


def facts_of(row: ExamRow) -> ExamFacts:
    """Return what is stored of an exam besides its samples; raise NotFound while it is nobody's."""
    patient = patient_of(row)
    if patient is None:
        raise NotFound("not-found", f"exam {row.id} is nobody's yet")
    return ExamFacts(
        id=row.id,
        message_id=row.message_id,
        state=row.state,
        reason=row.reason,
        patient=patient,
        acquired=row.acquired_at or row.acquired_on,
        placer_order=opened(row.placer_order, row.id),
        filler_order=opened(row.filler_order, row.id),
        received_at=row.received_at,
        attempts=row.attempts,
        silent=row.silent,
        of_stream=row.ordinal >= FIRST_EPISODE,
    )


def assessment_row(exam_id: UUID, new: NewAssessment) -> AssessmentRow:
    """Return an assessment's row."""
    found = new.findings
    return AssessmentRow(
        exam_id=exam_id,
        assessed_at=new.assessed_at,
        findings=found.to_json(),
        anomaly_score=found.anomaly_score,
        model=f"{found.model.name}@{found.model.version}",
        flagged="".join(f",{code}" for code in found.flags) + ",",
    )


def report_row(exam_id: UUID, new: NewAssessment, acquired_on: date | None) -> ReportRow:
    """Return the row of a report's first version."""
    return ReportRow(
        exam_id=exam_id,
        issued_at=new.assessed_at,
        effective_on=acquired_on or new.assessed_at.astimezone(UTC).date(),
        bundle=Sealed(row_id(exam_id, 1), new.report),
    )


def stored_report(row: ReportRow) -> StoredReport:
    """Return a version of a report."""
    return StoredReport(
        exam_id=row.exam_id,
        issued_at=row.issued_at,
        bundle=row.bundle.open(row_id(row.exam_id, row.version)),
        version=row.version,
        status=row.status,
        actor=row.actor,
        review=review_of(row),
    )


def review_of(row: ReportRow) -> Review | None:
    """Return what a clinician decided that made this version, or None."""
    told = opened(row.review, row_id(row.exam_id, row.version))
    return None if told is None else Review.from_json(told)


def delivery_row(
    id_: UUID,
    exam_id: UUID,
    destination: str,
    due: datetime,
    *,
    version: int,
    rung_at: datetime | None,
    patient: UUID | None,
) -> DeliveryRow:
    """Return a delivery's row, due at once."""
    return DeliveryRow(
        id=id_,
        exam_id=exam_id,
        version=version,
        destination=destination,
        state=DeliveryState.PENDING,
        attempts=0,
        next_attempt_at=due,
        rung_at=rung_at,
        last_answer=None,
        patient=patient,
        queued_at=due,
    )


def patient_key(identifier: str | None, authority: str | None) -> UUID | None:
    """Return what tells one patient's deliveries from another's without saying who it is."""
    return uuid5(_PATIENTS, f"{authority or ''}\x1f{identifier}") if identifier else None
