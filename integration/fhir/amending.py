"""A report as somebody else's system holds it -> what a clinician decided there, if anything.

| status                       | conclusion         | decision                             |
|------------------------------|--------------------|--------------------------------------|
| final                        | ours, or none      | confirm                              |
| amended, corrected, appended | their own          | override, with it and with its codes |
| entered-in-error             | theirs is a reason | reject                               |

Systems send back what they are sent: what one of our versions says, whole or cut off, decides
nothing. Nor does what somebody has decided before, which would undo what came after it.
"""

from collections.abc import Sequence
from datetime import datetime

from db.records import StoredReport
from db.reviews import Decision, Review
from integration.errors import Refused
from integration.fhir import codes
from integration.fhir.codes import Json
from integration.fhir.confirming import MAX_CHARACTERS, MAX_CODES, concept_in, reviewer_in
from integration.fhir.element import Element
from integration.fhir.reading import report_resource

DECISIVE = {
    "final": Decision.CONFIRM,
    "amended": Decision.OVERRIDE,
    "corrected": Decision.OVERRIDE,
    "appended": Decision.OVERRIDE,
    "entered-in-error": Decision.REJECT,
}


def amending_review(
    resource: Json, versions: Sequence[StoredReport], at: datetime
) -> Review | None:
    """Return what was decided, or None where the report says nothing new.

    Args:
        resource: DiagnosticReport.
        versions: ours of the same report, the newest first.
        at: aware; when it came.

    Raises:
        Refused: `resource-unsupported`, `field-missing`, `field-malformed`, `decision-malformed`,
            `patient-disagrees`.
    """
    report = Element(resource, "DiagnosticReport")
    if resource.get("resourceType") != "DiagnosticReport":
        raise report.refusal("resource-unsupported", "DiagnosticReport is expected", "resourceType")
    names = [i.text("value") for i in report.items("identifier") if i.text("system") == codes.ID]
    if names != [str(versions[0].exam_id)]:
        raise report.refusal("decision-malformed", "it names another report, or none", "identifier")
    ours = [report_resource(version) for version in versions]
    check_same_patient(report, ours[0]["subject"]["identifier"])
    status, said = report.text("status"), _words(report.text("conclusion"))
    quoted = [own for own in ours if said and _words(own["conclusion"]).startswith(said)]
    decision = DECISIVE.get(status)
    if any(own["status"] == status for own in quoted):
        return None
    if decision is None:
        detail = "final, amended, corrected, appended or entered-in-error decides"
        raise report.refusal("decision-malformed", detail, "status")
    if decision is Decision.OVERRIDE and quoted:
        return None
    if decision is Decision.CONFIRM and said and not quoted:
        detail = "who confirms says what the report says; another conclusion is amended"
        raise report.refusal("decision-malformed", detail, "conclusion")
    interpreters = report.items("resultsInterpreter")
    if len(interpreters) != 1:
        raise report.refusal("field-missing", "one who decided is needed", "resultsInterpreter")
    text = "" if quoted else report.text("conclusion")
    if len(text) > MAX_CHARACTERS or (decision is Decision.OVERRIDE and not text):
        detail = f"1 to {MAX_CHARACTERS} characters are expected"
        raise report.refusal("decision-malformed", detail, "conclusion")
    review = Review(decision, reviewer_in(interpreters[0]), at, text, _codes(report, decision))
    return None if any(review.repeats(version.review) for version in versions) else review


def says_nothing_new(resource: Json, versions: Sequence[StoredReport]) -> bool:
    """Tell whether a report as another system holds it tells nothing that we do not know.

    Args:
        resource: DiagnosticReport; some systems keep no conclusion.
        versions: ours, the newest first.
    """
    if not resource.get("conclusion") and resource.get("status") in {v.status for v in versions}:
        return True
    try:
        return amending_review(resource, versions, versions[0].issued_at) is None
    except Refused:
        return False


def check_same_patient(told_on: Element, known: Json) -> None:
    """Refuse a resource of another patient; an identifier of another system tells nothing.

    Args:
        told_on: the resource, with a subject or without.
        known: identifier of the patient in our own one.

    Raises:
        Refused: `patient-disagrees`, `field-malformed`.
    """
    subject = told_on.child("subject")
    told = subject.child("identifier") if subject else None
    if subject is None or told is None:
        return
    systems = {told.text("system"), known.get("system", "")} - {""}
    if len(systems) < 2 and told.text("value") not in {"", known["value"]}:
        raise told_on.refusal("patient-disagrees", "ours is of another patient", "subject")


def _codes(report: Element, decision: Decision) -> tuple[Json, ...]:
    if decision is not Decision.OVERRIDE:
        return ()
    given = report.items("conclusionCode")
    if len(given) > MAX_CODES:
        raise report.refusal("decision-malformed", f"at most {MAX_CODES} codes", "conclusionCode")
    return tuple(concept_in(one) for one in given)


def _words(text: str) -> str:
    """Return a text as it is compared: lines may have been wrapped on the way, also at a hyphen."""
    return "".join(text.split())
