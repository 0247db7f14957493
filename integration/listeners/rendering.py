"""FHIR bodies over HTTP, as JSON or XML: what a client asks for, and what an answer looks like."""

import hashlib
from collections.abc import Mapping
from urllib.parse import parse_qs

import orjson
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Scope

from integration.fhir.codes import Json
from integration.fhir.reading import FHIR_JSON, FHIR_XML, outcome
from integration.fhir.xml import xml_of

PRIVATE = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
RELEASES = {"4.0", "4.3", "5.0"}
_JSON_NAMES = ("json", "application/json", "text/json", FHIR_JSON)
_XML_NAMES = ("xml", "application/xml", "text/xml", FHIR_XML)
_NAMES = dict.fromkeys(_JSON_NAMES, FHIR_JSON) | dict.fromkeys(_XML_NAMES, FHIR_XML)
_ACCEPTED = {name: kind for name, kind in _NAMES.items() if "/" in name} | dict.fromkeys(
    ("*/*", "application/*"), FHIR_JSON
)


def body_format(content_type: str) -> str | None:
    """Return what a body is, `FHIR_JSON` or `FHIR_XML`, or None for what is not taken.

    Args:
        content_type: the header; a release in it (`fhirVersion`) has to be R4, R4B or R5.
    """
    kind, *parameters = (part.strip().lower() for part in content_type.split(";"))
    told = {
        name.strip(): value.strip(' "') for name, _, value in (p.partition("=") for p in parameters)
    }
    if told.get("fhirversion", "4.0") not in RELEASES or "/" not in kind:
        return None
    return None if kind.startswith("text/") else _NAMES.get(kind)


def wanted_format(scope: Scope) -> str | None:
    """Return what an answer should be, by `_format`, else by Accept; None: nothing we speak."""
    query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
    if asked := query.get("_format"):
        name = asked[-1].split(";")[0].strip().replace(" ", "+")  # a plain + means a space
        return _NAMES.get(name.lower())
    weighed = sorted(_weighed(Headers(scope=scope).get("accept", "*/*")), key=lambda kind: -kind[1])
    found = (_ACCEPTED.get(name) for name, weight in weighed if weight > 0)
    return next(filter(None, found), None)


def accepts(scope: Scope, kind: str) -> bool:
    """Tell whether a media type is asked for by its own name."""
    weighed = _weighed(Headers(scope=scope).get("accept", ""))
    return any(name == kind and weight > 0 for name, weight in weighed)


def asks_for_a_resource(scope: Scope) -> bool:
    """Tell whether FHIR itself is asked for, not what a Binary holds."""
    accepted = Headers(scope=scope).get("accept", "")
    return "fhir" in accepted or b"_format" in scope.get("query_string", b"")


def fhir_response(
    scope: Scope, body: Json, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Return an answer in the form that is wanted; as JSON where that cannot be."""
    told = PRIVATE | dict(headers or {})
    if wanted_format(scope) == FHIR_XML and (content := xml_of(body)) is not None:
        return Response(content, status, told, FHIR_XML)
    return Response(orjson.dumps(body), status, told, FHIR_JSON)


def outcome_response(
    scope: Scope,
    status: int,
    code: str,
    diagnostics: str,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return an OperationOutcome with one error."""
    return fhir_response(scope, outcome(code, diagnostics), status, headers)


def entity_tag(resource: Json) -> str:
    """Return a resource's ETag: of its version, or of its content where it has none."""
    meta = resource.get("meta")
    version = meta.get("versionId") if isinstance(meta, dict) else None
    if not (isinstance(version, str) and version.isascii() and version.isalnum()):
        version = hashlib.sha256(orjson.dumps(resource)).hexdigest()[:32]
    return f'W/"{version}"'


def is_known(scope: Scope, tag: str) -> bool:
    """Tell whether the client has this version already (If-None-Match, compared weakly)."""
    told = Headers(scope=scope).get("if-none-match", "")
    known = {one.strip().removeprefix("W/") for one in told.split(",")}
    return "*" in known or tag.removeprefix("W/") in known


def _weighed(accept: str) -> list[tuple[str, float]]:
    found = []
    for kind in accept.split(","):
        name, parameters = _parsed(kind)
        try:
            weight = float(parameters.get("q", "1"))
        except ValueError:
            weight = 0.0
        found.append((name, weight))
    return found


def _parsed(media_type: str) -> tuple[str, dict[str, str]]:
    name, *parameters = (part.strip() for part in media_type.lower().split(";"))
    pairs = (parameter.partition("=") for parameter in parameters)
    return name, {key.strip(): value.strip(' "') for key, _, value in pairs}
