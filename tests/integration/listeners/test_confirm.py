"""The operation over ASGI, with a real SQLite store."""

import asyncio
from datetime import UTC, datetime

import httpx
import pytest
from fhir.resources.R4B import get_fhir_model_class

from integration.fhir.reading import FHIR_JSON
from integration.fhir_intake import FhirIntake
from integration.listeners.bodies import Bodies
from integration.listeners.confirm import MAX_BODY_BYTES, ConfirmDoor
from integration.listeners.fhir_in import FhirDoor
from integration.listeners.http import create_app
from integration.review import Reviews
from integration.security.callers import Caller
from tests.fhir_observations import bundle

NOW = datetime(2026, 3, 1, 15, 0, tzinfo=UTC)


@pytest.fixture
def place(store, reported):
    """Path of a report."""
    return f"/fhir/DiagnosticReport/{reported(store, destinations=())}"


class Known:
    """Stands for the token service: every token is of a caller with these scopes."""

    def __init__(self, *scopes):
        self.scopes = scopes

    def caller(self, _shown):
        return Caller("ehr", frozenset(self.scopes))


def ask(store, method, path, body=None, callers=None, *, door=None, **headers):
    confirm = ConfirmDoor(Reviews(store, None))
    app = create_app(store, confirm=confirm, callers=callers, door=door)

    async def request():
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            if body is not None:
                named |= {"content-type": FHIR_JSON}
            return await client.request(method, path, json=body, headers=named)

    answer = asyncio.run(request())
    told = answer.json()
    get_fhir_model_class(told["resourceType"]).model_validate(told)
    return answer


def decision(word="confirm", *more):
    who = {"name": "practitioner", "valueReference": {"identifier": {"value": "7"}}}
    told = [{"name": "decision", "valueCode": word}, who, *more]
    return {"resourceType": "Parameters", "parameter": told}


def test_a_decision_is_answered_by_the_new_version(store, place):
    answer = ask(store, "POST", f"{place}/$confirm", decision(), if_match='W/"1"')
    assert (answer.status_code, answer.headers["etag"]) == (200, 'W/"2"')
    report = answer.json()
    assert (report["status"], report["meta"]["versionId"]) == ("final", "2")
    assert report["resultsInterpreter"][0]["identifier"] == {"value": "7"}
    assert ask(store, "GET", place).json() == report
    again = ask(store, "POST", f"{place}/$confirm", decision(), if_match='W/"1"')
    assert (again.status_code, again.json()) == (200, report)


def test_versions_can_be_read(store, place):
    first = ask(store, "GET", place)
    ask(store, "POST", f"{place}/$confirm", decision())
    past = ask(store, "GET", f"{place}/_history/1")
    assert (past.json(), past.headers["etag"]) == (first.json(), 'W/"1"')
    entries = ask(store, "GET", f"{place}/_history").json()["entry"]
    assert [(e["response"]["etag"], e["resource"]["status"]) for e in entries] == [
        ('W/"2"', "final"),
        ('W/"1"', "preliminary"),
    ]
    for lacking in ("/_history/3", "/_history/x", "/_history/0"):
        assert ask(store, "GET", place + lacking).status_code == 404
    nobody = "/fhir/DiagnosticReport/11111111-2222-5333-8444-555555555555/_history"
    assert ask(store, "GET", nobody).status_code == 404


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (decision(), {"if_match": 'W/"2"'}, 412, "conflict"),
        (decision(), {"if_match": "2"}, 422, "value"),
        (decision("maybe"), {}, 422, "value"),
        ({"resourceType": "Patient"}, {}, 422, "not-supported"),
        (decision("confirm", {"name": "x" * MAX_BODY_BYTES}), {}, 413, "too-long"),
    ],
)
def test_what_is_refused_changes_nothing(  # noqa: PLR0917 - a table and two fixtures
    store, place, body, headers, status, code
):
    answer = ask(store, "POST", f"{place}/$confirm", body, **headers)
    assert (answer.status_code, answer.json()["issue"][0]["code"]) == (status, code)
    assert ask(store, "GET", place).json()["status"] == "preliminary"


def test_what_is_decided_otherwise_is_a_conflict(store, place):
    ask(store, "POST", f"{place}/$confirm", decision("reject"))
    answer = ask(store, "POST", f"{place}/$confirm", decision())
    assert (answer.status_code, answer.json()["issue"][0]["code"]) == (409, "conflict")


@pytest.mark.parametrize("id_", ["x", "11111111-2222-5333-8444-555555555555"])
def test_no_report_no_decision(store, id_):
    answer = ask(store, "POST", f"/fhir/DiagnosticReport/{id_}/$confirm", decision())
    assert answer.status_code == 404
    report = {"resourceType": "DiagnosticReport", "status": "final"}
    assert ask(store, "PUT", f"/fhir/DiagnosticReport/{id_}", report).status_code == 404


def test_it_takes_the_scope_to_update_and_notes_the_caller(store, place):
    reader = Known("system/DiagnosticReport.rs")
    assert ask(store, "POST", f"{place}/$confirm", decision(), reader).status_code == 403
    writer = Known("system/DiagnosticReport.u")
    assert ask(store, "POST", f"{place}/$confirm", decision(), writer).status_code == 200
    (newest, _) = store.versions_of(store.recent_exams(1)[0].id)
    assert newest.actor == "ehr"


def test_it_is_published(store):
    told = ask(store, "GET", "/fhir/metadata").json()["rest"][0]["resource"]
    (reports,) = [r for r in told if r["type"] == "DiagnosticReport"]
    (operation,) = reports["operation"]
    assert operation["name"] == "confirm"
    assert {"code": "update"} in reports["interaction"]
    assert {"code": "create"} not in reports["interaction"]  # where nothing can be posted
    assert ask(store, "GET", operation["definition"]).json()["code"] == "confirm"


def test_an_ehr_amends_and_withdraws_what_it_was_sent(store, place):
    sent = ask(store, "GET", place).json()
    by = {"resultsInterpreter": [{"identifier": {"value": "7"}}]}
    theirs = sent | by | {"status": "amended", "conclusion": "Sinus rhythm"}
    answer = ask(store, "PUT", place, theirs)
    assert (answer.status_code, answer.headers["etag"]) == (200, 'W/"2"')
    assert answer.json()["status"] == "amended"
    assert ": Sinus rhythm. The AI had said: " in answer.json()["conclusion"]
    assert ask(store, "PUT", place, theirs).headers["etag"] == 'W/"2"'
    withdrawn = theirs | {"status": "entered-in-error"}
    assert ask(store, "PUT", place, withdrawn, if_match='W/"1"').status_code == 412
    assert ask(store, "PUT", place, withdrawn).json()["status"] == "entered-in-error"


def test_our_own_versions_sent_back_make_no_version(store, place):
    own = [ask(store, "GET", place).json()]
    for word, more in (
        ("confirm", ()),
        ("override", ({"name": "conclusion", "valueString": "Sinus rhythm"},)),
        ("reject", ()),
    ):
        own.append(ask(store, "POST", f"{place}/$confirm", decision(word, *more)).json())
        for version in own:
            answer = ask(store, "PUT", place, version)
            assert (answer.status_code, answer.json()) == (200, own[-1])
    assert [v["status"] for v in own] == ["preliminary", "final", "corrected", "entered-in-error"]


def test_a_report_that_is_not_sent_by_who_may_update_changes_nothing(store, place):
    sent = ask(store, "GET", place).json() | {"status": "final"}
    assert ask(store, "PUT", place, sent).status_code == 422  # nobody interprets it
    sent |= {"resultsInterpreter": [{"identifier": {"value": "7"}}]}
    reader = Known("system/DiagnosticReport.rs")
    assert ask(store, "PUT", place, sent, reader).status_code == 403
    assert ask(store, "GET", place).json()["status"] == "preliminary"
    writer = Known("system/DiagnosticReport.u")
    assert ask(store, "PUT", place, sent, writer).json()["status"] == "final"
    assert store.versions_of(store.recent_exams(1)[0].id)[0].actor == "ehr"


@pytest.fixture
def alert(store, reported):
    """Path of a critical finding."""
    return f"/fhir/Communication/{reported(store, 'rhythm', ('AF',))}-critical"


def test_a_critical_finding_is_acknowledged(store, alert):
    sent = ask(store, "GET", alert)
    done = sent.json() | {"status": "completed", "recipient": [{"reference": "Practitioner/7"}]}
    assert ask(store, "PUT", alert, done, if_match='W/"2"').status_code == 412
    answer = ask(store, "PUT", alert, done, if_match=sent.headers["etag"])
    assert (answer.status_code, answer.headers["etag"]) == (200, 'W/"2"')
    assert answer.json()["status"] == "completed"
    assert ask(store, "GET", alert).json() == answer.json()
    assert ask(store, "PUT", alert, done).headers["etag"] == 'W/"2"'
    assert store.open_alerts() == (0, 0)


def test_an_ehr_may_have_a_number_of_its_own_for_a_critical_finding(store, alert):
    sent = ask(store, "GET", alert).json()
    theirs = [{"system": "urn:ehr", "value": "4711"}, *sent["identifier"]]
    done = sent | {"status": "completed", "identifier": theirs}
    assert ask(store, "PUT", alert, done).json()["status"] == "completed"


def test_what_is_no_such_finding_is_not_acknowledged(store, alert):
    done = ask(store, "GET", alert).json() | {"status": "completed"}
    for path in (f"{alert}-escalated", alert[:-1], "/fhir/Communication/x"):
        assert ask(store, "PUT", path, done).status_code == 404
    reader = Known("system/DiagnosticReport.u")
    assert ask(store, "PUT", alert, done, reader).status_code == 403
    assert store.open_alerts() == (1, 0)


def test_what_can_be_posted_back_is_published(store, alert):
    intake = FhirIntake(store, None, reviews=Reviews(store, None))
    door = FhirDoor(intake, Bodies(2**20), store)
    done = ask(store, "GET", alert).json() | {"status": "completed"}
    told = ask(store, "GET", "/fhir/metadata", door=door).json()["rest"][0]["resource"]
    creating = {r["type"] for r in told if {"code": "create"} in r["interaction"]}
    assert creating == {"DiagnosticReport", "Observation", "Communication"}
    posted = ask(store, "POST", "/fhir/Communication", done, door=door)
    assert posted.status_code == 200
    assert ask(store, "GET", posted.headers["location"]).json()["meta"]["versionId"] == "2"
    foreign = {"resourceType": "DiagnosticReport", "status": "final", "code": {"text": "x"}}
    assert ask(store, "POST", "/fhir/DiagnosticReport", foreign, door=door).status_code == 404


def test_a_bundle_decides_by_the_scopes_of_its_sender(store, alert):
    intake = FhirIntake(store, None, reviews=Reviews(store, None))
    door = FhirDoor(intake, Bodies(2**20), store)
    done = ask(store, "GET", alert).json() | {"status": "completed"}
    cart = Known("system/Observation.c")
    assert ask(store, "POST", "/fhir", bundle(done), cart, door=door).status_code == 403
    ehr = Known("system/Observation.c", "system/Communication.u")
    assert ask(store, "POST", "/fhir", bundle(done), ehr, door=door).status_code == 200
    assert store.open_alerts() == (0, 0)
