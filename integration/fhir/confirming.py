"""Parameters of `DiagnosticReport/{id}/$confirm` -> a decision; and the operation's definition."""

from datetime import datetime

from db.reviews import Decision, Review, Reviewer
from integration.fhir.codes import Json
from integration.fhir.element import Element

OPERATION = "OperationDefinition/report-confirm"
MAX_CHARACTERS = 4000  # of a conclusion
MAX_CODES = 20
_MAX_NAME = 250


def review_in(resource: Json, at: datetime) -> Review:
    """Return what was decided.

    Args:
        resource: Parameters.
        at: aware; when it came.

    Raises:
        Refused: `resource-unsupported`, `field-missing`, `field-malformed`, `decision-malformed`.
    """
    element = Element(resource, "Parameters")
    if resource.get("resourceType") != "Parameters":
        raise element.refusal("resource-unsupported", "Parameters are expected", "resourceType")
    given: dict[str, list[Element]] = {}
    for parameter in element.items("parameter"):
        given.setdefault(parameter.text("name"), []).append(parameter)
    unknown = given.keys() - {"decision", "practitioner", "conclusion", "conclusionCode"}
    if unknown:
        stray = given[min(unknown)][0]
        raise stray.refusal("decision-malformed", "no parameter of this operation", "name")
    decision = _decision(_one(element, given, "decision"))
    practitioner = _one(element, given, "practitioner")
    text = _text(_one(element, given, "conclusion", needed=decision is Decision.OVERRIDE))
    concepts = [_child(one, "valueCodeableConcept") for one in given.get("conclusionCode", [])]
    codes = tuple(map(concept_in, concepts))
    if len(codes) > MAX_CODES:
        raise element.refusal("decision-malformed", f"at most {MAX_CODES} codes", "parameter")
    if codes and decision is not Decision.OVERRIDE:
        place = given["conclusionCode"][0]
        raise place.refusal("decision-malformed", "only an override has codes of its own")
    return Review(decision, reviewer_in(_child(practitioner, "valueReference")), at, text, codes)


def reviewer_in(reference: Element) -> Reviewer:
    """Return whom a Reference to a Practitioner names.

    Raises:
        Refused: `field-missing`: neither a reference nor an identifier; `field-malformed`.
    """
    identifier = reference.child("identifier")
    system = identifier.text("system") if identifier else ""
    value = identifier.text("value") if identifier else ""
    literal, name = reference.text("reference"), reference.text("display")
    if not literal and not value:
        raise reference.refusal("field-missing", "a reference or an identifier is needed")
    if max(map(len, (literal, system, value, name))) > _MAX_NAME or literal.startswith("#"):
        raise reference.refusal("field-malformed", f"at most {_MAX_NAME} characters, not contained")
    return Reviewer(literal or None, system or None, value or None, name or None)


def concept_in(concept: Element) -> Json:
    """Return a CodeableConcept with what of it is certain: codes, their displays, the text.

    Raises:
        Refused: `field-missing`: neither codes nor a text; `field-malformed`,
            `decision-malformed`.
    """
    codings = [
        {k: c.text(k) for k in ("system", "code", "display") if c.text(k)}
        for c in concept.items("coding")
    ]
    if any("code" not in c or "system" not in c for c in codings) or len(codings) > MAX_CODES:
        raise concept.refusal("decision-malformed", "system and code are needed", "coding")
    text = concept.text("text")[:MAX_CHARACTERS]
    if not codings and not text:
        raise concept.refusal("field-missing", "codes or a text are needed")
    return ({"coding": codings} if codings else {}) | ({"text": text} if text else {})


def operation_definition(base: str) -> Json:
    """Return the definition of the operation, as it is served."""
    return {
        "resourceType": "OperationDefinition",
        "id": OPERATION.partition("/")[2],
        "url": f"{base}/{OPERATION}",
        "name": "ConfirmReport",
        "title": "Confirm, override or reject an AI report",
        "status": "active",
        "kind": "operation",
        "date": "2026-11-28",
        "affectsState": True,
        "code": "confirm",
        "resource": ["DiagnosticReport"],
        "system": False,
        "type": False,
        "instance": True,
        "description": (
            "Makes the next version of the report: final (confirm), amended or corrected "
            "(override), entered-in-error (reject). The same decision again changes nothing. "
            'If-Match: W/"n" asks for version n to be the newest: else 412.'
        ),
        "parameter": [
            _parameter("decision", "in", (1, "1"), "code", "confirm, override or reject"),
            _parameter("practitioner", "in", (1, "1"), "Reference", "who decided")
            | {"targetProfile": [_profile("Practitioner"), _profile("PractitionerRole")]},
            _parameter("conclusion", "in", (0, "1"), "string", "needed to override; else a note"),
            _parameter(
                "conclusionCode", "in", (0, str(MAX_CODES)), "CodeableConcept", "of an override"
            ),
            _parameter("return", "out", (1, "1"), "DiagnosticReport", "the newest version"),
        ],
    }


def _parameter(name: str, use: str, times: tuple[int, str], kind: str, words: str) -> Json:
    told = {"name": name, "use": use, "min": times[0], "max": times[1]}
    return {**told, "documentation": words, "type": kind}


def _profile(kind: str) -> str:
    return f"http://hl7.org/fhir/StructureDefinition/{kind}"


def _one(
    element: Element, given: dict[str, list[Element]], name: str, *, needed: bool = True
) -> Element | None:
    found = given.get(name, [])
    if needed and not found:
        raise element.refusal("field-missing", f"{name} is needed", "parameter")
    if len(found) > 1:
        raise found[1].refusal("decision-malformed", f"one {name} is expected", "name")
    return found[0] if found else None


def _child(parameter: Element | None, name: str) -> Element:
    found = parameter.child(name) if parameter else None
    if parameter is None or found is None:
        place = parameter or Element({}, "Parameters.parameter")
        raise place.refusal("field-missing", f"{name} is needed", name)
    return found


def _decision(parameter: Element | None) -> Decision:
    name = "valueCode" if parameter and "valueCode" in parameter else "valueString"
    word = parameter.text(name) if parameter else ""
    try:
        return Decision(word)
    except ValueError:
        place = parameter or Element({}, "Parameters.parameter")
        detail = "confirm, override or reject is expected"
        raise place.refusal("decision-malformed", detail, "valueCode") from None


def _text(parameter: Element | None) -> str:
    if parameter is None:
        return ""
    text = parameter.text("valueString")
    if not text or len(text) > MAX_CHARACTERS:
        detail = f"1 to {MAX_CHARACTERS} characters are expected"
        raise parameter.refusal("decision-malformed", detail, "valueString")
    return text
