"""What is posted to the FHIR interface: bodies in, answers out.

    POST /fhir                    Bundle: batch, transaction, message
    POST /fhir/Observation
    POST /fhir/$process-message   Bundle: message

A body is read piece by piece and refused at the limit. Few are read at the same time, so that many
large ones cannot fill the memory; who waits for long is sent away to come again.
"""

import asyncio
import hmac
from collections.abc import Awaitable, Callable

import orjson
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from integration.fhir.answering import Reply
from integration.fhir.codes import Json
from integration.fhir.reading import FHIR_JSON, outcome
from integration.fhir_intake import FhirIntake, Interaction

CLIENT = "bearer"  # the sender whose token was right; there is one token
_JSON_TYPES = {FHIR_JSON, "application/json"}
_AT_ONCE = 16
_PATIENCE_S = 10.0  # for a turn
_BODY_TIMEOUT_S = 60.0
_RETRY = {"Retry-After": "5"}
_PLAIN = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


class FhirDoor:
    """The endpoints that take ECGs."""

    def __init__(self, intake: FhirIntake, *, max_body_bytes: int, token: str | None) -> None:
        """Take what every request needs.

        Args:
            intake: stores and answers.
            max_body_bytes: larger bodies are refused.
            token: that requests have shown to get here, or None.
        """
        self._intake = intake
        self._limit = max_body_bytes
        self._sender = CLIENT if token else ""
        self._turns = asyncio.Semaphore(_AT_ONCE)

    def routes(self) -> list[Route]:
        """Return the routes; they have to stand before those that read."""
        places = {
            "/fhir": Interaction.BUNDLE,
            "/fhir/Observation": Interaction.CREATE,
            "/fhir/$process-message": Interaction.MESSAGE,
        }
        return [
            Route(path, self._endpoint(interaction), methods=["POST"])
            for path, interaction in places.items()
        ]

    def _endpoint(self, interaction: Interaction) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
            if kind not in _JSON_TYPES:
                return _told(415, "not-supported", f"{FHIR_JSON} is taken here")
            try:
                async with asyncio.timeout(_PATIENCE_S):
                    await self._turns.acquire()
            except TimeoutError:
                return _told(503, "throttled", "send this again later", _RETRY)
            try:
                return await self._answer(request, interaction)
            finally:
                self._turns.release()

        return answer

    async def _answer(self, request: Request, interaction: Interaction) -> Response:
        try:
            async with asyncio.timeout(_BODY_TIMEOUT_S):
                body, size = await self._read(request)
        except TimeoutError:
            return _told(408, "timeout", "the body did not come in time")
        except ClientDisconnect:
            return Response(status_code=400)  # nobody is there to hear it
        if size > self._limit:
            reply = await run_in_threadpool(self._intake.refuse_too_large, body, size, self._sender)
            return _rendered(reply, request, {"Connection": "close"})
        reply = await run_in_threadpool(self._intake.answer, body, interaction, self._sender)
        return _rendered(reply, request)

    async def _read(self, request: Request) -> tuple[bytes, int]:
        """Return the body and its size, or the beginning of one that is too large."""
        declared = request.headers.get("content-length", "")
        size = int(declared) if declared.isascii() and declared.isdecimal() else 0
        pieces, got = [], 0
        async for piece in request.stream():
            pieces.append(piece)
            got += len(piece)
            if max(got, size) > self._limit:
                break
        return b"".join(pieces), max(got, size)


def admitted(headers: Headers, token: str) -> bool:
    """Tell whether a request shows the token; takes as long for a wrong one as for a right one."""
    scheme, _, shown = headers.get("authorization", "").partition(" ")
    right = hmac.compare_digest(shown.strip().encode("latin-1"), token.encode())
    return right and scheme.lower() == "bearer"


def _rendered(reply: Reply, request: Request, headers: dict[str, str] | None = None) -> Response:
    response = _response(reply.body, reply.status, headers)
    if reply.location:
        response.headers["Location"] = f"{request.base_url}fhir/{reply.location}"
    if reply.status == 503:
        response.headers.update(_RETRY)
    return response


def _told(
    status: int, code: str, diagnostics: str, headers: dict[str, str] | None = None
) -> Response:
    return _response(outcome(code, diagnostics), status, headers)


def _response(body: Json, status: int, headers: dict[str, str] | None) -> Response:
    return Response(orjson.dumps(body), status, _PLAIN | (headers or {}), FHIR_JSON)
