"""A clinician's decision -> the next version of a report's Bundle.

What the AI said is never changed: each version is made of the AI's own, with the status along all
of it, what the clinician said before it, who interprets it, and a Provenance a decision with its
verifier.

Report and results are conditional updates on the identifiers they were created by (R4, http.html,
3.1.0.4.3), so that a version has the same effect at a server that has the former one, at one that
never got it, and when it is sent twice. Their own ids are left out on the way (`sendable`): a
server has ids of its own. Devices and Provenances stay conditional creates.
"""

import base64
from collections.abc import Sequence
from datetime import datetime
from uuid import uuid5

from db.records import StoredReport
from db.reviews import Decision, ReportStatus, Review, Reviewer
from integration.fhir import codes
from integration.fhir.acknowledging import Acknowledgement, alerts_of, is_open
from integration.fhir.alert import (
    ESCALATED,
    acknowledged,
    answered,
    escalation,
    moment_raised,
)
from integration.fhir.codes import Json, coding, concept
from integration.fhir.report import instant, page_title, text_form
from integration.fhir.wording import LABELS, heading, moment_in_words

_TEXT = "text/plain"
# What FHIR's strings may not have (R4, datatypes.html#string); word processors break lines so.
_UNFIT = dict.fromkeys({*range(32)} - {*b"\t\n\r"}, " ")
_UPDATED = ("DiagnosticReport", "Observation", "Communication")


def revised(
    former: Sequence[StoredReport], review: Review, status: ReportStatus, issued: datetime
) -> Json:
    """Return the Bundle of the next version.

    Args:
        former: all versions so far, the newest first.
        review: the decision.
        status: what it makes of the report.
        issued: aware; when the version is made.
    """
    own = next(version for version in former if version.review is None)
    decided = [v.review for v in reversed(former) if v.review is not None] + [review]
    entries = []
    for entry in own.bundle["entry"]:
        resource = entry["resource"]
        if resource["resourceType"] == "DiagnosticReport":
            resource = _report(resource, review, status, issued)
        elif resource["resourceType"] == "Observation":
            resource = resource | {"status": status.value}
        elif resource["resourceType"] == "Communication":
            withdrawn = status is ReportStatus.ENTERED_IN_ERROR
            resource = answered(resource, received=instant(issued), withdrawn=withdrawn)
        entries.append(_updating(entry | {"resource": resource}))
    evidence = next(e for e in entries if e["resource"]["resourceType"] == "Provenance")
    entries += [_provenance(evidence, n, one) for n, one in enumerate(decided, start=2)]
    return own.bundle | {"entry": entries}


def escalated(newest: StoredReport, issued: datetime) -> Json:
    """Return the Bundle of a version in which critical findings are told once more.

    Args:
        newest: the version so far; nobody has answered all of its critical findings.
        issued: aware; when the version is made.
    """
    entries = [_updating(entry) for entry in newest.bundle["entry"]]
    told = {alert["id"]: alert for alert in alerts_of(newest)}
    again = [
        _again(alert, issued)
        for id_, alert in told.items()
        if is_open(alert) and not id_.endswith(ESCALATED) and id_ + ESCALATED not in told
    ]
    return newest.bundle | {"entry": [*entries, *again]}


def _again(alert: Json, issued: datetime) -> Json:
    waited_min = (issued - moment_raised(alert)).total_seconds() / 60
    key = f"{alert['id']}{ESCALATED}"
    resource = escalation(alert, round(waited_min), sent=instant(issued)) | {
        "id": key,
        "identifier": [{"system": codes.ID, "value": key}],
    }
    return _updating({"fullUrl": f"urn:uuid:{uuid5(codes.NAMESPACE, key)}", "resource": resource})


def after_answer(newest: StoredReport, *answers: Acknowledgement) -> Json:
    """Return the Bundle of a version of whose critical findings somebody has acknowledged some."""
    entries = []
    for entry in newest.bundle["entry"]:
        resource = entry["resource"]
        answer = next((a for a in answers if a.reasons == resource.get("reasonCode")), None)
        if answer and is_open(resource):
            resource = acknowledged(resource, answer.recipients, received=instant(answer.at))
        entries.append(_updating(entry | {"resource": resource}))
    return newest.bundle | {"entry": entries}


def following(former: Json, bundle: Json) -> Json:
    """Return a Bundle of the AI's own as the version after its former one; alerts are kept."""
    kept = [e for e in former["entry"] if e["resource"]["resourceType"] == "Communication"]
    return bundle | {"entry": [_updating(entry) for entry in [*bundle["entry"], *kept]]}


def sendable(bundle: Json) -> Json:
    """Return a Bundle as it leaves: what is updated by its identifier goes without our id."""
    entries = [
        entry | {"resource": {k: v for k, v in entry["resource"].items() if k != "id"}}
        if entry["request"]["method"] == "PUT" and "?" in entry["request"]["url"]
        else entry
        for entry in bundle["entry"]
    ]
    return bundle | {"entry": entries}


def _updating(entry: Json) -> Json:
    resource = entry["resource"]
    if resource["resourceType"] not in _UPDATED:
        return entry
    key = resource["identifier"][0]
    url = f"{resource['resourceType']}?identifier={key['system']}|{key['value']}"
    return entry | {"request": {"method": "PUT", "url": url}}


def _report(report: Json, review: Review, status: ReportStatus, issued: datetime) -> Json:
    said = _said(report["conclusion"], review, status)
    changed: Json = {
        "status": status.value,
        "issued": instant(issued),
        "resultsInterpreter": [_practitioner(review.reviewer)],
        "conclusion": said,
        "presentedForm": [
            _form(form, report["conclusion"], said, status, issued)
            for form in report["presentedForm"]
        ],
    }
    revised = report | changed
    if status is ReportStatus.ENTERED_IN_ERROR or review.decision is Decision.OVERRIDE:
        # Whoever reads codes alone must not take the AI's for the conclusion.
        revised.pop("conclusionCode", None)
    if review.codes and review.decision is Decision.OVERRIDE:
        revised["conclusionCode"] = list(review.codes)
    return revised


def _said(conclusion: str, review: Review, status: ReportStatus) -> str:
    """Return the conclusion: whose it is, what the clinician said, then what the AI had said."""
    by = f"{review.reviewer.shown}, {moment_in_words(review.at)}"
    own = conclusion.removeprefix(LABELS[ReportStatus.PRELIMINARY]).strip()
    text = review.text.translate(_UNFIT).strip().rstrip(".")
    match review.decision:
        case Decision.CONFIRM:
            note = f" Note: {text}." if text else ""
            return f"{LABELS[status]} Confirmed by {by}.{note} {own}"
        case Decision.OVERRIDE:
            return f"{LABELS[status]} Conclusion of {by}: {text}. The AI had said: {own}"
        case Decision.REJECT:
            why = f": {text}" if text else ""
            return f"{LABELS[status]} Rejected by {by}{why}."


def _form(form: Json, before: str, said: str, status: ReportStatus, issued: datetime) -> Json:
    title = page_title(status)
    if form["contentType"] != _TEXT:
        return form | {"title": title, "creation": instant(issued)}
    text = base64.b64decode(form["data"]).decode().replace(before, said)
    return text_form(f"{heading(status)}\n{text.partition(chr(10))[2]}", issued, title)


def _practitioner(reviewer: Reviewer) -> Json:
    told: Json = {}
    if reviewer.reference:
        told["reference"] = reviewer.reference
    else:
        told["type"] = "Practitioner"
    if reviewer.value:
        system = {"system": reviewer.system} if reviewer.system else {}
        told["identifier"] = {**system, "value": reviewer.value}
    return told | ({"display": reviewer.name} if reviewer.name else {})


def _provenance(evidence: Json, number: int, review: Review) -> Json:
    """Return the Provenance of decision `number - 1`, made after that of the AI's results."""
    first = evidence["resource"]
    key = f"{first['id']}-{number}"
    at = instant(review.at)
    verifier = {"type": codes.VERIFIER, "who": _practitioner(review.reviewer)}
    resource = first | {
        "id": key,
        "meta": {"tag": [coding(codes.ID, key)]},
        "occurredDateTime": at,
        "recorded": at,
        "activity": concept(coding(codes.DECISIONS, review.decision.value)),
        "agent": [verifier, *first["agent"]],
    }
    return {
        "fullUrl": f"urn:uuid:{uuid5(codes.NAMESPACE, key)}",
        "resource": resource,
        "request": evidence["request"] | {"ifNoneExist": f"_tag={codes.ID}|{key}"},
    }
