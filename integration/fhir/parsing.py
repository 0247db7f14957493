"""Bytes of a body to a FHIR resource, within limits that no ECG comes near.

An ECG's samples are one string, so a body with many brackets or commas is no ECG; it is refused
before the parser makes objects of it, each of which takes far more memory than its bytes.
"""

from typing import Any

import orjson

from integration.errors import Refused
from integration.fhir.codes import Json
from integration.fhir.element import Element
from integration.fhir.xml import is_xml, resource_of_xml

MAX_DEPTH = 64
_MAX_CONTAINERS = 200_000
_MAX_VALUES = 1_000_000


def parse_resource(raw: bytes) -> Json:
    """Return the resource, as JSON also where it came as XML; the bytes themselves tell which.

    Raises:
        Refused: `json-malformed` (also for bytes that are not UTF-8), `json-too-complex`; of XML
            the reasons of `resource_of_xml`.
    """
    resource = resource_of_xml(raw) if is_xml(raw) else parse_object(raw)
    kind = resource.get("resourceType")
    if not isinstance(kind, str) or not kind.isascii() or not kind.isalpha() or len(kind) > 64:
        raise Element(resource, "Resource").refusal("json-malformed", "no resourceType")
    _check_depth(resource)
    return resource


def parse_object(raw: bytes) -> Json:
    """Return a JSON object.

    Raises:
        Refused: `json-malformed` (also for bytes that are not UTF-8), `json-too-complex`.
    """
    containers = raw.count(b"{") + raw.count(b"[")
    if containers > _MAX_CONTAINERS or raw.count(b",") > _MAX_VALUES:
        raise Refused("json-too-complex", "too many elements")
    try:
        found = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        # Its message quotes nothing of the body.
        detail = f"no JSON in UTF-8: line {error.lineno}, column {error.colno}"
        raise Refused("json-malformed", detail) from None
    if not isinstance(found, dict):
        raise Refused("json-malformed", "a resource is a JSON object")
    return found


def _check_depth(resource: Json) -> None:
    level: list[Json | list[Any]] = [resource]
    for _ in range(MAX_DEPTH):
        below: list[Json | list[Any]] = []
        for node in level:
            children = node.values() if isinstance(node, dict) else node
            below += [c for c in children if isinstance(c, dict | list)]
        if not below:
            return
        level = below
    raise Refused("json-too-complex", f"nested deeper than {MAX_DEPTH}")
