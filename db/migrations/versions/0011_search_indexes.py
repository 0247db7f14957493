"""Indexes that a search among a million ECGs needs.

Revision: 0011, after 0010, 2026-11-23
"""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add indexes."""
    op.create_index("ix_message_control_id", "message", ["control_id"])
    op.create_index("ix_message_received_at", "message", ["received_at"])
    op.create_index("ix_exam_placer_order", "exam", ["placer_order"])
