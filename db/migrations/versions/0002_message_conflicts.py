"""A message whose control id came before with other content is marked.

Revision: 0002, after 0001, 2026-11-22
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

MARKED = sa.text("conflict_at IS NOT NULL")


def upgrade() -> None:
    """Add the mark, and an index over the few rows that have it."""
    op.add_column("message", sa.Column("conflict_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index(
        "ix_message_conflict",
        "message",
        ["conflict_at"],
        sqlite_where=MARKED,
        postgresql_where=MARKED,
    )
