"""What the audit log says of a decision and of a delivery's end.

A decision names what went in (the message by its SHA-256), what decided (the bundles by theirs),
against which thresholds, and what came out; the whole findings by their hash, so that a change of
what is stored beside can be proved.
"""

import hashlib
import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.audit import AuditEntry, AuditKind, add_entry
from db.records import DeliveryState, NewAssessment
from db.tables import DeliveryRow, ExamRow, MessageRow
from model.findings import Findings

_WORKER = "worker"


def findings_sha256(findings: Findings) -> str:
    """Return the hash of findings, the same before they are stored and after they are read."""
    plain = json.dumps(findings.to_json(), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(plain.encode()).hexdigest()


def add_decision(session: Session, exam_id: UUID, new: NewAssessment) -> None:
    """Write what was decided on an exam, in the transaction that stores it."""
    message_id, ordinal, sha256 = session.execute(
        select(MessageRow.id, ExamRow.ordinal, MessageRow.sha256)
        .join(ExamRow, ExamRow.message_id == MessageRow.id)
        .where(ExamRow.id == exam_id)
    ).one()
    found = new.findings
    content: dict[str, Any] = {
        "input": {"message": str(message_id), "ecg": ordinal, "sha256": sha256},
        "models": [
            {"name": model.name, "version": model.version, "sha256": model.sha256}
            for model in (found.model, *([found.strip.model] if found.strip else []))
        ],
        "quality": [found.quality.verdict, *found.quality.reasons],
        "types": {t.code: [t.probability, t.threshold, t.flagged] for t in found.types},
        "anomaly": [found.anomaly_score, found.anomaly_threshold, found.anomalous],
        "rhythms": [
            [r.code, r.value, r.threshold] for r in (found.strip.rhythms if found.strip else ())
        ],
        "findings_sha256": findings_sha256(found),
        "destinations": list(new.destinations),
    }
    add_entry(session, AuditEntry(AuditKind.DECISION, new.assessed_at, _WORKER, exam_id, content))


def add_delivery_end(session: Session, row: DeliveryRow, state: DeliveryState) -> None:
    """Write how a delivery ended; not what was answered, which may quote a patient."""
    content = {"destination": row.destination, "version": row.version, "outcome": state.value}
    entry = AuditEntry(AuditKind.DELIVERY, datetime.now(UTC), _WORKER, row.exam_id, content)
    add_entry(session, entry)
