"""The tables of ECGs. `records` says what the values mean, `migrations/versions` made them.

Change this file and `upkeep_tables` together with a new migration: a test compares the two on both
databases. Large values stand in columns that no listing reads: `deferred`, or a table of their own.
What identifies a patient or says what was found of one is of the types of `sealed`; a `..._token`
is what the identifier beside it is found by.
"""

from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    JSON,
    BigInteger,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    SmallInteger,
    String,
    UniqueConstraint,
    false,
    true,
)
from sqlalchemy.orm import Mapped, mapped_column

from db.columns import (
    ANSWER_LENGTH,
    LABEL_LENGTH,
    REASON_LENGTH,
    Base,
    Label,
    PackedJson,
    UtcDateTime,
    partial_index,
    state_column,
)
from db.records import DeliveryState, ExamState, MessageState
from db.reviews import ReportStatus
from db.sealed import (
    Pseudonym,
    Sealed,
    SealedBytes,
    SealedJson,
    SealedPackedJson,
    SealedText,
    Token,
)


class MessageRow(Base):
    """What arrived, and the answer it got."""

    __tablename__ = "message"
    __table_args__ = (
        Index(None, "sender", "control_id"),
        Index(None, "control_id"),
        Index(None, "received_at"),
        Index(None, "state"),
        partial_index("ix_message_refused", "reason", where="state = 'refused'"),
        partial_index("ix_message_conflict", "conflict_at", where="conflict_at IS NOT NULL"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    protocol: Mapped[str] = mapped_column(String(16))
    sender: Mapped[str] = mapped_column(Label(LABEL_LENGTH))
    control_id: Mapped[str] = mapped_column(Label(LABEL_LENGTH))
    state: Mapped[MessageState] = mapped_column(state_column(MessageState, "state"))
    reason: Mapped[str | None] = mapped_column(String(REASON_LENGTH))
    received_at: Mapped[datetime] = mapped_column(UtcDateTime)
    original_size: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(64))
    raw: Mapped[Sealed[bytes]] = mapped_column(  # by compress.shrink
        SealedBytes("message.raw"), deferred=True
    )
    answer: Mapped[Sealed[bytes]] = mapped_column(SealedBytes("message.answer"), deferred=True)
    # When it was seen that another message of its sender has its control id and other content.
    conflict_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)


class ExamRow(Base):
    """One ECG's way through here. `rung_at`: when a worker was last told, or never."""

    __tablename__ = "exam"
    __table_args__ = (
        UniqueConstraint("message_id", "ordinal"),
        Index(None, "received_at"),
        Index(None, "state"),
        Index(None, "patient_token", "authority_token"),
        Index(None, "order_token"),
        partial_index(
            "ix_exam_waiting", "priority", "received_at", "rung_at", where="state = 'received'"
        ),
        partial_index("ix_exam_parked", "bed_token", where="state = 'unassociated'"),
        partial_index("ix_exam_packet", "acquired_at", where="state = 'packet'"),
        Index(None, "silent"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    message_id: Mapped[UUID] = mapped_column(ForeignKey("message.id"))
    ordinal: Mapped[int]
    state: Mapped[ExamState] = mapped_column(state_column(ExamState, "state"))
    reason: Mapped[str | None] = mapped_column(String(REASON_LENGTH))
    patient_identifier: Mapped[Sealed[str] | None] = mapped_column(  # None while `unassociated`
        SealedText("exam.patient_identifier")
    )
    patient_authority: Mapped[Sealed[str] | None] = mapped_column(
        SealedText("exam.patient_authority")
    )
    acquired_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    acquired_on: Mapped[date | None]  # the day as the sender wrote it, in the sender's zone
    placer_order: Mapped[Sealed[str] | None] = mapped_column(SealedText("exam.placer_order"))
    filler_order: Mapped[Sealed[str] | None] = mapped_column(SealedText("exam.filler_order"))
    received_at: Mapped[datetime] = mapped_column(UtcDateTime)
    rung_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    attempts: Mapped[int]
    bed: Mapped[Sealed[str] | None] = mapped_column(SealedText("exam.bed"), default=None)
    bed_facility: Mapped[Sealed[str] | None] = mapped_column(
        SealedText("exam.bed_facility"), default=None
    )
    priority: Mapped[int] = mapped_column(SmallInteger, server_default="0", default=0)
    silent: Mapped[bool] = mapped_column(server_default=false(), default=False)
    patient_token: Mapped[str | None] = mapped_column(
        Token("patient", of="patient_identifier"), default=None
    )
    authority_token: Mapped[str | None] = mapped_column(
        Token("authority", of="patient_authority"), default=None
    )
    order_token: Mapped[str | None] = mapped_column(Token("order", of="placer_order"), default=None)
    bed_token: Mapped[str | None] = mapped_column(Token("bed", of="bed"), default=None)


class WaveformRow(Base):
    """The samples of an exam, as `waveform.Packed`."""

    __tablename__ = "waveform"

    exam_id: Mapped[UUID] = mapped_column(ForeignKey("exam.id"), primary_key=True)
    leads: Mapped[list[str]] = mapped_column(JSON)
    n_samples: Mapped[int]
    sampling_rate_hz: Mapped[float] = mapped_column(Double)
    start: Mapped[datetime | None] = mapped_column(UtcDateTime)
    resolution_mv: Mapped[list[float] | None] = mapped_column(JSON(none_as_null=True))
    encoding: Mapped[str] = mapped_column(String(2))
    samples: Mapped[Sealed[bytes]] = mapped_column(SealedBytes("waveform.samples"))


class AssessmentRow(Base):
    """What the model said of an exam."""

    __tablename__ = "assessment"
    __table_args__ = (Index(None, "anomaly_score"), Index(None, "model"))

    exam_id: Mapped[UUID] = mapped_column(ForeignKey("exam.id"), primary_key=True)
    assessed_at: Mapped[datetime] = mapped_column(UtcDateTime)
    # Of the findings, to be searched by.
    anomaly_score: Mapped[float | None] = mapped_column(Double, default=None)
    model: Mapped[str | None] = mapped_column(String(LABEL_LENGTH), default=None)  # name@version
    flagged: Mapped[str | None] = mapped_column(String(LABEL_LENGTH), default=None)  # ",MI,AF,"
    findings: Mapped[dict[str, Any]] = mapped_column(PackedJson, kw_only=True)


class ReportRow(Base):
    """A version of the report on an exam. `effective_on`: day of acquisition, else of issue."""

    __tablename__ = "report"
    __table_args__ = (
        Index(None, "newest", "issued_at"),
        Index(None, "newest", "effective_on"),
        partial_index("ix_report_newest", "exam_id", where="newest", unique=True),
    )

    exam_id: Mapped[UUID] = mapped_column(ForeignKey("exam.id"), primary_key=True)
    issued_at: Mapped[datetime] = mapped_column(UtcDateTime)
    effective_on: Mapped[date]
    version: Mapped[int] = mapped_column(
        SmallInteger, primary_key=True, server_default="1", autoincrement=False, default=1
    )
    newest: Mapped[bool] = mapped_column(server_default=true(), default=True)
    status: Mapped[ReportStatus] = mapped_column(
        state_column(ReportStatus, "status"),
        server_default=ReportStatus.PRELIMINARY.value,
        default=ReportStatus.PRELIMINARY,
    )
    # Who made it, and, where a clinician decided, `reviews.Review`.
    actor: Mapped[str] = mapped_column(
        Label(LABEL_LENGTH), server_default="worker", default="worker"
    )
    review: Mapped[Sealed[dict[str, Any]] | None] = mapped_column(
        SealedJson("report.review"), default=None
    )
    bundle: Mapped[Sealed[dict[str, Any]]] = mapped_column(
        SealedPackedJson("report.bundle"), kw_only=True
    )


class DeliveryRow(Base):
    """A version's way to one destination. `rung_at`: when a worker heard of this try.

    `leased_until`: while a worker may be sending it. `patient`: no identifier, but the same for the
    same patient; `queued_at`: their place in the order of this patient's reports.
    """

    __tablename__ = "delivery"
    __table_args__ = (
        UniqueConstraint("exam_id", "destination", "version"),
        ForeignKeyConstraint(["exam_id", "version"], ["report.exam_id", "report.version"]),
        Index(None, "state"),
        partial_index("ix_delivery_due", "next_attempt_at", "rung_at", where="state = 'pending'"),
        partial_index(
            "ix_delivery_queue", "destination", "patient", "queued_at", where="state = 'pending'"
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    exam_id: Mapped[UUID]
    destination: Mapped[str] = mapped_column(String(LABEL_LENGTH))
    state: Mapped[DeliveryState] = mapped_column(state_column(DeliveryState, "state"))
    attempts: Mapped[int]
    next_attempt_at: Mapped[datetime] = mapped_column(UtcDateTime)
    rung_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    last_answer: Mapped[str | None] = mapped_column(Label(ANSWER_LENGTH))
    version: Mapped[int] = mapped_column(SmallInteger, server_default="1", default=1)
    leased_until: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)
    patient: Mapped[UUID | None] = mapped_column(Pseudonym, default=None)
    queued_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)


class ResultRow(Base):
    """What a cart measured and said, as `clinical.NewResult`."""

    __tablename__ = "result"
    __table_args__ = (Index(None, "exam_id"), Index(None, "message_id"))

    id: Mapped[UUID] = mapped_column(primary_key=True)
    message_id: Mapped[UUID] = mapped_column(ForeignKey("message.id"))
    ordinal: Mapped[int]
    exam_id: Mapped[UUID | None] = mapped_column(ForeignKey("exam.id"))
    patient_identifier: Mapped[Sealed[str] | None] = mapped_column(
        SealedText("result.patient_identifier")
    )
    patient_authority: Mapped[Sealed[str] | None] = mapped_column(
        SealedText("result.patient_authority")
    )
    acquired_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    acquired_on: Mapped[date | None]
    placer_order: Mapped[Sealed[str] | None] = mapped_column(SealedText("result.placer_order"))
    filler_order: Mapped[Sealed[str] | None] = mapped_column(SealedText("result.filler_order"))
    measurements: Mapped[Sealed[list[dict[str, Any]]]] = mapped_column(
        SealedJson("result.measurements")
    )
    statements: Mapped[Sealed[list[str]]] = mapped_column(SealedJson("result.statements"))


class BedMoveRow(Base):
    """Who lay where from when on, as `clinical.BedMove`."""

    __tablename__ = "bed_move"
    __table_args__ = (Index(None, "bed_token"), Index(None, "patient_token", "authority_token"))

    id: Mapped[UUID] = mapped_column(primary_key=True)
    message_id: Mapped[UUID] = mapped_column(ForeignKey("message.id"))
    patient_identifier: Mapped[Sealed[str]] = mapped_column(
        SealedText("bed_move.patient_identifier")
    )
    patient_authority: Mapped[Sealed[str] | None] = mapped_column(
        SealedText("bed_move.patient_authority")
    )
    at: Mapped[datetime] = mapped_column(UtcDateTime)
    bed: Mapped[Sealed[str] | None] = mapped_column(SealedText("bed_move.bed"))
    facility: Mapped[Sealed[str] | None] = mapped_column(SealedText("bed_move.facility"))
    cancels: Mapped[bool]
    patient_token: Mapped[str | None] = mapped_column(Token("patient", of="patient_identifier"))
    authority_token: Mapped[str | None] = mapped_column(Token("authority", of="patient_authority"))
    bed_token: Mapped[str | None] = mapped_column(Token("bed", of="bed"))


class OrderRow(Base):
    """An order for an ECG, as `clinical.OrderRef`."""

    __tablename__ = "placed_order"
    __table_args__ = (Index(None, "filler_token"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    message_id: Mapped[UUID] = mapped_column(ForeignKey("message.id"))
    patient_identifier: Mapped[Sealed[str]] = mapped_column(
        SealedText("placed_order.patient_identifier")
    )
    patient_authority: Mapped[Sealed[str] | None] = mapped_column(
        SealedText("placed_order.patient_authority")
    )
    placer_order: Mapped[Sealed[str]] = mapped_column(SealedText("placed_order.placer_order"))
    filler_order: Mapped[Sealed[str] | None] = mapped_column(
        SealedText("placed_order.filler_order")
    )
    patient_token: Mapped[str | None] = mapped_column(Token("patient", of="patient_identifier"))
    authority_token: Mapped[str | None] = mapped_column(Token("authority", of="patient_authority"))
    filler_token: Mapped[str | None] = mapped_column(Token("order", of="filler_order"))
