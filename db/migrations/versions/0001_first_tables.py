"""First tables.

Revision: 0001, 2026-11-22
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

MESSAGE_STATES = ("accepted", "not-ecg", "refused")
EXAM_STATES = ("received", "scored", "delivered", "unscorable", "undeliverable", "failed")
DELIVERY_STATES = ("pending", "delivered", "undeliverable")


def upgrade() -> None:
    """Create all six; keys, checks and plain indexes are named by the metadata's convention."""
    _message()
    _exam()
    _waveform()
    _assessment()
    _report()
    _delivery()


def _instant(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _state(*values: str) -> sa.Column[object]:
    kind = sa.Enum(*values, name="state", native_enum=False, create_constraint=True, length=16)
    return sa.Column("state", kind, nullable=False)


def _exam_key(parent: str) -> sa.Column[object]:
    return sa.Column("exam_id", sa.Uuid(), sa.ForeignKey(parent), nullable=False)


def _index(table: str, *columns: str) -> None:
    op.create_index(f"ix_{table}_{'_'.join(columns)}", table, columns)


def _partial_index(name: str, table: str, *columns: str, where: str) -> None:
    kept = sa.text(where)
    op.create_index(name, table, columns, sqlite_where=kept, postgresql_where=kept)


def _message() -> None:
    op.create_table(
        "message",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("protocol", sa.String(16), nullable=False),
        sa.Column("sender", sa.String(200), nullable=False),
        sa.Column("control_id", sa.String(200), nullable=False),
        _state(*MESSAGE_STATES),
        sa.Column("reason", sa.String(64)),
        _instant("received_at"),
        sa.Column("original_size", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("raw", sa.LargeBinary(), nullable=False),
        sa.Column("answer", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    _index("message", "sender", "control_id")
    _index("message", "state")
    _partial_index("ix_message_refused", "message", "reason", where="state = 'refused'")


def _exam() -> None:
    op.create_table(
        "exam",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("message_id", sa.Uuid(), sa.ForeignKey("message.id"), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        _state(*EXAM_STATES),
        sa.Column("reason", sa.String(64)),
        sa.Column("patient_identifier", sa.String(), nullable=False),
        sa.Column("patient_authority", sa.String()),
        _instant("acquired_at", nullable=True),
        sa.Column("acquired_on", sa.Date()),
        sa.Column("placer_order", sa.String()),
        sa.Column("filler_order", sa.String()),
        _instant("received_at"),
        _instant("rung_at", nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("message_id", "ordinal"),
    )
    _index("exam", "received_at")
    _index("exam", "state")
    _index("exam", "patient_identifier", "patient_authority")
    _partial_index("ix_exam_waiting", "exam", "received_at", "rung_at", where="state = 'received'")


def _waveform() -> None:
    op.create_table(
        "waveform",
        _exam_key("exam.id"),
        sa.Column("leads", sa.JSON(), nullable=False),
        sa.Column("n_samples", sa.Integer(), nullable=False),
        sa.Column("sampling_rate_hz", sa.Double(), nullable=False),
        _instant("start", nullable=True),
        sa.Column("resolution_mv", sa.JSON()),
        sa.Column("encoding", sa.String(2), nullable=False),
        sa.Column("samples", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("exam_id"),
    )


def _assessment() -> None:
    op.create_table(
        "assessment",
        _exam_key("exam.id"),
        _instant("assessed_at"),
        sa.Column("findings", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("exam_id"),
    )


def _report() -> None:
    op.create_table(
        "report",
        _exam_key("exam.id"),
        _instant("issued_at"),
        sa.Column("effective_on", sa.Date(), nullable=False),
        sa.Column("bundle", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("exam_id"),
    )
    _index("report", "issued_at")
    _index("report", "effective_on")


def _delivery() -> None:
    op.create_table(
        "delivery",
        sa.Column("id", sa.Uuid(), nullable=False),
        _exam_key("report.exam_id"),
        sa.Column("destination", sa.String(200), nullable=False),
        _state(*DELIVERY_STATES),
        sa.Column("attempts", sa.Integer(), nullable=False),
        _instant("next_attempt_at"),
        _instant("rung_at", nullable=True),
        sa.Column("last_answer", sa.String(2000)),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("exam_id", "destination"),
    )
    _index("delivery", "state")
    _partial_index(
        "ix_delivery_due", "delivery", "next_attempt_at", "rung_at", where="state = 'pending'"
    )
