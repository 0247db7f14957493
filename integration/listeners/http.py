"""The FHIR interface and the health checks over HTTP.

    GET /fhir/DiagnosticReport?identifier= &patient= &date= &_id= &_count= &_include=
    POST /fhir/DiagnosticReport/_search    likewise, as a form
    GET /fhir/{DiagnosticReport,Observation,Device,Provenance}/{id}
    GET /fhir/DiagnosticReport/{id}/_history, and /_history/{version} of it
    GET /fhir/Binary/{id of the report}    its page as PDF
    GET /fhir/{Observation,DocumentReference,Media}/{id}    also as it was received
    GET /fhir/metadata
    POST to /fhir and below: see `fhir_in`, `fhir_notify` and `confirm`
    GET /livez     this process answers
    GET /readyz    and its database does, of a schema that serves; whether there is room for more
    GET /metrics   for Prometheus: counts and times, no patient

JSON and XML are spoken, as `_format` or Accept ask. Who may ask what is decided by `admission`; on
loopback perhaps everybody. What is read is in the audit log with the caller's name before it is
given; where it cannot be noted, nothing is given.
"""

import base64
import contextlib
import re
from collections.abc import Awaitable, Callable, Collection
from dataclasses import replace
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from uuid import UUID

import orjson
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import db.migrate
from db.audit import AuditEntry, AuditKind
from db.errors import NotFound, StoreUnavailable
from db.records import StoredReport
from db.store import Store
from integration.errors import Refused
from integration.fhir.codes import Json
from integration.fhir.decode import CARRIERS
from integration.fhir.reading import (
    SERVED,
    capabilities,
    history,
    report_resource,
    resources_of,
    searchset,
)
from integration.fhir.report import PDF
from integration.fhir.search import exam_id_in, parse_query
from integration.fhir_body import received_resource
from integration.listeners.admission import RETRY, Admission, caller_of
from integration.listeners.bodies import Bodies
from integration.listeners.confirm import ConfirmDoor
from integration.listeners.fhir_in import FhirDoor
from integration.listeners.fhir_notify import NotifyDoor
from integration.listeners.guard import LOOPBACK_NAMES, Guard
from integration.listeners.rendering import (
    PRIVATE,
    accepts,
    asks_for_a_resource,
    entity_tag,
    fhir_response,
    is_known,
    outcome_response,
    wanted_format,
)
from integration.metrics import CONTENT_TYPE, Metrics
from integration.render import page_of
from integration.security.callers import Callers
from integration.security.signing_keys import jwks
from model.errors import HisbundleError

_ISSUE = {
    400: "value",
    404: "not-found",
    405: "not-supported",
    406: "not-supported",
    408: "timeout",
    413: "too-long",
    415: "not-supported",
    503: "throttled",
}
_MAX_FORM_BYTES = 2**14

_Endpoint = Callable[[Request], Awaitable[Response]]


def create_app(
    store: Store,
    *,
    allowed_hosts: Collection[str] | None = LOOPBACK_NAMES,
    door: FhirDoor | None = None,
    confirm: ConfirmDoor | None = None,
    notify: NotifyDoor | None = None,
    callers: Callers | None = None,
    metrics: Metrics | None = None,
    keys: Path | None = None,
) -> Starlette:
    """Return the application.

    Args:
        store: for what is read.
        allowed_hosts: names in the Host header that are answered; None answers every name, for
            where something else decides who gets here.
        door: takes what is posted; None: nothing can be posted.
        confirm: takes decisions on reports; None: nobody does.
        notify: hears what other servers tell; None: nobody reads any.
        callers: who may ask for what below /fhir; None: everybody for everything.
        metrics: measures the requests and gives the page for Prometheus; None: nobody does.
        keys: folder of our signing keys, whose public halves everybody may have.
    """
    resources = _Resources(store, takes_ecgs=door is not None, takes_decisions=confirm is not None)
    app = Starlette(
        routes=[
            *(door.routes() if door else ()),
            *(confirm.routes() if confirm else ()),
            *(notify.routes() if notify else ()),
            Route("/fhir/metadata", _negotiated(resources.metadata)),
            Route("/fhir/DiagnosticReport", _negotiated(resources.search)),
            Route("/fhir/DiagnosticReport/_search", resources.search_by_form, methods=["POST"]),
            Route("/fhir/DiagnosticReport/{id}/_history", _negotiated(resources.history)),
            Route("/fhir/DiagnosticReport/{id}/_history/{version}", _negotiated(resources.version)),
            Route("/fhir/Binary/{id}", _negotiated(resources.page, PDF)),
            Route("/fhir/{kind}/{id}", _negotiated(resources.read)),
            Route("/livez", _live),
            Route("/readyz", resources.ready),
            *([Route("/metrics", _measured(metrics.page))] if metrics else ()),
            *([Route("/.well-known/jwks.json", _published(keys))] if keys else ()),
        ],
        middleware=[
            Middleware(Guard, allowed_hosts=allowed_hosts, metrics=metrics),
            Middleware(Admission, callers=callers),
        ],
        exception_handlers={
            Refused: _refused,
            NotFound: _not_found,
            StoreUnavailable: _unavailable,
            HTTPException: _http_error,
        },
    )
    app.router.redirect_slashes = False
    return app


def _measured(page: Callable[[], bytes]) -> _Endpoint:
    async def answer(_request: Request) -> Response:
        content = await run_in_threadpool(page)
        return Response(content, headers={"Content-Type": CONTENT_TYPE, **PRIVATE})

    return answer


def _published(keys: Path) -> _Endpoint:
    async def answer(_request: Request) -> Response:
        return JSONResponse(await run_in_threadpool(jwks, keys))

    return answer


class _Resources:
    """The endpoints that need the store; it blocks, so it is asked from threads."""

    def __init__(self, store: Store, *, takes_ecgs: bool, takes_decisions: bool) -> None:
        self._store = store
        self._takes_ecgs = takes_ecgs
        self._takes_decisions = takes_decisions
        self._forms = Bodies(_MAX_FORM_BYTES)

    async def metadata(self, request: Request) -> Response:
        takes = {"takes_ecgs": self._takes_ecgs, "takes_decisions": self._takes_decisions}
        told = capabilities(_base(request), **takes)
        return fhir_response(request.scope, told)

    async def search(self, request: Request) -> Response:
        query = parse_query(request.query_params.multi_items())
        if not caller_of(request).may_read("Observation"):
            query = replace(query, include_results=False)
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
        await self._note(request, "search", *(report.exam_id for report in page))
        return fhir_response(request.scope, searchset(_base(request), query, total, page))

    async def search_by_form(self, request: Request) -> Response:
        """Search by what is posted, so that no URL holds a patient (R4, http.html#search)."""
        return await _negotiated(self.search)(await self._forms.as_query(request))

    async def read(self, request: Request) -> Response:
        kind, id_ = request.path_params["kind"], request.path_params["id"]
        key = exam_id_in(id_)
        if kind not in {*SERVED, *CARRIERS} or key is None:
            raise HTTPException(404)
        resource, exam_id = await run_in_threadpool(self._find, kind, id_, key)
        if resource is None:
            raise HTTPException(404)
        await self._note(request, f"{kind}/{id_}", exam_id)
        tag = {"ETag": entity_tag(resource)}
        if is_known(request.scope, tag["ETag"]):
            return Response(status_code=304, headers=PRIVATE | tag)
        return fhir_response(request.scope, resource, headers=tag)

    async def history(self, request: Request) -> Response:
        exam_id = _report_id(request)
        versions = await run_in_threadpool(self._store.versions_of, exam_id)
        if not versions:
            raise HTTPException(404)
        await self._note(request, "history", exam_id)
        return fhir_response(request.scope, history(_base(request), versions))

    async def version(self, request: Request) -> Response:
        exam_id, number = _report_id(request), request.path_params["version"]
        if not re.fullmatch(r"[1-9]\d{0,3}", number, re.ASCII):
            raise HTTPException(404)
        found = await run_in_threadpool(self._store.read_version, exam_id, int(number))
        await self._note(request, f"version {number}", exam_id)
        resource = report_resource(found)
        return fhir_response(request.scope, resource, headers={"ETag": entity_tag(resource)})

    def _find(self, kind: str, id_: str, key: UUID) -> tuple[Json | None, UUID | None]:
        """Return a resource of a report with its exam, or what was posted as message `key`."""
        if kind in SERVED:
            with contextlib.suppress(NotFound):
                return resources_of(self._store.read_report(key)).get((kind, id_)), key
        ordinal = re.fullmatch(r"(?:-(\d{1,6}))?", id_[36:], re.ASCII)
        if not self._takes_ecgs or kind not in CARRIERS or ordinal is None:
            return None, None
        number = None if ordinal[1] is None else int(ordinal[1])
        found = received_resource(self._store.message_raw(key), kind, number)
        return found and found | {"id": id_}, None

    async def _note(self, request: Request, what: str, *exam_ids: UUID | None) -> None:
        """Write into the audit log what was looked at; a search that finds nothing is told, too."""
        actor, now = caller_of(request).name or "http", datetime.now(UTC)
        entries = [
            AuditEntry(AuditKind.ACCESS, now, actor, exam_id, {"what": what})
            for exam_id in exam_ids or [None]
        ]
        await run_in_threadpool(self._store.record_audit, *entries)

    async def page(self, request: Request) -> Response:
        exam_id = _report_id(request)
        pdf = await run_in_threadpool(lambda: page_of(self._store.load_assessed(exam_id)))
        await self._note(request, "page", exam_id)
        if not asks_for_a_resource(request.scope):
            return Response(pdf, 200, PRIVATE, PDF)
        data = base64.b64encode(pdf).decode()
        binary = {"resourceType": "Binary", "id": str(exam_id), "contentType": PDF, "data": data}
        return fhir_response(request.scope, binary)

    async def ready(self, _: Request) -> Response:
        try:
            schema, full = await run_in_threadpool(lambda: (self._store.schema(), self._store.full))
        except HisbundleError as error:
            return _plain({"status": "not ready", "reason": error.reason}, 503)
        if db.migrate.outdated(schema):
            return _plain({"status": "not ready", "reason": "schema-behind"}, 503)
        # Without room reports are still read here, and senders are told to come again.
        return _plain({"status": "ready", "intake": "store-full" if full else "open"})


def _report_id(request: Request) -> UUID:
    """Return the exam whose report is asked for by its id.

    Raises:
        HTTPException: 404: that is none.
    """
    id_ = request.path_params["id"]
    exam_id = exam_id_in(id_)
    if exam_id is None or str(exam_id) != id_:
        raise HTTPException(404)
    return exam_id


async def _live(_: Request) -> Response:
    return _plain({"status": "alive"})


def _negotiated(endpoint: _Endpoint, raw: str = "") -> _Endpoint:
    """Refuse who accepts neither FHIR nor what a Binary holds, `raw`."""

    async def answer(request: Request) -> Response:
        if wanted_format(request.scope) is None and not accepts(request.scope, raw):
            raise HTTPException(406, "FHIR is spoken here as JSON and as XML")
        return await endpoint(request)

    return answer


def _base(request: Request) -> str:
    return f"{request.base_url}fhir"


def _plain(body: dict[str, str], status: int = 200) -> Response:
    return Response(orjson.dumps(body), status, PRIVATE, "application/json")


async def _refused(request: Request, error: Exception) -> Response:
    reason = getattr(error, "reason", "")
    code = "not-supported" if reason == "parameter-unsupported" else "value"
    return outcome_response(request.scope, 400, code, str(error))


async def _not_found(request: Request, _: Exception) -> Response:
    return await _http_error(request, HTTPException(404))


async def _unavailable(request: Request, _: Exception) -> Response:
    words = "the database is not available"
    return outcome_response(request.scope, 503, "transient", words, RETRY)


async def _http_error(request: Request, error: Exception) -> Response:
    status = getattr(error, "status_code", 500)
    detail = getattr(error, "detail", HTTPStatus(status).phrase)
    headers = getattr(error, "headers", None)
    issue = _ISSUE.get(status, "processing")
    return outcome_response(request.scope, status, issue, detail, headers)
