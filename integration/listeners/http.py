"""The FHIR interface and the health checks over HTTP.

    GET /fhir/DiagnosticReport?identifier= &patient= &date= &_id= &_count= &_include=
    GET /fhir/{DiagnosticReport,Observation,Device,Provenance}/{id}
    GET /fhir/Binary/{id of the report}    its page as PDF
    GET /fhir/{Observation,DocumentReference,Media}/{id}    also as it was received
    GET /fhir/metadata
    POST to /fhir and below: see `fhir_in`
    GET /livez     this process answers
    GET /readyz    and its database does

Without a token there is no authentication: then it is meant for loopback, and beyond it nothing can
be posted. With one, all below /fhir but /fhir/metadata asks for it. A browser's page could still
reach it through a name that its owner points at 127.0.0.1, so only known host names are answered.
Logs say route and status, never a URL: URLs hold patients' identifiers.
"""

import contextlib
import logging
import re
import time
from collections.abc import Awaitable, Callable, Collection
from http import HTTPStatus
from urllib.parse import urlsplit
from uuid import UUID

import orjson
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from db.errors import NotFound, StoreUnavailable
from db.records import StoredReport
from db.store import Store
from integration.errors import Refused
from integration.fhir.codes import Json
from integration.fhir.decode import CARRIERS
from integration.fhir.reading import (
    FHIR_JSON,
    SERVED,
    capabilities,
    outcome,
    resources_of,
    searchset,
)
from integration.fhir.report import PDF
from integration.fhir.search import exam_id_in, parse_query
from integration.fhir_intake import received_resource
from integration.listeners.fhir_in import FhirDoor, admitted
from integration.render import page_of
from model.errors import HisbundleError

LOOPBACK_NAMES = ("127.0.0.1", "localhost", "::1")
RETRY_AFTER_S = 5
_ISSUE = {400: "value", 404: "not-found", 405: "not-supported", 406: "not-supported"}
_FORMATS = {"json", "application/json", FHIR_JSON}
_ACCEPTED = {"*/*", "application/*", *_FORMATS}
_PRIVATE = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
_log = logging.getLogger(__name__)

_Endpoint = Callable[[Request], Awaitable[Response]]


def create_app(
    store: Store,
    *,
    allowed_hosts: Collection[str] | None = LOOPBACK_NAMES,
    door: FhirDoor | None = None,
    token: str | None = None,
) -> Starlette:
    """Return the application.

    Args:
        store: for what is read.
        allowed_hosts: names in the Host header that are answered; None answers every name, for
            where something else decides who gets here.
        door: takes what is posted; None: nothing can be posted.
        token: that requests below /fhir have to show, or None.
    """
    resources = _Resources(store, takes_ecgs=door is not None)
    app = Starlette(
        routes=[
            *(door.routes() if door else ()),
            Route("/fhir/metadata", _negotiated(resources.metadata)),
            Route("/fhir/DiagnosticReport", _negotiated(resources.search)),
            Route("/fhir/Binary/{id}", resources.page),
            Route("/fhir/{kind}/{id}", _negotiated(resources.read)),
            Route("/livez", _live),
            Route("/readyz", resources.ready),
        ],
        middleware=[Middleware(_Guard, allowed_hosts=allowed_hosts, token=token)],
        exception_handlers={
            Refused: _refused,
            NotFound: _not_found,
            StoreUnavailable: _unavailable,
            HTTPException: _http_error,
        },
    )
    app.router.redirect_slashes = False
    return app


class _Resources:
    """The endpoints that need the store; it blocks, so it is asked from threads."""

    def __init__(self, store: Store, *, takes_ecgs: bool) -> None:
        self._store = store
        self._takes_ecgs = takes_ecgs

    async def metadata(self, request: Request) -> Response:
        return _json(capabilities(_base(request), takes_ecgs=self._takes_ecgs))

    async def search(self, request: Request) -> Response:
        query = parse_query(request.query_params.multi_items())
        total = 0
        page: tuple[StoredReport, ...] = ()
        if not query.impossible:
            total, page = await run_in_threadpool(
                self._store.search_reports,
                identifier=query.identifier,
                authority=query.authority,
                business_identifier=query.exam_id,
                date_from=query.date_from,
                date_to=query.date_to,
                offset=query.offset,
                limit=query.count,
            )
        return _json(searchset(_base(request), query, total, page))

    async def read(self, request: Request) -> Response:
        kind, id_ = request.path_params["kind"], request.path_params["id"]
        exam_id = exam_id_in(id_)
        if kind not in {*SERVED, *CARRIERS} or exam_id is None:
            raise HTTPException(404)
        resource = await run_in_threadpool(self._find, kind, id_, exam_id)
        if resource is None:
            raise HTTPException(404)
        return _json(resource)

    def _find(self, kind: str, id_: str, key: UUID) -> Json | None:
        """Return a resource of a report, else one that was posted, whose id is its message's."""
        if kind in SERVED:
            with contextlib.suppress(NotFound):
                return resources_of(self._store.read_report(key)).get((kind, id_))
        ordinal = re.fullmatch(r"(?:-(\d{1,6}))?", id_[36:], re.ASCII)
        if not self._takes_ecgs or kind not in CARRIERS or ordinal is None:
            return None
        number = None if ordinal[1] is None else int(ordinal[1])
        found = received_resource(self._store.message_raw(key), kind, number)
        return found and found | {"id": id_}

    async def page(self, request: Request) -> Response:
        exam_id = exam_id_in(request.path_params["id"])
        if exam_id is None or str(exam_id) != request.path_params["id"]:
            raise HTTPException(404)
        pdf = await run_in_threadpool(lambda: page_of(self._store.load_assessed(exam_id)))
        return Response(pdf, 200, _PRIVATE, PDF)

    async def ready(self, _: Request) -> Response:
        try:
            await run_in_threadpool(self._store.ping)
        except HisbundleError as error:
            return _json({"status": "not ready", "reason": error.reason}, 503, "application/json")
        return _json({"status": "ready"}, 200, "application/json")


async def _live(_: Request) -> Response:
    return _json({"status": "alive"}, 200, "application/json")


def _negotiated(endpoint: _Endpoint) -> _Endpoint:
    async def answer(request: Request) -> Response:
        if not _speaks_json(request):
            raise HTTPException(406, f"only {FHIR_JSON} is spoken here")
        return await endpoint(request)

    return answer


def _speaks_json(request: Request) -> bool:
    """Whether `_format`, else Accept, leaves room for JSON."""
    if asked := request.query_params.get("_format"):
        return asked.replace(" ", "+").lower() in _FORMATS  # a plain + in a query means a space
    kinds = request.headers.get("accept", "*/*").lower().split(",")
    return any(kind.split(";")[0].strip() in _ACCEPTED for kind in kinds)


def _base(request: Request) -> str:
    return f"{request.base_url}fhir"


def _json(body: Json, status: int = 200, media_type: str = FHIR_JSON) -> Response:
    return Response(orjson.dumps(body), status, _PRIVATE, media_type)


async def _refused(_: Request, error: Exception) -> Response:
    reason = getattr(error, "reason", "")
    code = "not-supported" if reason == "parameter-unsupported" else "value"
    return _json(outcome(code, str(error)), 400)


async def _not_found(request: Request, _: Exception) -> Response:
    return await _http_error(request, HTTPException(404))


async def _unavailable(_: Request, __: Exception) -> Response:
    response = _json(outcome("transient", "the database is not available"), 503)
    response.headers["Retry-After"] = str(RETRY_AFTER_S)
    return response


async def _http_error(_: Request, error: Exception) -> Response:
    status = getattr(error, "status_code", 500)
    detail = getattr(error, "detail", HTTPStatus(status).phrase)
    response = _json(outcome(_ISSUE.get(status, "processing"), detail), status)
    response.headers.update(getattr(error, "headers", None) or {})
    return response


class _Guard:
    """Answers only known hosts, turns what breaks into a 500, and logs route and status."""

    def __init__(
        self, app: ASGIApp, allowed_hosts: Collection[str] | None, token: str | None
    ) -> None:
        self._app = app
        self._allowed = allowed_hosts
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 0

        async def noting(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self._chosen(scope)(scope, receive, noting)
        except Exception:  # noqa: BLE001 - the last resort of a request
            # Starlette would hand it to the server, which logs the text; that may quote a report.
            _log.exception("request broke route=%s", _route(scope))
            if not status:
                broken = outcome("exception", "internal error; see the log of this server")
                await _json(broken, 500)(scope, receive, noting)
        _log.info(
            "http method=%s route=%s status=%d ms=%.1f",
            scope["method"],
            _route(scope),
            status,
            1000 * (time.perf_counter() - started),
        )

    def _chosen(self, scope: Scope) -> ASGIApp:
        if self._allowed is not None and _host_name(scope) not in self._allowed:
            return _json(outcome("security", "this host name is not served here"), 421)
        path = scope["path"]
        private = path.startswith("/fhir") and path != "/fhir/metadata"
        if private and self._token and not admitted(Headers(scope=scope), self._token):
            response = _json(outcome("login", "a bearer token is needed"), 401)
            response.headers["WWW-Authenticate"] = "Bearer"
            return response
        return self._app


def _host_name(scope: Scope) -> str | None:
    try:
        return urlsplit(f"//{Headers(scope=scope).get('host', '')}").hostname
    except ValueError:
        return None


def _route(scope: Scope) -> str:
    return getattr(scope.get("route"), "path", "none")
