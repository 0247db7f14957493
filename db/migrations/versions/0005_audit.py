"""The audit log.

Revision: 0005, after 0004, 2026-11-23
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

UNSEALED, PRUNED = sa.text("number IS NULL"), sa.text("kind = 'pruned'")


def upgrade() -> None:
    """Add the table of entries."""
    op.create_table(
        "audit",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            sa.Identity(),
            nullable=False,
        ),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("actor", sa.String(200), nullable=False),
        sa.Column("exam_id", sa.Uuid(), nullable=True),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=True),
        sa.Column("sha256", sa.String(64), nullable=True),
        sa.Column("previous", sa.String(64), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("number"),
    )
    op.create_index("ix_audit_exam_id", "audit", ["exam_id"])
    op.create_index("ix_audit_at", "audit", ["at"])
    for name, column, where in (
        ("ix_audit_unsealed", "id", UNSEALED),
        ("ix_audit_pruned", "number", PRUNED),
    ):
        op.create_index(name, "audit", [column], sqlite_where=where, postgresql_where=where)
