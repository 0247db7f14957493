"""Legal holds.

Revision: 0009, after 0008, 2026-11-23
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add a table."""
    op.create_table(
        "hold",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.String(200), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("patient_identifier", sa.String(), nullable=True),
        sa.Column("exam_id", sa.Uuid(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
