from db.audit import AuditKind
from db.decisions import findings_sha256


def test_a_decision_says_what_went_in_what_decided_and_what_came_out(store, received, assessment):
    exam_id = received("77")
    new = assessment("fhir")
    store.save_assessment(exam_id, new)
    store.seal_audit()
    (sealed,) = store.audit_entries(exam_id=exam_id)
    content = sealed.entry.content
    assert (sealed.entry.kind, sealed.entry.at) == (AuditKind.DECISION, new.assessed_at)
    assert len(content["input"]["sha256"]) == 64
    assert content["models"] == [{"name": "resting", "version": "1", "sha256": "ab" * 32}]
    assert content["types"] == {"MI": [0.9, 0.5, True]}
    assert (content["quality"], content["destinations"]) == (["good"], ["fhir"])
    stored = store.load_assessed(exam_id).findings
    assert content["findings_sha256"] == findings_sha256(stored) == findings_sha256(new.findings)


def test_an_assessment_that_came_second_decides_nothing(store, received, assessment):
    exam_id = received()
    for _ in range(2):
        store.save_assessment(exam_id, assessment())
    assert store.seal_audit() == 1


def test_the_ends_of_deliveries_are_told_without_what_was_answered(store, received, assessment):
    exam_id = received()
    good, bad = store.save_assessment(exam_id, assessment("fhir", "oru"))
    store.record_delivered(good, "201 ZZCANARY")
    store.record_undeliverable(bad, "422 ZZCANARY")
    store.record_undeliverable(bad, "again")
    store.seal_audit()
    told = [e.entry.content for e in store.audit_entries() if e.entry.kind == AuditKind.DELIVERY]
    assert told == [
        {"destination": "fhir", "version": 1, "outcome": "delivered"},
        {"destination": "oru", "version": 1, "outcome": "undeliverable"},
    ]
