from datetime import UTC, datetime
from uuid import UUID

import pytest
from fhir.resources.R4B.auditevent import AuditEvent

from db.audit import GENESIS, AuditEntry, AuditKind, SealedEntry
from integration.fhir.audit import audit_event

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize("kind", AuditKind)
def test_every_kind_is_a_valid_audit_event(kind):
    entry = AuditEntry(kind, NOW, "somebody", UUID(int=1), {"types": {"MI": [0.9, 0.5]}, "n": ""})
    event = audit_event(SealedEntry(entry, 3, "a" * 64, GENESIS))
    AuditEvent.model_validate(event)
    assert event["recorded"] == "2026-03-01T12:00:00+00:00"
    assert event["agent"][0]["who"]["display"] == "somebody"
    assert event["entity"][0]["what"]["identifier"]["value"] == str(UUID(int=1))
    details = {d["type"]: d["valueString"] for d in event["entity"][1]["detail"]}
    assert (details["number"], details["previous"]) == ("3", GENESIS)
    assert details["types"] == '{"MI":[0.9,0.5]}'
    assert "n" not in details  # FHIR has no empty strings


def test_who_only_ran_a_program_asked_for_nothing():
    asked = {
        kind: audit_event(SealedEntry(AuditEntry(kind, NOW, "x", None, {}), 1, "a" * 64, GENESIS))
        for kind in (AuditKind.DECISION, AuditKind.ACCESS)
    }
    assert [e["agent"][0]["requestor"] for e in asked.values()] == [False, True]
    assert all(len(event["entity"]) == 1 for event in asked.values())
