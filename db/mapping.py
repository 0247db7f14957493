"""Values to rows and back."""

from datetime import UTC, date, datetime
from uuid import UUID

from db.compress import shrink
from db.errors import NotFound
from db.records import (
    DeliveryState,
    Exam,
    ExamState,
    MessageState,
    NewAssessment,
    NewExam,
    NewMessage,
    PatientRef,
)
from db.tables import AssessmentRow, DeliveryRow, ExamRow, ReportRow, WaveformRow
from db.waveform import Packed, pack, unpack
from model.ecg import Ecg
from model.stitch import is_packet


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
        "raw": shrink(message.raw),
        "answer": shrink(answer),
    }


def exam_values(
    message: NewMessage, ordinal: int, exam: NewExam, rung_at: datetime | None
) -> dict[str, object]:
    """Return an exam's row before anything is known of its patient."""
    acquired = exam.acquired
    instant = acquired if isinstance(acquired, datetime) else None
    return {
        "id": message.exam_id(ordinal),
        "message_id": message.id,
        "ordinal": ordinal,
        "state": ExamState.PACKET if is_packet(exam.ecg) else ExamState.RECEIVED,
        "reason": None,
        "patient_identifier": None,
        "patient_authority": None,
        "acquired_at": instant,
        "acquired_on": acquired.date() if isinstance(acquired, datetime) else acquired,
        "placer_order": exam.placer_order,
        "filler_order": exam.filler_order,
        "received_at": message.received_at,
        "rung_at": rung_at,
        "attempts": 0,
        "bed": exam.bed.name if exam.bed else None,
        "bed_facility": exam.bed.facility if exam.bed else None,
    }


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
        "samples": packed.samples,
    }


def ecg_of(waveform: WaveformRow) -> Ecg:
    """Return the samples of an exam.

    Raises:
        Corrupt: they do not decode.
    """
    resolution = waveform.resolution_mv
    return unpack(
        Packed(
            leads=tuple(waveform.leads),
            n_samples=waveform.n_samples,
            sampling_rate_hz=waveform.sampling_rate_hz,
            start=waveform.start,
            resolution_mv=None if resolution is None else tuple(resolution),
            encoding=waveform.encoding,
            samples=waveform.samples,
        )
    )


def exam_of(row: ExamRow, waveform: WaveformRow) -> Exam:
    """Return an exam; raise NotFound while it is nobody's."""
    if row.patient_identifier is None:
        raise NotFound("not-found", f"exam {row.id} is nobody's yet")
    return Exam(
        id=row.id,
        message_id=row.message_id,
        state=row.state,
        reason=row.reason,
        patient=PatientRef(row.patient_identifier, row.patient_authority),
        ecg=ecg_of(waveform),
        acquired=row.acquired_at or row.acquired_on,
        placer_order=row.placer_order,
        filler_order=row.filler_order,
        received_at=row.received_at,
        attempts=row.attempts,
    )


def assessment_row(exam_id: UUID, new: NewAssessment) -> AssessmentRow:
    """Return an assessment's row."""
    return AssessmentRow(
        exam_id=exam_id, assessed_at=new.assessed_at, findings=new.findings.to_json()
    )


def report_row(exam_id: UUID, new: NewAssessment, acquired_on: date | None) -> ReportRow:
    """Return a report's row."""
    return ReportRow(
        exam_id=exam_id,
        issued_at=new.assessed_at,
        effective_on=acquired_on or new.assessed_at.astimezone(UTC).date(),
        bundle=new.report,
    )


def delivery_row(id_: UUID, exam_id: UUID, destination: str, due: datetime) -> DeliveryRow:
    """Return a delivery's row, due at once."""
    # Rung as of now: whoever saves an assessment rings its deliveries next.
    return DeliveryRow(
        id=id_,
        exam_id=exam_id,
        destination=destination,
        state=DeliveryState.PENDING,
        attempts=0,
        next_attempt_at=due,
        rung_at=due,
        last_answer=None,
    )
