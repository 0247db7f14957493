"""Who may read what over HTTP, and that it is in the audit log."""

from uuid import UUID

import pytest
from pydantic import SecretStr

from db.audit import AuditKind
from db.errors import StoreUnavailable
from integration.listeners.http import create_app
from integration.security.callers import Caller, Callers, StaticToken
from tests.integration.listeners.reports import request


@pytest.fixture
def accesses(reports, exam_ids):
    """A function that tells what was looked at since the test began."""

    def told():
        while reports.seal_audit():
            pass
        return [e.entry for e in reports.audit_entries() if e.entry.kind is AuditKind.ACCESS]

    before = len(told())
    return lambda: told()[before:]


@pytest.fixture
def ehr(reports):
    """A function that asks with the token of a client by that name."""
    token = "a-token-of-some-length"
    caller = Caller("ehr", frozenset({"system/*.rs"}))
    app = create_app(reports, callers=Callers(StaticToken(SecretStr(token), caller)))
    return lambda path: request(app, path, authorization=f"Bearer {token}")


@pytest.mark.parametrize(
    "case",  # path, what is told, whose reports
    [
        ("DiagnosticReport/{}", "DiagnosticReport/{}", [1]),
        ("Observation/{}-anomaly", "Observation/{}-anomaly", [1]),
        ("Binary/{}", "page", [1]),
        ("DiagnosticReport/{}/_history", "history", [1]),
        ("DiagnosticReport/{}/_history/1", "version 1", [1]),
        ("DiagnosticReport?patient=ADT|ZZCANARY1", "search", [1, 0]),
    ],
)
def test_who_reads_is_in_the_audit_log(ehr, exam_ids, accesses, case):
    path, what, read = case
    assert ehr(f"/fhir/{path.format(exam_ids[1])}").status_code == 200
    entries = accesses()
    assert [str(e.exam_id) for e in entries] == [exam_ids[i] for i in read]
    assert {e.actor for e in entries} == {"ehr"}
    assert {e.content["what"] for e in entries} == {what.format(exam_ids[1])}
    assert "ZZCANARY" not in repr(entries)


@pytest.mark.parametrize(("scopes", "count"), [("DiagnosticReport.rs", 1), ("*.rs", 8)])
def test_results_come_along_with_who_may_read_them(reports, exam_ids, scopes, count):
    token = "a-token-of-some-length"
    caller = Caller("ehr", frozenset({f"system/{scopes}"}))
    app = create_app(reports, callers=Callers(StaticToken(SecretStr(token), caller)))
    path = f"/fhir/DiagnosticReport?_id={exam_ids[0]}&_include=DiagnosticReport:result"
    answer = request(app, path, authorization=f"Bearer {token}")
    assert len(answer.json()["entry"]) == count


def test_a_search_that_finds_nothing_is_in_the_audit_log(get, accesses):
    get("/fhir/DiagnosticReport?patient=ZZCANARY9")
    (entry,) = accesses()
    assert (entry.actor, entry.exam_id, entry.content) == ("http", None, {"what": "search"})


def test_what_cannot_be_noted_is_not_given(reports, exam_ids, monkeypatch):
    def fail(*_):
        raise StoreUnavailable("store-unavailable", "the disk is full")

    monkeypatch.setattr(reports, "record_audit", fail)
    for path in (f"DiagnosticReport/{exam_ids[0]}", f"Binary/{exam_ids[0]}", "DiagnosticReport"):
        answer = request(create_app(reports), f"/fhir/{path}")
        assert (answer.status_code, answer.json()["resourceType"]) == (503, "OperationOutcome")


def test_what_is_not_given_was_not_read(get, exam_ids, accesses):
    get(f"/fhir/DiagnosticReport/{UUID(int=1)}", 404)
    get(f"/fhir/Observation/{exam_ids[0]}-nothing", 404)
    get("/fhir/DiagnosticReport?family=Roe", 400)
    get("/fhir/metadata")
    assert accesses() == []
