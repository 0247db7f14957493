"""What is posted to the FHIR interface: bodies in, answers out.

    POST /fhir                    Bundle: batch, transaction, message; ifNoneExist: identifier=
    POST /fhir/Observation        If-None-Exist: identifier=, Prefer: return=
    POST /fhir/$process-message   Bundle: message
    POST /fhir/DiagnosticReport, /fhir/Communication    ours, sent back: what an EHR decided

Bodies are JSON or XML, of R4, R4B or R5.
"""

import re
from collections.abc import Awaitable, Callable

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from db.store import Store
from integration.fhir.answering import Reply
from integration.fhir_body import Interaction, received_resource
from integration.fhir_decisions import Origin
from integration.fhir_existing import existing, identifier_in
from integration.fhir_intake import FhirIntake
from integration.listeners.admission import RETRY, caller_of
from integration.listeners.bodies import Bodies
from integration.listeners.rendering import PRIVATE, body_format, fhir_response

_PREFERRED = re.compile(r"(?:^|[,;\s])return=\"?(minimal|representation|OperationOutcome)\b")


class FhirDoor:
    """The endpoints that take ECGs, and what is decided on reports."""

    def __init__(self, intake: FhirIntake, bodies: Bodies, store: Store) -> None:
        """Take who stores and answers, who reads the bodies, and where to look for what is here."""
        self._intake = intake
        self._bodies = bodies
        self._store = store

    def routes(self) -> list[Route]:
        """Return the routes; they have to stand before those that read."""
        places = {
            "/fhir": Interaction.BUNDLE,
            "/fhir/": Interaction.BUNDLE,
            "/fhir/Observation": Interaction.CREATE,
            "/fhir/$process-message": Interaction.MESSAGE,
        }
        if self._intake.decides:
            places["/fhir/DiagnosticReport"] = Interaction.REPORT
            places["/fhir/Communication"] = Interaction.ALERT
        return [
            Route(path, self._endpoint(interaction), methods=["POST"])
            for path, interaction in places.items()
        ]

    def _endpoint(self, interaction: Interaction) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            check_body(request)
            known = _condition(request) if interaction is Interaction.CREATE else None
            async with self._bodies.read(request) as (body, size):
                return await self._answer(request, interaction, body, size, known)

        return answer

    async def _answer(
        self, request: Request, interaction: Interaction, body: bytes, size: int, known: str | None
    ) -> Response:
        caller = caller_of(request)
        sender = Origin(caller.name, caller.may_update)
        if self._bodies.too_large(size):
            reply = await run_in_threadpool(self._intake.refuse_too_large, body, size, sender)
            return _rendered(reply, request, {"Connection": "close"})
        if known is not None:
            found = await run_in_threadpool(existing, self._store.answers_to, known)
            if found is not None:
                return _rendered(found, request)
        reply = await run_in_threadpool(self._intake.answer, body, interaction, sender, known)
        if reply.status == 201:
            return _preferred(reply, request, body)
        return _rendered(reply, request)


def check_body(request: Request) -> None:
    """Let through what says that it is FHIR.

    Raises:
        HTTPException: 415.
    """
    if body_format(request.headers.get("content-type", "")) is None:
        raise HTTPException(415, "FHIR of R4, R4B or R5 is taken, as JSON or XML")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise HTTPException(415, "no compression is taken")


def _condition(request: Request) -> str | None:
    """Return the business identifier that If-None-Exist asks for, as `system|value`.

    Raises:
        Refused: `parameter-unsupported`.
    """
    asked = request.headers.get("if-none-exist")
    if asked is None:
        return None
    return identifier_in(asked)


def _preferred(reply: Reply, request: Request, body: bytes) -> Response:
    """Return what is created as `Prefer` wants it (R4, http.html#ops)."""
    match = _PREFERRED.search(request.headers.get("prefer", ""))
    wish = match[1] if match else "OperationOutcome"
    if wish == "minimal":
        empty = Response(status_code=201, headers=PRIVATE)
        return _located(empty, reply, request)
    if wish == "representation" and reply.location:
        kind, _, id_ = reply.location.partition("/")
        made = received_resource(body, kind, None)
        if made is not None:
            return _located(fhir_response(request.scope, made | {"id": id_}, 201), reply, request)
    return _rendered(reply, request)


def _rendered(reply: Reply, request: Request, headers: dict[str, str] | None = None) -> Response:
    more = (headers or {}) | (RETRY if reply.status == 503 else {})
    return _located(fhir_response(request.scope, reply.body, reply.status, more), reply, request)


def _located(response: Response, reply: Reply, request: Request) -> Response:
    if reply.location:
        response.headers["Location"] = f"{request.base_url}fhir/{reply.location}"
    return response
