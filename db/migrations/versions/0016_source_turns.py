"""Turns at FHIR sources, a cursor for each query, events that were missed.

Revision: 0016, after 0015, 2026-11-28
"""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """No version before this one read any source: its table is made anew."""
    op.drop_table("fhir_source")
    op.create_table(
        "fhir_source",
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("holder", sa.Uuid(), nullable=True),
        sa.Column("leased_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("read_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("problem", sa.String(64), nullable=True),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "fhir_cursor",
        sa.Column("source", sa.String(200), nullable=False),
        sa.Column("query", sa.String(500), nullable=False),
        sa.Column("cursor", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("source", "query"),
    )
    missed = sa.Column("missed", sa.BigInteger(), server_default="0", nullable=False)
    op.add_column("fhir_subscription", missed)
