from datetime import UTC, datetime, timedelta
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
    assert event["outcome"] == "0"
    assert details["types"] == '{"MI":[0.9,0.5]}'
    assert "n" not in details  # FHIR has no empty strings


def test_who_only_ran_a_program_asked_for_nothing():
    asked = {
        kind: audit_event(SealedEntry(AuditEntry(kind, NOW, "x", None, {}), 1, "a" * 64, GENESIS))
        for kind in (AuditKind.DECISION, AuditKind.ACCESS)
    }
    assert [e["agent"][0]["requestor"] for e in asked.values()] == [False, True]
    assert all(len(event["entity"]) == 1 for event in asked.values())


def test_what_was_refused_did_not_succeed():
    refused = {"refused": "hisbundle audit export", "needs": "admin"}
    entry = AuditEntry(AuditKind.OPERATION, NOW, "somebody", None, refused)
    event = audit_event(SealedEntry(entry, 1, "a" * 64, GENESIS))
    AuditEvent.model_validate(event)
    assert event["outcome"] == "4"


def test_an_exported_log_can_be_followed_across_what_was_pruned(store):
    for day in range(4):
        at = NOW + timedelta(days=day)
        store.record_audit(AuditEntry(AuditKind.DECISION, at, "worker", None, {}))
    store.seal_audit()
    store.prune_audit(NOW + timedelta(days=2), "retention", NOW + timedelta(days=9))
    store.seal_audit()
    events = [audit_event(sealed) for sealed in store.audit_entries()]
    told = [{d["type"]: d["valueString"] for d in e["entity"][-1]["detail"]} for e in events]
    assert [t["number"] for t in told] == ["3", "4", "5"]
    assert [t["previous"] for t in told[1:]] == [t["sha256"] for t in told[:-1]]
    pruned = told[-1]
    assert (pruned["through"], pruned["pruned_sha256"]) == ("2", told[0]["previous"])
