"""Pieces of continuous recordings that wait to be stitched.

Revision: 0004, after 0003, 2026-11-22
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

EXAM_STATES = (
    *("unassociated", "packet", "stitched", "received", "scored", "delivered"),
    *("unscorable", "undeliverable", "failed"),
)
PACKET = sa.text("state = 'packet'")


def upgrade() -> None:
    """Allow two more states, and find the packets quickly."""
    states = ", ".join(f"'{state}'" for state in EXAM_STATES)
    if op.get_bind().dialect.name == "postgresql":
        op.drop_constraint("ck_exam_state", "exam")
    # SQLite copies the table, and leaves the old CHECK behind as it does.
    with op.batch_alter_table("exam") as batch:
        batch.create_check_constraint("state", f"state IN ({states})")
    op.create_index(
        "ix_exam_packet", "exam", ["acquired_at"], sqlite_where=PACKET, postgresql_where=PACKET
    )
