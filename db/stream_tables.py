"""The tables of continuous recordings. `streams` says what the values mean.

Rows are many and small, so there are few columns and few indexes: a chunk a second and a window
every ten seconds for each bed.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import JSON, BigInteger, Double, ForeignKey, Index, String, false
from sqlalchemy.orm import Mapped, mapped_column

from db.columns import LABEL_LENGTH, REASON_LENGTH, Base, UtcDateTime, partial_index, state_column
from db.sealed import Sealed, SealedBytes, SealedText, Token
from db.streaming import StreamState


class StreamRow(Base):
    """A stream and how far it is read, as `streaming.Stream` and `streaming.Claim`."""

    __tablename__ = "stream"
    __table_args__ = (
        Index(None, "patient_token", "authority_token"),
        # Nothing here that changes with every chunk: PostgreSQL then rewrites no index (HOT).
        partial_index("ix_stream_open", "id", where="state <> 'over'"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    message_id: Mapped[UUID] = mapped_column(ForeignKey("message.id"))  # that opened it
    sender: Mapped[str]
    patient_identifier: Mapped[Sealed[str]] = mapped_column(SealedText("stream.patient_identifier"))
    patient_authority: Mapped[Sealed[str] | None] = mapped_column(
        SealedText("stream.patient_authority")
    )
    sampling_rate_hz: Mapped[float] = mapped_column(Double)
    state: Mapped[StreamState] = mapped_column(state_column(StreamState, "state"))
    heard_at: Mapped[datetime] = mapped_column(UtcDateTime)  # by our clock
    watermark: Mapped[datetime] = mapped_column(UtcDateTime)  # by the device's
    due_from: Mapped[datetime] = mapped_column(UtcDateTime)  # watermark that a look is worth
    made_to: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)  # last window
    last_beat: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)
    claimed_until: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)
    attempts: Mapped[int] = mapped_column(default=0)
    late: Mapped[int] = mapped_column(BigInteger, default=0)  # chunks
    patient_token: Mapped[str | None] = mapped_column(
        Token("patient", of="patient_identifier"), default=None
    )
    authority_token: Mapped[str | None] = mapped_column(
        Token("authority", of="patient_authority"), default=None
    )


class ChunkRow(Base):
    """Samples of a stream, as `waveform.Packed`."""

    __tablename__ = "chunk"
    __table_args__ = (Index(None, "received_at"),)

    stream_id: Mapped[UUID] = mapped_column(ForeignKey("stream.id"), primary_key=True)
    start: Mapped[datetime] = mapped_column(UtcDateTime, primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    received_at: Mapped[datetime] = mapped_column(UtcDateTime)
    leads: Mapped[str] = mapped_column(String(64))  # with commas
    n_samples: Mapped[int]
    resolution_mv: Mapped[list[float] | None] = mapped_column(JSON(none_as_null=True))
    encoding: Mapped[str] = mapped_column(String(2))
    samples: Mapped[Sealed[bytes]] = mapped_column(SealedBytes("chunk.samples"))


class WindowRow(Base):
    """What a window shows, as `streaming.Window`."""

    __tablename__ = "stream_window"
    __table_args__ = (
        Index(None, "start"),
        partial_index("ix_stream_window_flagged", "start", where="flagged IS NOT NULL"),
    )

    stream_id: Mapped[UUID] = mapped_column(ForeignKey("stream.id"), primary_key=True)
    start: Mapped[datetime] = mapped_column(UtcDateTime, primary_key=True)
    assessed_at: Mapped[datetime] = mapped_column(UtcDateTime)
    verdict: Mapped[str] = mapped_column(String(REASON_LENGTH))
    heart_rate_bpm: Mapped[float | None] = mapped_column(Double)
    flagged: Mapped[str | None] = mapped_column(String(LABEL_LENGTH))  # ",AF,pause,"
    model: Mapped[str] = mapped_column(String(LABEL_LENGTH))  # name@version
    content: Mapped[dict[str, Any]] = mapped_column(JSON)


class EpisodeRow(Base):
    """An episode, as `streaming.Episode`; one that is only suspected is not raised yet."""

    __tablename__ = "episode"
    __table_args__ = (
        Index(None, "stream_id"),
        Index(None, "exam_id"),
        Index(None, "onset"),
        partial_index("ix_episode_open", "stream_id", where="ended IS NULL"),
        partial_index("ix_episode_untold", "id", where="ended IS NOT NULL AND NOT told"),
        partial_index("ix_episode_critical", "id", where="critical AND NOT told"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    stream_id: Mapped[UUID] = mapped_column(ForeignKey("stream.id"))
    code: Mapped[str] = mapped_column(String(REASON_LENGTH))
    begun: Mapped[datetime] = mapped_column(UtcDateTime)
    onset: Mapped[datetime] = mapped_column(UtcDateTime)
    last_seen: Mapped[datetime] = mapped_column(UtcDateTime)
    seen_s: Mapped[float] = mapped_column(Double)
    quiet_s: Mapped[float] = mapped_column(Double)
    extreme: Mapped[float] = mapped_column(Double)
    threshold: Mapped[float] = mapped_column(Double)
    raised: Mapped[bool]
    ended: Mapped[str | None] = mapped_column(String(REASON_LENGTH))
    told: Mapped[bool]  # its end
    exam_id: Mapped[UUID | None] = mapped_column(ForeignKey("exam.id"))
    critical: Mapped[bool] = mapped_column(server_default=false(), default=False)
