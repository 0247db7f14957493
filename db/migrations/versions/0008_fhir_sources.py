"""How far FHIR servers are read, and what was heard of their subscriptions.

Revision: 0008, after 0007, 2026-11-23
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables of sources, versions that were taken, and subscriptions."""
    op.create_table(
        "fhir_source",
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("cursor", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "fhir_seen",
        sa.Column("source", sa.String(200), nullable=False),
        sa.Column("resource", sa.String(200), nullable=False),
        sa.Column("version", sa.String(200), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("source", "resource", "version"),
    )
    op.create_index("ix_fhir_seen_source_updated_at", "fhir_seen", ["source", "updated_at"])
    op.create_table(
        "fhir_subscription",
        sa.Column("source", sa.String(200), nullable=False),
        sa.Column("subscription", sa.String(200), nullable=False),
        sa.Column("last_event", sa.BigInteger(), nullable=False),
        sa.Column("heard_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("source", "subscription"),
    )
