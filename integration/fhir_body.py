"""What a FHIR body is: where it belongs, what its sender calls it, what is in it."""

import contextlib
from datetime import tzinfo
from enum import StrEnum

from db.records import NewExam, keepable
from integration.errors import Refused
from integration.fhir.bundle import Resources
from integration.fhir.codes import Json
from integration.fhir.decode import exams_by_unit, resources_of, units_of
from integration.fhir.element import Element
from integration.fhir.parsing import parse_resource

PROTOCOL = "fhir"
_METHODS = ("POST", "PUT", "")
_TYPES = ("batch", "transaction", "message")


class Interaction(StrEnum):
    """Where a body was posted."""

    CREATE = "create"  # /Observation
    BUNDLE = "bundle"  # the base URL
    MESSAGE = "message"  # $process-message
    REPORT = "report"  # /DiagnosticReport
    ALERT = "alert"  # /Communication


_ALONE = {
    "Observation": Interaction.CREATE,
    "DiagnosticReport": Interaction.REPORT,
    "Communication": Interaction.ALERT,
}


def exams_in(raw: bytes, zone: tzinfo | None) -> tuple[str, list[NewExam]]:
    """Read an Observation or a Bundle that nobody waits to be answered for: all of it or none.

    Args:
        raw: the body.
        zone: of times without one, which R4 forbids.

    Returns:
        The sender's own name for the body, or "", and its ECGs.

    Raises:
        Refused: with a reason of `integration.errors.ANSWERS` and, where known, the place.
    """
    resource = parse_resource(raw)
    bundled = resource["resourceType"] == "Bundle"
    type_ = kind_of(resource, Interaction.BUNDLE if bundled else Interaction.CREATE)
    resources = resources_of(resource)
    check_methods(resource)
    if type_ == "message":
        message_header(resources)
    found = exams_by_unit(units_of(resources), resources, zone)
    return control_id(resource), [exam for exams in found for exam in exams]


def interaction_of(raw: bytes) -> Interaction:
    """Return where a body would have been posted.

    Raises:
        Refused: as `parse_resource`.
    """
    resource = parse_resource(raw)
    if resource["resourceType"] != "Bundle":
        return _ALONE.get(resource["resourceType"], Interaction.CREATE)
    return Interaction.MESSAGE if resource.get("type") == "message" else Interaction.BUNDLE


def received_resource(raw: bytes, kind: str, ordinal: int | None) -> Json | None:
    """Return a resource out of a stored body, or None where it is not what is asked for.

    Args:
        raw: the body.
        kind: resourceType.
        ordinal: of its entry; None: the body itself.
    """
    try:
        resource = parse_resource(raw)
        entries = resources_of(resource).entries
    except Refused:
        return None
    if (resource["resourceType"] == "Bundle") is (ordinal is None) or (ordinal or 0) >= len(
        entries
    ):
        return None
    found = entries[ordinal or 0]
    return found.resource.value if found.kind == kind else None


def kind_of(resource: Json, interaction: Interaction) -> str:
    """Return `create`, `decision`, or the type of the Bundle.

    Raises:
        Refused: `resource-unsupported`, `bundle-unsupported`.
    """
    element = Element(resource, resource["resourceType"])
    wanted = next((kind for kind, where in _ALONE.items() if where is interaction), "Bundle")
    if resource["resourceType"] != wanted:
        raise element.refusal("resource-unsupported", f"{wanted} is taken here", "resourceType")
    if wanted != "Bundle":
        return "create" if interaction is Interaction.CREATE else "decision"
    kind = element.text("type")
    if kind != "message" and (interaction is Interaction.MESSAGE or kind not in _TYPES):
        detail = "batch, transaction and message are taken, $process-message takes message"
        raise element.refusal("bundle-unsupported", detail, "type")
    return kind


def check_methods(resource: Json) -> None:
    """Refuse entries of a Bundle that neither create nor update.

    Raises:
        Refused: `bundle-unsupported`.
    """
    for entry in Element(resource, "Bundle").items("entry"):
        request = entry.child("request")
        if request is not None and request.text("method") not in _METHODS:
            detail = "entries create; other methods are not supported"
            raise request.refusal("bundle-unsupported", detail, "method")


def message_header(resources: Resources) -> Json:
    """Return the MessageHeader of a message.

    Raises:
        Refused: `bundle-malformed`.
    """
    first = resources.entries[0] if resources.entries else None
    if first is None or first.kind != "MessageHeader":
        detail = "a message begins with its MessageHeader"
        raise Refused("bundle-malformed", detail, expression="Bundle.entry[0].resource")
    return first.resource.value


def control_id(resource: Json) -> str:
    """Return the sender's own name for a body: its identifier, its MessageHeader's id, or its id.

    What cannot be read or kept is none; the content tells bodies apart anyway.
    """
    element = Element(resource, resource["resourceType"])
    with contextlib.suppress(Refused):
        text = _business_name(element) or _literal_name(element)
        return text if keepable(text) else ""
    return ""


def _business_name(element: Element) -> str:
    if element.path == "Bundle":
        identifiers = [element.child("identifier")]
    else:
        identifiers = [*element.items("identifier")]
    first = identifiers[0] if identifiers else None
    if first is None or not first.text("value"):
        return ""
    return "|".join(filter(None, (first.text(name) for name in ("system", "value"))))


def _literal_name(element: Element) -> str:
    if element.path == "Bundle" and (entries := element.items("entry")):
        first = entries[0].child("resource")
        if first is not None and first.text("resourceType") == "MessageHeader":
            return first.text("id")
    id_, meta = element.text("id"), element.child("meta")
    version = meta.text("versionId") if meta else ""
    name = f"{element.path}/{id_}" if id_ else ""
    return name + (f"/_history/{version}" if name and version else "")
