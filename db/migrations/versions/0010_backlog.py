"""Imports of archives: urgency of exams, silent exams, and how far each import is.

Revision: 0010, after 0009, 2026-11-23
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_WAITING = "state = 'received'"


def upgrade() -> None:
    """Add columns and a table; the index of what waits begins with the urgency."""
    priority = sa.Column("priority", sa.SmallInteger(), server_default="0", nullable=False)
    op.add_column("exam", priority)
    op.add_column(
        "exam", sa.Column("silent", sa.Boolean(), server_default=sa.false(), nullable=False)
    )
    op.drop_index("ix_exam_waiting", "exam")
    op.create_index(
        "ix_exam_waiting",
        "exam",
        ["priority", "received_at", "rung_at"],
        sqlite_where=sa.text(_WAITING),
        postgresql_where=sa.text(_WAITING),
    )
    op.create_table(
        "import_run",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.String(200), nullable=False),
        sa.Column("source", sa.String(64), nullable=False),
        sa.Column("paths", sa.JSON(), nullable=False),
        sa.Column("position", sa.Text(), nullable=True),
        sa.Column("counts", sa.JSON(), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_import_run_created_at", "import_run", ["created_at"])
