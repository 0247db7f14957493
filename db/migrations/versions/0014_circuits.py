"""Circuits of destinations; deliveries know their patient and place, so that they go in order.

Revision: 0014, after 0013, 2026-11-28
"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

PENDING = sa.text("state = 'pending'")


def upgrade() -> None:
    """Deliveries that are there wait for no other."""
    op.create_table(
        "circuit",
        sa.Column("destination", sa.String(200), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("open_until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("permits", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("destination", name="pk_circuit"),
    )
    op.add_column("delivery", sa.Column("patient", sa.Uuid(), nullable=True))
    op.add_column("delivery", sa.Column("queued_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index(
        "ix_delivery_queue",
        "delivery",
        ["destination", "patient", "queued_at"],
        sqlite_where=PENDING,
        postgresql_where=PENDING,
    )
