"""Assessments are found by score, model and flags.

Revision: 0006, after 0005, 2026-11-23
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_PAGE = 500
ASSESSMENT = sa.table(
    "assessment",
    sa.column("exam_id", sa.Uuid()),
    sa.column("findings", sa.JSON()),
    sa.column("anomaly_score", sa.Double()),
    sa.column("model", sa.String()),
    sa.column("flagged", sa.String()),
)


def upgrade() -> None:
    """Add three columns and fill them from the findings."""
    op.add_column("assessment", sa.Column("anomaly_score", sa.Double(), nullable=True))
    op.add_column("assessment", sa.Column("model", sa.String(200), nullable=True))
    op.add_column("assessment", sa.Column("flagged", sa.String(200), nullable=True))
    _fill()
    op.create_index("ix_assessment_anomaly_score", "assessment", ["anomaly_score"])
    op.create_index("ix_assessment_model", "assessment", ["model"])


def _fill() -> None:
    connection, after = op.get_bind(), None
    while True:
        page = sa.select(ASSESSMENT.c.exam_id, ASSESSMENT.c.findings)
        if after is not None:
            page = page.where(ASSESSMENT.c.exam_id > after)
        rows = connection.execute(page.order_by(ASSESSMENT.c.exam_id).limit(_PAGE)).all()
        if not rows:
            return
        for exam_id, findings in rows:
            row = sa.update(ASSESSMENT).where(ASSESSMENT.c.exam_id == exam_id)
            connection.execute(row.values(**_values(findings)))
        after = rows[-1].exam_id


def _values(findings: dict[str, Any]) -> dict[str, Any]:
    score, limit = findings["anomaly_score"], findings["anomaly_threshold"]
    anomalous = score is not None and limit is not None and score >= limit
    strip = findings.get("strip") or {"rhythms": []}
    flags = [
        *(t["code"] for t in findings["types"] if t["probability"] >= t["threshold"]),
        *(["anomaly"] if anomalous else []),
        *(rhythm["code"] for rhythm in strip["rhythms"]),
    ]
    return {
        "anomaly_score": score,
        "model": f"{findings['model']['name']}@{findings['model']['version']}",
        "flagged": "".join(f",{code}" for code in dict.fromkeys(flags)) + ",",
    }
