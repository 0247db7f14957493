"""Findings and reports are kept compressed.

Nothing has been released that reads them as they were: workers are stopped for it.

Revision: 0013, after 0012, 2026-11-28
"""

import zlib

import orjson
import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_PAGE = 500
_COLUMNS = (("assessment", "findings", ("exam_id",)), ("report", "bundle", ("exam_id", "version")))


def upgrade() -> None:
    """Write each anew, a page at a time."""
    for table, column, key in _COLUMNS:
        op.add_column(table, sa.Column("packed", sa.LargeBinary(), nullable=True))
        _fill(table, column, key)
        with op.batch_alter_table(table) as batch:
            batch.drop_column(column)
            batch.alter_column("packed", new_column_name=column, nullable=False)


def _fill(name: str, column: str, key: tuple[str, ...]) -> None:
    table = sa.table(
        name,
        sa.column("exam_id", sa.Uuid()),
        sa.column("version", sa.SmallInteger()),
        sa.column(column, sa.JSON()),
        sa.column("packed", sa.LargeBinary()),
    )
    keys = [table.c[part] for part in key]
    connection, after = op.get_bind(), None
    row = sa.update(table).where(*(part == sa.bindparam(f"of_{part.name}") for part in keys))
    while True:
        page = sa.select(*keys, table.c[column])
        if after is not None:
            page = page.where(sa.tuple_(*keys) > sa.tuple_(*after))
        rows = connection.execute(page.order_by(*keys).limit(_PAGE)).all()
        if not rows:
            return
        values = [
            {f"of_{part}": value for part, value in zip(key, found, strict=False)}
            | {"packed": _packed(found[-1])}
            for found in rows
        ]
        connection.execute(row.values(packed=sa.bindparam("packed")), values)
        after = rows[-1][:-1]


def _packed(found: object) -> bytes:
    """As `db.compress.shrink` of then: a byte that says zlib, or that it is as it was."""
    data = orjson.dumps(found)
    return b"\x01" + zlib.compress(data, 1) if len(data) >= 200 else b"\x00" + data
