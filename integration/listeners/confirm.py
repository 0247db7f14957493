"""What clinicians make of reports, over HTTP.

    POST /fhir/DiagnosticReport/{id}/$confirm    Parameters; If-Match: W/"version"
    PUT  /fhir/DiagnosticReport/{id}             as an EHR has it; If-Match likewise
    PUT  /fhir/Communication/{id}                a critical finding, `completed`; If-Match likewise
    GET  /fhir/OperationDefinition/report-confirm

They ask for the scope to update the type of resource; the caller is who the audit log names.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from uuid import UUID

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from db.errors import VersionConflict
from db.records import StoredReport
from integration.errors import Refused, answer_to
from integration.fhir import codes
from integration.fhir.confirming import OPERATION, operation_definition, review_in
from integration.fhir.element import Element
from integration.fhir.parsing import parse_resource
from integration.fhir.reading import resources_of
from integration.fhir.search import exam_id_in
from integration.fhir_decisions import version_in
from integration.listeners.admission import caller_of
from integration.listeners.bodies import Bodies
from integration.listeners.fhir_in import check_body
from integration.listeners.rendering import entity_tag, fhir_response, outcome_response
from integration.review import Reviews

MAX_BODY_BYTES = 2**16
MAX_REPORT_BYTES = 2**22  # a page may be in it

Clock = Callable[[], datetime]


class ConfirmDoor:
    """The endpoints of the operation."""

    def __init__(self, reviews: Reviews, *, clock: Clock = lambda: datetime.now(UTC)) -> None:
        """Take what decides; `clock` returns the aware time."""
        self._reviews = reviews
        self._clock = clock
        self._bodies = Bodies(MAX_BODY_BYTES)
        self._reports = Bodies(MAX_REPORT_BYTES)

    def routes(self) -> list[Route]:
        """Return the routes; they have to stand before those that read."""
        return [
            Route("/fhir/DiagnosticReport/{id}/$confirm", self._confirm, methods=["POST"]),
            Route("/fhir/DiagnosticReport/{id}", self._amend, methods=["PUT"]),
            Route("/fhir/Communication/{id}", self._acknowledge, methods=["PUT"]),
            Route(f"/fhir/{OPERATION}", _definition),
        ]

    async def _confirm(self, request: Request) -> Response:
        return await self._answer(request, self._bodies, MAX_BODY_BYTES, self._decided)

    async def _amend(self, request: Request) -> Response:
        return await self._answer(request, self._reports, MAX_REPORT_BYTES, self._amended)

    async def _acknowledge(self, request: Request) -> Response:
        return await self._answer(request, self._bodies, MAX_BODY_BYTES, self._acknowledged)

    async def _answer(
        self,
        request: Request,
        bodies: Bodies,
        most: int,
        decide: Callable[[Request, bytes], StoredReport],
    ) -> Response:
        check_body(request)
        async with bodies.read(request) as (body, size):
            if bodies.too_large(size):
                raise HTTPException(413, f"at most {most} bytes are taken here")
            try:
                report = await run_in_threadpool(decide, request, body)
            except (Refused, VersionConflict) as error:
                return _told(request, error)
        kind, id_ = request.url.path.split("/")[2], request.path_params["id"]
        resource = resources_of(report)[kind, id_]
        return fhir_response(request.scope, resource, headers={"ETag": entity_tag(resource)})

    def _decided(self, request: Request, body: bytes) -> StoredReport:
        exam_id = _exam_id(request)
        review = review_in(parse_resource(body), self._clock())
        actor = caller_of(request).name or "http"
        return self._reviews.decide(exam_id, review, actor=actor, expected=_expected(request))

    def _amended(self, request: Request, body: bytes) -> StoredReport:
        exam_id, resource = _exam_id(request), parse_resource(body)
        actor = caller_of(request).name or "http"
        return self._reviews.amend(exam_id, resource, actor=actor, expected=_expected(request))

    def _acknowledged(self, request: Request, body: bytes) -> StoredReport:
        id_, resource = request.path_params["id"], parse_resource(body)
        told = Element(resource, "Communication")
        exam_id = exam_id_in(id_)
        names = [i.text("value") for i in told.items("identifier") if i.text("system") == codes.ID]
        if exam_id is None or names != [id_]:
            raise told.refusal("report-unknown", "it names no or another finding", "identifier")
        actor = caller_of(request).name or "http"
        expected = _expected(request)
        return self._reviews.acknowledge(exam_id, resource, actor=actor, expected=expected)


def _exam_id(request: Request) -> UUID:
    id_ = request.path_params["id"]
    exam_id = exam_id_in(id_)
    if exam_id is None or str(exam_id) != id_:
        raise Refused("report-unknown", "there is no report with this id")
    return exam_id


def _expected(request: Request) -> int | None:
    return version_in(request.headers.get("if-match", "*"))


async def _definition(request: Request) -> Response:
    return fhir_response(request.scope, operation_definition(f"{request.base_url}fhir"))


def _told(request: Request, error: Refused | VersionConflict) -> Response:
    answer = answer_to(error.reason)
    return outcome_response(request.scope, answer.http_status, answer.issue, str(error))
