"""ECGs that wait for word of who lay in their bed; moves between beds, results, orders.

Revision: 0003, after 0002, 2026-11-22
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

EXAM_STATES = (
    *("unassociated", "received", "scored", "delivered"),
    *("unscorable", "undeliverable", "failed"),
)
PARKED = sa.text("state = 'unassociated'")


def upgrade() -> None:
    """Let an exam be nobody's for a while, and add three tables."""
    _exam()
    _result()
    _bed_move()
    _placed_order()


def _exam() -> None:
    states = ", ".join(f"'{state}'" for state in EXAM_STATES)
    if op.get_bind().dialect.name == "postgresql":
        op.drop_constraint("ck_exam_state", "exam")
    # SQLite copies the table, and leaves the old CHECK behind as it does.
    with op.batch_alter_table("exam") as batch:
        batch.alter_column("patient_identifier", existing_type=sa.String(), nullable=True)
        batch.add_column(sa.Column("bed", sa.String(), nullable=True))
        batch.add_column(sa.Column("bed_facility", sa.String(), nullable=True))
        batch.create_check_constraint("state", f"state IN ({states})")
    op.create_index("ix_exam_parked", "exam", ["bed"], sqlite_where=PARKED, postgresql_where=PARKED)


def _patient(*, nullable: bool) -> list[sa.Column[object]]:
    return [
        sa.Column("patient_identifier", sa.String(), nullable=nullable),
        sa.Column("patient_authority", sa.String(), nullable=True),
    ]


def _keys() -> list[sa.Column[object]]:
    return [
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("message_id", sa.Uuid(), sa.ForeignKey("message.id"), nullable=False),
    ]


def _index(table: str, *columns: str) -> None:
    op.create_index(f"ix_{table}_{'_'.join(columns)}", table, columns)


def _result() -> None:
    op.create_table(
        "result",
        *_keys(),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("exam_id", sa.Uuid(), sa.ForeignKey("exam.id"), nullable=True),
        *_patient(nullable=True),
        sa.Column("acquired_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("acquired_on", sa.Date(), nullable=True),
        sa.Column("placer_order", sa.String(), nullable=True),
        sa.Column("filler_order", sa.String(), nullable=True),
        sa.Column("measurements", sa.JSON(), nullable=False),
        sa.Column("statements", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    _index("result", "exam_id")
    _index("result", "message_id")


def _bed_move() -> None:
    op.create_table(
        "bed_move",
        *_keys(),
        *_patient(nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("bed", sa.String(), nullable=True),
        sa.Column("facility", sa.String(), nullable=True),
        sa.Column("cancels", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    _index("bed_move", "bed")
    _index("bed_move", "patient_identifier", "patient_authority")


def _placed_order() -> None:
    op.create_table(
        "placed_order",
        *_keys(),
        *_patient(nullable=False),
        sa.Column("placer_order", sa.String(), nullable=False),
        sa.Column("filler_order", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    _index("placed_order", "filler_order")
