"""Entries of the audit log as FHIR R4 AuditEvents, for a hospital's audit repository."""

import orjson

from db.audit import AuditKind, SealedEntry
from integration.fhir.codes import ID, Json, coding

AUDIT = "urn:hisbundle:audit"
_EVENTS = "http://terminology.hl7.org/CodeSystem/iso-21089-lifecycle"
_ENTITIES = "http://terminology.hl7.org/CodeSystem/audit-entity-type"
_EVENT = {  # kind -> (event of ISO 21089, AuditEvent.action)
    AuditKind.DECISION: ("originate", "E"),
    AuditKind.DELIVERY: ("transmit", "R"),
    AuditKind.CONFIRMATION: ("verify", "U"),
    AuditKind.ACCESS: ("access", "R"),
    AuditKind.OPERATION: ("amend", "E"),
    AuditKind.PRUNED: ("destroy", "D"),
}
# An entry on pruning holds the hash of the last one that went; the name is the entry's own here.
_OTHERWISE_NAMED = {"sha256": "pruned_sha256"}
_SUCCESS, _MINOR_FAILURE = "0", "4"  # of AuditEvent.outcome
_ASKED_FOR = (AuditKind.CONFIRMATION, AuditKind.ACCESS, AuditKind.OPERATION)


def audit_event(sealed: SealedEntry) -> Json:
    """Return an entry as AuditEvent; its place in the chain stands among the details.

    `previous` is the `sha256` of the entry before, or `pruned_sha256` of the entry that tells that
    all up to `through`, the number before, were removed.
    """
    entry = sealed.entry
    code, action = _EVENT[entry.kind]
    content = {_OTHERWISE_NAMED.get(name, name): value for name, value in entry.content.items()}
    chain = {"number": sealed.number, "sha256": sealed.sha256, "previous": sealed.previous}
    log = _entity(AUDIT, str(sealed.number), "4") | {
        "detail": [
            {"type": name, "valueString": _text(value)}
            for name, value in (content | chain).items()
            if value != ""
        ]
    }
    ecg = [] if entry.exam_id is None else [_entity(ID, str(entry.exam_id), "2")]
    return {
        "resourceType": "AuditEvent",
        "type": coding(_EVENTS, code),
        "action": action,
        "recorded": entry.at.isoformat(),
        "outcome": _MINOR_FAILURE if "refused" in entry.content else _SUCCESS,
        "agent": [{"who": {"display": entry.actor}, "requestor": entry.kind in _ASKED_FOR}],
        "source": {"observer": {"display": "Hisbundle"}},
        "entity": [*ecg, log],
    }


def _entity(system: str, value: str, kind: str) -> Json:
    return {
        "what": {"identifier": {"system": system, "value": value}},
        "type": coding(_ENTITIES, kind),
    }


def _text(value: object) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()
