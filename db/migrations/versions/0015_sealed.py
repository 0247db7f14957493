"""What identifiers are found by, beside them; keys in use.

Revision: 0015, after 0014, 2026-11-28
"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

# table -> token -> the identifier it stands for
_TOKENS = {
    "exam": {
        "patient_token": "patient_identifier",
        "authority_token": "patient_authority",
        "order_token": "placer_order",
        "bed_token": "bed",
    },
    "bed_move": {
        "patient_token": "patient_identifier",
        "authority_token": "patient_authority",
        "bed_token": "bed",
    },
    "placed_order": {
        "patient_token": "patient_identifier",
        "authority_token": "patient_authority",
        "filler_token": "filler_order",
    },
}
_OLD_INDEXES = {
    "ix_exam_patient_identifier_patient_authority": "exam",
    "ix_exam_placer_order": "exam",
    "ix_exam_parked": "exam",
    "ix_bed_move_bed": "bed_move",
    "ix_bed_move_patient_identifier_patient_authority": "bed_move",
    "ix_placed_order_filler_order": "placed_order",
}
_INDEXES = {
    "ix_exam_patient_token_authority_token": ("exam", ["patient_token", "authority_token"]),
    "ix_exam_order_token": ("exam", ["order_token"]),
    "ix_bed_move_bed_token": ("bed_move", ["bed_token"]),
    "ix_bed_move_patient_token_authority_token": (
        "bed_move",
        ["patient_token", "authority_token"],
    ),
    "ix_placed_order_filler_token": ("placed_order", ["filler_token"]),
}
_PARKED = sa.text("state = 'unassociated'")


def upgrade() -> None:
    """Without keys the token is the identifier itself."""
    for table, tokens in _TOKENS.items():
        for token in tokens:
            op.add_column(table, sa.Column(token, sa.String(), nullable=True))
        changed = sa.table(table, *(sa.column(n) for pair in tokens.items() for n in pair))
        op.execute(changed.update().values({t: changed.c[of] for t, of in tokens.items()}))
    for name, table in _OLD_INDEXES.items():
        op.drop_index(name, table)
    for name, (table, columns) in _INDEXES.items():
        op.create_index(name, table, columns)
    op.create_index(
        "ix_exam_parked", "exam", ["bed_token"], sqlite_where=_PARKED, postgresql_where=_PARKED
    )
    op.create_table(
        "encryption_key",
        sa.Column("kind", sa.String(8), nullable=False),
        sa.Column("id", sa.String(16), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("proof", sa.Text(), nullable=False),
        sa.Column("complete_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("kind", "id"),
    )
