"""Episodes that are critical, or become so after their report was made.

Revision: 0019, after 0018, 2026-11-29
"""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add a column and an index; of the episodes that are there nobody judged it."""
    op.add_column(
        "episode", sa.Column("critical", sa.Boolean(), server_default=sa.false(), nullable=False)
    )
    kept = sa.text("critical AND NOT told")
    op.create_index(
        "ix_episode_critical", "episode", ["id"], sqlite_where=kept, postgresql_where=kept
    )
