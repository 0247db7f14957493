"""Versions of reports, each delivered by itself.

Revision: 0012, after 0011, 2026-11-28
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

STATUSES = ("preliminary", "final", "amended", "corrected", "entered-in-error")
DELIVERY_STATES = ("pending", "delivered", "undeliverable", "superseded")
NEWEST = sa.text("newest")


def upgrade() -> None:
    """What is there becomes the first version."""
    on_postgresql = op.get_bind().dialect.name == "postgresql"
    if on_postgresql:
        op.drop_constraint("fk_delivery_exam_id_report", "delivery")
        op.drop_constraint("uq_delivery_exam_id_destination", "delivery")
        op.drop_constraint("ck_delivery_state", "delivery")
        op.drop_constraint("pk_report", "report")
        op.drop_index("ix_report_issued_at", "report")
        op.drop_index("ix_report_effective_on", "report")
    _report()
    _delivery(on_postgresql=on_postgresql)


def _report() -> None:
    # SQLite copies both tables. This one is described without its key and indexes: it gets others.
    keyless = sa.Table(
        "report",
        sa.MetaData(),
        sa.Column("exam_id", sa.Uuid(), nullable=False),
        sa.Column("issued_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("effective_on", sa.Date(), nullable=False),
        sa.Column("bundle", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["exam_id"], ["exam.id"], name="fk_report_exam_id_exam"),
    )
    with op.batch_alter_table("report", copy_from=keyless) as batch:
        batch.add_column(_version())
        batch.add_column(
            sa.Column("newest", sa.Boolean(), server_default=sa.true(), nullable=False)
        )
        batch.add_column(
            sa.Column("status", sa.String(16), server_default="preliminary", nullable=False)
        )
        batch.add_column(
            sa.Column("actor", sa.String(200), server_default="worker", nullable=False)
        )
        batch.add_column(sa.Column("review", sa.JSON(), nullable=True))
        batch.create_primary_key("pk_report", ["exam_id", "version"])
        batch.create_check_constraint("status", f"status IN ({_listed(STATUSES)})")
    for column in ("issued_at", "effective_on"):
        op.create_index(f"ix_report_newest_{column}", "report", ["newest", column])
    op.create_index(
        "ix_report_newest",
        "report",
        ["exam_id"],
        unique=True,
        sqlite_where=NEWEST,
        postgresql_where=NEWEST,
    )


def _delivery(*, on_postgresql: bool) -> None:
    with op.batch_alter_table("delivery") as batch:
        if not on_postgresql:
            batch.drop_constraint("fk_delivery_exam_id_report", type_="foreignkey")
            batch.drop_constraint("uq_delivery_exam_id_destination", type_="unique")
        batch.add_column(_version())
        batch.add_column(sa.Column("leased_until", sa.DateTime(timezone=True), nullable=True))
        batch.create_unique_constraint(
            "uq_delivery_exam_id_destination_version", ["exam_id", "destination", "version"]
        )
        batch.create_foreign_key(
            "fk_delivery_exam_id_version_report",
            "report",
            ["exam_id", "version"],
            ["exam_id", "version"],
        )
        batch.create_check_constraint("state", f"state IN ({_listed(DELIVERY_STATES)})")


def _version() -> sa.Column[int]:
    return sa.Column("version", sa.SmallInteger(), server_default="1", nullable=False)


def _listed(values: tuple[str, ...]) -> str:
    return ", ".join(f"'{value}'" for value in values)
