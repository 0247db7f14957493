"""Who gets past, over ASGI."""

import asyncio

import httpx
import pytest
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from integration.errors import TryLater
from integration.listeners.admission import Admission, caller_of
from integration.security.callers import Caller, Callers, StaticToken
from integration.security.roles import scopes_of

WRITER = "writer-token-of-some-length"
SOURCE = "source-token-of-some-length"
READER = "reader-token-of-some-length"
MASTER = "master-token-of-some-length"


class Away:
    """An issuer that cannot be asked."""

    def caller(self, token):
        raise TryLater("authority-unreachable", "no answer")


CALLERS = Callers(
    StaticToken(SecretStr(MASTER)),
    StaticToken(SecretStr(WRITER), Caller("cart-7", frozenset({"system/Observation.c"}))),
    StaticToken(
        SecretStr(SOURCE), Caller("source:ehr", frozenset({"system/Observation.c"}), source="ehr")
    ),
    StaticToken(SecretStr(READER), Caller("ehr", frozenset({"system/DiagnosticReport.rs"}))),
)


def ask(path, token=None, method="GET", callers=CALLERS):
    async def name(request):
        return PlainTextResponse(caller_of(request).name)

    routes = [Route("/{path:path}", name, methods=["GET", "POST", "PUT"])]
    app = Starlette(routes=routes, middleware=[Middleware(Admission, callers=callers)])

    async def run():
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            shown = {"authorization": f"Bearer {token}"} if token else {}
            return await client.request(method, path, headers=shown)

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("method", "path", "token", "name"),
    [
        ("POST", "/fhir", WRITER, "cart-7"),
        ("POST", "/fhir/", WRITER, "cart-7"),
        ("POST", "/fhir/Observation", WRITER, "cart-7"),
        ("POST", "/fhir/$process-message", WRITER, "cart-7"),
        ("PUT", "/fhir/notify/ehr/Observation/1", WRITER, "cart-7"),
        ("GET", "/fhir/DiagnosticReport?_id=1", READER, "ehr"),
        ("GET", "/metrics", READER, "ehr"),
        ("GET", "/fhir/DiagnosticReport/1", READER, "ehr"),
        ("GET", "/fhir/Binary/1", MASTER, "bearer"),
        ("GET", "/fhir/metadata", None, ""),
        ("GET", "/livez", None, ""),
        ("GET", "/fhirother", None, ""),
    ],
)
def test_let_through(method, path, token, name):
    answer = ask(path, token, method)
    assert (answer.status_code, answer.text) == (200, name)


@pytest.mark.parametrize(
    ("method", "path", "token", "lacking"),
    [
        ("GET", "/fhir/DiagnosticReport", WRITER, "system/DiagnosticReport.s"),
        ("GET", "/fhir/Observation/1", WRITER, "system/Observation.r"),
        ("POST", "/fhir", READER, "system/Observation.c"),
        ("POST", "/fhir/DiagnosticReport/1/$confirm", READER, "system/DiagnosticReport.u"),
        ("GET", "/fhir/_history", READER, "system/*.cruds"),
    ],
)
def test_scopes(method, path, token, lacking):
    answer = ask(path, token, method)
    told = f'Bearer error="insufficient_scope", scope="{lacking}"'
    assert (answer.status_code, answer.headers["www-authenticate"]) == (403, told)
    assert answer.json()["issue"][0]["code"] == "forbidden"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/fhir/notify/ehr", 200),
        ("POST", "/fhir/notify/ehr/", 200),
        ("PUT", "/fhir/notify/ehr/Observation/1", 200),
        ("GET", "/fhir/notify/ehr", 403),
        ("POST", "/fhir/notify/ehr2", 403),
        ("POST", "/fhir/notify/other", 403),
        ("POST", "/fhir/notify", 403),
        ("POST", "/fhir", 403),
        ("POST", "/fhir/Observation", 403),
        ("POST", "/fhir/$process-message", 403),
        ("GET", "/metrics", 403),
        ("GET", "/fhir/DiagnosticReport", 403),
    ],
)
def test_a_source_has_nothing_but_its_word_to_give(method, path, status):
    assert ask(path, SOURCE, method).status_code == status


@pytest.mark.parametrize(
    "path", ["/fhir", "/fhir/", "/fhir/DiagnosticReport", "/fhir/metadata/x", "/metrics"]
)
def test_nobody(path):
    answer = ask(path)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert answer.json()["issue"][0]["code"] == "login"
    wrong = ask(path, "nonsense")
    assert wrong.headers["www-authenticate"] == 'Bearer error="invalid_token"'


def test_an_issuer_that_is_away():
    answer = ask("/fhir", WRITER, callers=Callers(Away()))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert ask("/fhir", callers=Callers(Away())).status_code == 401


@pytest.mark.parametrize(
    ("role", "path", "status"),
    [
        ("viewer", "/metrics", 200),
        ("viewer", "/fhir/DiagnosticReport", 403),
        ("operator", "/fhir/DiagnosticReport", 200),
        ("nobody", "/fhir/DiagnosticReport", 403),
    ],
)
def test_roles(role, path, status):
    callers = Callers(StaticToken(SecretStr(READER), Caller("x", scopes_of([role]))))
    assert ask(path, READER, callers=callers).status_code == status


def test_on_loopback_perhaps_everybody():
    answer = ask("/fhir/DiagnosticReport", callers=None)
    assert (answer.status_code, answer.text) == (200, "")
