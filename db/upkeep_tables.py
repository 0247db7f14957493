"""The tables of who did what: audit, replays, imports, sources, holds, circuits, keys."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import (
    JSON,
    BigInteger,
    Index,
    Integer,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.orm import Mapped, mapped_column

from db.columns import LABEL_LENGTH, REASON_LENGTH, Base, Label, UtcDateTime, partial_index
from db.sealed import Sealed, SealedLongText, SealedText


class AuditRow(Base):
    """An entry of the audit log, as `audit.AuditEntry`; sealed once it has a number.

    It refers to nothing: it outlives what it tells of.
    """

    __tablename__ = "audit"
    __table_args__ = (
        UniqueConstraint("number"),
        Index(None, "exam_id"),
        Index(None, "at"),
        partial_index("ix_audit_unsealed", "id", where="number IS NULL"),
        partial_index("ix_audit_pruned", "number", where="kind = 'pruned'"),
    )

    id: Mapped[int] = mapped_column(
        BigInteger().with_variant(Integer, "sqlite"), primary_key=True, init=False
    )
    at: Mapped[datetime] = mapped_column(UtcDateTime)
    kind: Mapped[str] = mapped_column(String(16))
    actor: Mapped[str] = mapped_column(Label(LABEL_LENGTH))
    exam_id: Mapped[UUID | None]
    content: Mapped[str] = mapped_column(Text)
    number: Mapped[int | None] = mapped_column(BigInteger, default=None)
    sha256: Mapped[str | None] = mapped_column(String(64), default=None)
    previous: Mapped[str | None] = mapped_column(String(64), default=None)


class ReplayRow(Base):
    """A replay, as `replays.Replay`."""

    __tablename__ = "replay"
    __table_args__ = (Index(None, "created_at"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    actor: Mapped[str] = mapped_column(Label(LABEL_LENGTH))
    filter: Mapped[Sealed[str]] = mapped_column(
        SealedLongText("replay.filter")
    )  # may name a patient
    stage: Mapped[str] = mapped_column(String(16))
    state: Mapped[str] = mapped_column(String(16))
    matched: Mapped[int]
    succeeded: Mapped[int]
    failed: Mapped[int]
    cursor: Mapped[UUID | None]
    finished_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class ImportRow(Base):
    """An import, as `imports.Import`."""

    __tablename__ = "import_run"
    __table_args__ = (Index(None, "created_at"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    actor: Mapped[str] = mapped_column(Label(LABEL_LENGTH))
    source: Mapped[str] = mapped_column(String(64))
    paths: Mapped[list[str]] = mapped_column(JSON)
    position: Mapped[str | None] = mapped_column(Text)
    counts: Mapped[dict[str, int]] = mapped_column(JSON)
    finished_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class DiscardRow(Base):
    """Somebody's word that a dead letter needs no more looking at."""

    __tablename__ = "discard"

    subject_id: Mapped[UUID] = mapped_column(primary_key=True)
    subject: Mapped[str] = mapped_column(String(16))
    at: Mapped[datetime] = mapped_column(UtcDateTime)
    actor: Mapped[str] = mapped_column(Label(LABEL_LENGTH))
    why: Mapped[str] = mapped_column(Text)


class SourceRow(Base):
    """Who reads a FHIR server now, and when it is read next; see `leases`."""

    __tablename__ = "fhir_source"

    name: Mapped[str] = mapped_column(String(LABEL_LENGTH), primary_key=True)
    holder: Mapped[UUID | None] = mapped_column(default=None)
    leased_until: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)
    due_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)
    read_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)
    problem: Mapped[str | None] = mapped_column(String(REASON_LENGTH), default=None)


class SourceCursorRow(Base):
    """How far a query to a FHIR server has been read; see `sources`."""

    __tablename__ = "fhir_cursor"

    source: Mapped[str] = mapped_column(String(LABEL_LENGTH), primary_key=True)
    query: Mapped[str] = mapped_column(String(500), primary_key=True)
    cursor: Mapped[datetime] = mapped_column(UtcDateTime)


class SourceSeenRow(Base):
    """A version of a source's resource that was taken, while it may be met again."""

    __tablename__ = "fhir_seen"
    __table_args__ = (Index(None, "source", "updated_at"),)

    source: Mapped[str] = mapped_column(String(LABEL_LENGTH), primary_key=True)
    resource: Mapped[str] = mapped_column(String(LABEL_LENGTH), primary_key=True)
    version: Mapped[str] = mapped_column(String(LABEL_LENGTH), primary_key=True)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime)


class SubscriptionRow(Base):
    """The last event heard of a source's subscription, and how many were missing before."""

    __tablename__ = "fhir_subscription"

    source: Mapped[str] = mapped_column(String(LABEL_LENGTH), primary_key=True)
    subscription: Mapped[str] = mapped_column(String(LABEL_LENGTH), primary_key=True)
    last_event: Mapped[int] = mapped_column(BigInteger)
    heard_at: Mapped[datetime] = mapped_column(UtcDateTime)
    missed: Mapped[int] = mapped_column(BigInteger, server_default="0", default=0)


class HoldRow(Base):
    """A legal hold, as `retention.Hold`."""

    __tablename__ = "hold"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(UtcDateTime)
    actor: Mapped[str] = mapped_column(Label(LABEL_LENGTH))
    why: Mapped[str] = mapped_column(Text)
    patient_identifier: Mapped[Sealed[str] | None] = mapped_column(
        SealedText("hold.patient_identifier")
    )
    exam_id: Mapped[UUID | None]


class CircuitRow(Base):
    """Whether a destination takes reports, as `circuits` says."""

    __tablename__ = "circuit"

    destination: Mapped[str] = mapped_column(String(LABEL_LENGTH), primary_key=True)
    failures: Mapped[int]
    open_until: Mapped[datetime] = mapped_column(UtcDateTime)
    permits: Mapped[int | None]


class KeyRow(Base):
    """A key that values here were sealed or indexed with, and a value to know it again by."""

    __tablename__ = "encryption_key"

    kind: Mapped[str] = mapped_column(String(8), primary_key=True)
    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    since: Mapped[datetime] = mapped_column(UtcDateTime)
    proof: Mapped[str] = mapped_column(Text)
    complete_at: Mapped[datetime | None] = mapped_column(UtcDateTime)  # all was under it


class AlertRow(Base):
    """Critical findings of an exam, until a clinician answers; see `oversight`."""

    __tablename__ = "alert"
    __table_args__ = (partial_index("ix_alert_open", "due_at", where="answered_at IS NULL"),)

    exam_id: Mapped[UUID] = mapped_column(primary_key=True)
    codes: Mapped[str] = mapped_column(String(LABEL_LENGTH))
    raised_at: Mapped[datetime] = mapped_column(UtcDateTime)
    due_at: Mapped[datetime] = mapped_column(UtcDateTime)
    answered_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)
    escalated_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)


class ModelStopRow(Base):
    """A version of a model that nobody may use, as `oversight.ModelStop`."""

    __tablename__ = "model_stop"

    model: Mapped[str] = mapped_column(String(LABEL_LENGTH), primary_key=True)
    at: Mapped[datetime] = mapped_column(UtcDateTime)
    actor: Mapped[str] = mapped_column(Label(LABEL_LENGTH))
    why: Mapped[str] = mapped_column(Text)
