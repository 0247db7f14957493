"""${message}.

Revision: ${up_revision}, after ${down_revision | comma,n}, ${create_date.date()}

Rules; delete them here once they are kept:
- Works on SQLite and PostgreSQL; both run in the tests, and the result must equal `db/tables.py`.
- Never edit a migration that was released: write the next one. Import nothing from `db`: tables
  change, history does not. Data moves by SQL written here.
- The version before must keep working on the new schema while workers are exchanged one by one:
  add columns nullable or with a server default; drop or rename only what no running version reads,
  a release later.
- One transaction, and other processes wait for its locks (5 s, then this gives up unharmed and can
  be run again). On a table of millions of rows: add a CHECK or foreign key NOT VALID first; fill a
  new column in batches from outside; create an index CONCURRENTLY by hand before, and here
  `if_not_exists=True`.
- SQLite alters little in place: `with op.batch_alter_table(...)` copies the table.
- Name every constraint. Autogenerate does not see CHECKs and takes a rename for drop and add.
- Downgrades are not written: restore the backup that the runbook makes before migrating.
"""

import sqlalchemy as sa
from alembic import op

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None


def upgrade() -> None:
    """${message}."""
    ${upgrades if upgrades else "pass"}
