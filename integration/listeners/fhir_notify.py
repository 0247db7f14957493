"""Where FHIR servers that are read say that they have something (Subscription rest-hooks).

    POST or PUT /fhir/notify/{source}             an empty body, a resource, or a notification
    POST or PUT /fhir/notify/{source}/{type}/{id} as R4 servers send a resource

Plain R4 rest-hooks, the R4 Backport's and R5's notifications are understood, with empty, id-only
and full content. A 2xx says that the word was kept; what it is about is read from the server.
"""

from collections.abc import Mapping

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from integration.errors import Refused
from integration.fhir.answering import refusal
from integration.fhir.parsing import parse_resource
from integration.fhir_source import FhirSource
from integration.listeners.bodies import Bodies
from integration.listeners.fhir_in import check_body
from integration.listeners.rendering import PRIVATE, fhir_response


class NotifyDoor:
    """The endpoints of all sources."""

    def __init__(self, sources: Mapping[str, FhirSource], bodies: Bodies) -> None:
        """Take the sources by name, and who reads the bodies."""
        self._sources = sources
        self._bodies = bodies

    def routes(self) -> list[Route]:
        """Return the routes; they have to stand before those that read."""
        paths = ("/fhir/notify/{source}", "/fhir/notify/{source}/{rest:path}")
        return [Route(path, self._hear, methods=["POST", "PUT"]) for path in paths]

    async def _hear(self, request: Request) -> Response:
        source = self._sources.get(request.path_params["source"])
        if source is None:
            raise HTTPException(404)
        async with self._bodies.read(request) as (body, size):
            if body.strip():
                check_body(request)
            if self._bodies.too_large(size):
                raise HTTPException(413, "larger than http.max_body_bytes", {"Connection": "close"})
            try:
                await run_in_threadpool(_heard, source, body)
            except Refused as error:
                kept = refusal(error)
                return fhir_response(request.scope, kept.outcome, kept.status)
        return Response(status_code=200, headers=PRIVATE)


def _heard(source: FhirSource, body: bytes) -> None:
    source.notified(parse_resource(body) if body.strip() else None)
