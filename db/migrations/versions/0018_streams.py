"""Continuous recordings: streams, their chunks, windows and episodes.

Revision: 0018, after 0017, 2026-11-28
"""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Add the tables; packets that wait are given to their streams by the first worker."""
    op.create_table(
        "stream",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("message_id", sa.Uuid(), nullable=False),
        sa.Column("sender", sa.String(), nullable=False),
        sa.Column("patient_identifier", sa.String(), nullable=False),
        sa.Column("patient_authority", sa.String(), nullable=True),
        sa.Column("sampling_rate_hz", sa.Double(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("heard_at", _TIME, nullable=False),
        sa.Column("watermark", _TIME, nullable=False),
        sa.Column("due_from", _TIME, nullable=False),
        sa.Column("made_to", _TIME, nullable=True),
        sa.Column("last_beat", _TIME, nullable=True),
        sa.Column("claimed_until", _TIME, nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("late", sa.BigInteger(), nullable=False),
        sa.Column("patient_token", sa.String(), nullable=True),
        sa.Column("authority_token", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_stream"),
        sa.ForeignKeyConstraint(
            ["message_id"], ["message.id"], name="fk_stream_message_id_message"
        ),
        sa.CheckConstraint("state IN ('live', 'idle', 'over')", name="state"),
    )
    _index("stream", "patient_token", "authority_token")
    _partial("ix_stream_open", "stream", "id", "state <> 'over'")
    op.create_table(
        "chunk",
        sa.Column("stream_id", sa.Uuid(), nullable=False),
        sa.Column("start", _TIME, nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("received_at", _TIME, nullable=False),
        sa.Column("leads", sa.String(64), nullable=False),
        sa.Column("n_samples", sa.Integer(), nullable=False),
        sa.Column("resolution_mv", sa.JSON(), nullable=True),
        sa.Column("encoding", sa.String(2), nullable=False),
        sa.Column("samples", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("stream_id", "start", "id", name="pk_chunk"),
        sa.ForeignKeyConstraint(["stream_id"], ["stream.id"], name="fk_chunk_stream_id_stream"),
    )
    _index("chunk", "received_at")
    op.create_table(
        "stream_window",
        sa.Column("stream_id", sa.Uuid(), nullable=False),
        sa.Column("start", _TIME, nullable=False),
        sa.Column("assessed_at", _TIME, nullable=False),
        sa.Column("verdict", sa.String(64), nullable=False),
        sa.Column("heart_rate_bpm", sa.Double(), nullable=True),
        sa.Column("flagged", sa.String(200), nullable=True),
        sa.Column("model", sa.String(200), nullable=False),
        sa.Column("content", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("stream_id", "start", name="pk_stream_window"),
        sa.ForeignKeyConstraint(
            ["stream_id"], ["stream.id"], name="fk_stream_window_stream_id_stream"
        ),
    )
    _index("stream_window", "start")
    _partial("ix_stream_window_flagged", "stream_window", "start", "flagged IS NOT NULL")
    _episodes()


def _episodes() -> None:
    op.create_table(
        "episode",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("stream_id", sa.Uuid(), nullable=False),
        sa.Column("code", sa.String(64), nullable=False),
        sa.Column("begun", _TIME, nullable=False),
        sa.Column("onset", _TIME, nullable=False),
        sa.Column("last_seen", _TIME, nullable=False),
        sa.Column("seen_s", sa.Double(), nullable=False),
        sa.Column("quiet_s", sa.Double(), nullable=False),
        sa.Column("extreme", sa.Double(), nullable=False),
        sa.Column("threshold", sa.Double(), nullable=False),
        sa.Column("raised", sa.Boolean(), nullable=False),
        sa.Column("ended", sa.String(64), nullable=True),
        sa.Column("told", sa.Boolean(), nullable=False),
        sa.Column("exam_id", sa.Uuid(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_episode"),
        sa.ForeignKeyConstraint(["stream_id"], ["stream.id"], name="fk_episode_stream_id_stream"),
        sa.ForeignKeyConstraint(["exam_id"], ["exam.id"], name="fk_episode_exam_id_exam"),
    )
    for column in ("stream_id", "exam_id", "onset"):
        _index("episode", column)
    _partial("ix_episode_open", "episode", "stream_id", "ended IS NULL")
    _partial("ix_episode_untold", "episode", "id", "ended IS NOT NULL AND NOT told")


def _index(table: str, *columns: str) -> None:
    op.create_index(f"ix_{table}_{'_'.join(columns)}", table, list(columns))


def _partial(name: str, table: str, column: str, where: str) -> None:
    kept = sa.text(where)
    op.create_index(name, table, [column], sqlite_where=kept, postgresql_where=kept)
