"""Critical findings that wait for an answer, and stops of models; silent ECGs are counted.

Revision: 0017, after 0016, 2026-11-28
"""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add two tables and an index."""
    op.create_table(
        "alert",
        sa.Column("exam_id", sa.Uuid(), nullable=False),
        sa.Column("codes", sa.String(200), nullable=False),
        sa.Column("raised_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("escalated_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("exam_id"),
    )
    _partial("ix_alert_open", "alert", "due_at", "answered_at IS NULL")
    op.create_table(
        "model_stop",
        sa.Column("model", sa.String(200), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.String(200), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("model"),
    )
    op.create_index("ix_exam_silent", "exam", ["silent"])


def _partial(name: str, table: str, column: str, where: str) -> None:
    kept = sa.text(where)
    op.create_index(name, table, [column], sqlite_where=kept, postgresql_where=kept)
