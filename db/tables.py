"""The tables. `records` says what the values mean; `migrations/versions` made what is on disk.

Change this file together with a new migration: a test compares the two on both databases.
Large values stand in columns that no listing reads: `deferred`, or a table of their own.
"""

from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Dialect,
    Double,
    Enum,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    String,
    TypeDecorator,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, MappedAsDataclass, mapped_column

from db.records import DeliveryState, ExamState, MessageState

REASON_LENGTH = 64
LABEL_LENGTH = 200  # MSH-10 has at most 199 characters in any version of HL7 v2
ANSWER_LENGTH = 2_000


class UtcDateTime(TypeDecorator[datetime]):
    """An instant: aware in, aware and in UTC out, on both databases."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse naive times; SQLite keeps no zone, so everything goes in as UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without zone is no instant")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """PostgreSQL answers in the session's zone, SQLite without one."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Label(TypeDecorator[str]):
    """Text from outside that is only shown and searched: cut, and with what no database takes.

    PostgreSQL refuses U+0000 and index entries of some kilobytes, both refuse lone surrogates; a
    message must be recorded none the less. Never for identifiers: two could become one.
    """

    impl = String
    cache_ok = True

    def __init__(self, length: int) -> None:
        super().__init__(length)
        self._length = length

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Cut and replace; the same in a search as in storage."""
        if value is None:
            return None
        return value[: self._length].replace("\0", "?").encode(errors="replace").decode()


def _state(states: type[StrEnum], name: str) -> Enum:
    """Return short text and a CHECK: a new state is an ordinary migration on both databases."""
    return Enum(
        states,
        name=name,
        native_enum=False,
        create_constraint=True,
        length=16,
        values_callable=lambda members: [member.value for member in members],
    )


def _partial(name: str, *columns: str, where: str) -> Index:
    """Return an index over the few rows that `where` keeps."""
    return Index(name, *columns, sqlite_where=text(where), postgresql_where=text(where))


class Base(MappedAsDataclass, DeclarativeBase, kw_only=True, repr=False, eq=False):
    """No repr: a row may hold patient data."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class MessageRow(Base):
    """What arrived, and the answer it got."""

    __tablename__ = "message"
    __table_args__ = (
        Index(None, "sender", "control_id"),
        Index(None, "state"),
        _partial("ix_message_refused", "reason", where="state = 'refused'"),
        _partial("ix_message_conflict", "conflict_at", where="conflict_at IS NOT NULL"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    protocol: Mapped[str] = mapped_column(String(16))
    sender: Mapped[str] = mapped_column(Label(LABEL_LENGTH))
    control_id: Mapped[str] = mapped_column(Label(LABEL_LENGTH))
    state: Mapped[MessageState] = mapped_column(_state(MessageState, "state"))
    reason: Mapped[str | None] = mapped_column(String(REASON_LENGTH))
    received_at: Mapped[datetime] = mapped_column(UtcDateTime)
    original_size: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(64))
    raw: Mapped[bytes] = mapped_column(LargeBinary, deferred=True)  # by compress.shrink
    answer: Mapped[bytes] = mapped_column(LargeBinary, deferred=True)
    # When it was seen that another message of its sender has its control id and other content.
    conflict_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)


class ExamRow(Base):
    """One ECG's way through here. `rung_at`: when a worker was last told, or never."""

    __tablename__ = "exam"
    __table_args__ = (
        UniqueConstraint("message_id", "ordinal"),
        Index(None, "received_at"),
        Index(None, "state"),
        Index(None, "patient_identifier", "patient_authority"),
        _partial("ix_exam_waiting", "received_at", "rung_at", where="state = 'received'"),
        _partial("ix_exam_parked", "bed", where="state = 'unassociated'"),
        _partial("ix_exam_packet", "acquired_at", where="state = 'packet'"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    message_id: Mapped[UUID] = mapped_column(ForeignKey("message.id"))
    ordinal: Mapped[int]
    state: Mapped[ExamState] = mapped_column(_state(ExamState, "state"))
    reason: Mapped[str | None] = mapped_column(String(REASON_LENGTH))
    patient_identifier: Mapped[str | None]  # None while `unassociated`
    patient_authority: Mapped[str | None]
    acquired_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    acquired_on: Mapped[date | None]  # the day as the sender wrote it, in the sender's zone
    placer_order: Mapped[str | None]
    filler_order: Mapped[str | None]
    received_at: Mapped[datetime] = mapped_column(UtcDateTime)
    rung_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    attempts: Mapped[int]
    bed: Mapped[str | None] = mapped_column(default=None)
    bed_facility: Mapped[str | None] = mapped_column(default=None)


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
    samples: Mapped[bytes] = mapped_column(LargeBinary)


class AssessmentRow(Base):
    """What the model said of an exam."""

    __tablename__ = "assessment"

    exam_id: Mapped[UUID] = mapped_column(ForeignKey("exam.id"), primary_key=True)
    assessed_at: Mapped[datetime] = mapped_column(UtcDateTime)
    findings: Mapped[dict[str, Any]] = mapped_column(JSON)


class ReportRow(Base):
    """The report on an exam. `effective_on`: day of acquisition, else day of issue."""

    __tablename__ = "report"
    __table_args__ = (Index(None, "issued_at"), Index(None, "effective_on"))

    exam_id: Mapped[UUID] = mapped_column(ForeignKey("exam.id"), primary_key=True)
    issued_at: Mapped[datetime] = mapped_column(UtcDateTime)
    effective_on: Mapped[date]
    bundle: Mapped[dict[str, Any]] = mapped_column(JSON)


class DeliveryRow(Base):
    """A report's way to one destination. `rung_at`: when a worker heard of this try."""

    __tablename__ = "delivery"
    __table_args__ = (
        UniqueConstraint("exam_id", "destination"),
        Index(None, "state"),
        _partial("ix_delivery_due", "next_attempt_at", "rung_at", where="state = 'pending'"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    exam_id: Mapped[UUID] = mapped_column(ForeignKey("report.exam_id"))
    destination: Mapped[str] = mapped_column(String(LABEL_LENGTH))
    state: Mapped[DeliveryState] = mapped_column(_state(DeliveryState, "state"))
    attempts: Mapped[int]
    next_attempt_at: Mapped[datetime] = mapped_column(UtcDateTime)
    rung_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    last_answer: Mapped[str | None] = mapped_column(Label(ANSWER_LENGTH))


class ResultRow(Base):
    """What a cart measured and said, as `clinical.NewResult`."""

    __tablename__ = "result"
    __table_args__ = (Index(None, "exam_id"), Index(None, "message_id"))

    id: Mapped[UUID] = mapped_column(primary_key=True)
    message_id: Mapped[UUID] = mapped_column(ForeignKey("message.id"))
    ordinal: Mapped[int]
    exam_id: Mapped[UUID | None] = mapped_column(ForeignKey("exam.id"))
    patient_identifier: Mapped[str | None]
    patient_authority: Mapped[str | None]
    acquired_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    acquired_on: Mapped[date | None]
    placer_order: Mapped[str | None]
    filler_order: Mapped[str | None]
    measurements: Mapped[list[dict[str, Any]]] = mapped_column(JSON)
    statements: Mapped[list[str]] = mapped_column(JSON)


class BedMoveRow(Base):
    """Who lay where from when on, as `clinical.BedMove`."""

    __tablename__ = "bed_move"
    __table_args__ = (Index(None, "bed"), Index(None, "patient_identifier", "patient_authority"))

    id: Mapped[UUID] = mapped_column(primary_key=True)
    message_id: Mapped[UUID] = mapped_column(ForeignKey("message.id"))
    patient_identifier: Mapped[str]
    patient_authority: Mapped[str | None]
    at: Mapped[datetime] = mapped_column(UtcDateTime)
    bed: Mapped[str | None]
    facility: Mapped[str | None]
    cancels: Mapped[bool]


class OrderRow(Base):
    """An order for an ECG, as `clinical.OrderRef`."""

    __tablename__ = "placed_order"
    __table_args__ = (Index(None, "filler_order"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    message_id: Mapped[UUID] = mapped_column(ForeignKey("message.id"))
    patient_identifier: Mapped[str]
    patient_authority: Mapped[str | None]
    placer_order: Mapped[str]
    filler_order: Mapped[str | None]
