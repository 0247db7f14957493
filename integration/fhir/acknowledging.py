"""A Communication of ours as somebody else's system holds it -> whether anybody has answered it.

`completed` acknowledges the critical finding, with its escalation, whoever is named as recipient;
what else is critical still waits for an answer. What is as we have sent it, or was answered before,
says nothing.
"""

from dataclasses import dataclass, field
from datetime import datetime

from db.records import StoredReport
from integration.fhir import codes
from integration.fhir.alert import moment_raised
from integration.fhir.amending import check_same_patient
from integration.fhir.codes import Json
from integration.fhir.confirming import reviewer_in
from integration.fhir.element import Element

OPEN, ANSWERED = "in-progress", "completed"
MAX_RECIPIENTS = 20


@dataclass(frozen=True)
class Acknowledgement:
    """That somebody knows of a critical finding.

    Attributes:
        reasons: of the Communication: what they know of.
        at: aware; when.
        recipients: References to who, as told; may be none.
        by: how they are named in the audit log, or "".
    """

    reasons: list[Json]
    at: datetime
    recipients: tuple[Json, ...] = field(default=(), repr=False)
    by: str = ""


def acknowledgement_in(
    resource: Json, newest: StoredReport, now: datetime
) -> Acknowledgement | None:
    """Return what is acknowledged, or None where the Communication says nothing new.

    Args:
        resource: Communication.
        newest: version of the report that it is about.
        now: aware.

    Raises:
        Refused: `resource-unsupported`, `field-missing`, `field-malformed`, `decision-malformed`,
            `patient-disagrees`, `report-unknown`.
    """
    told = Element(resource, "Communication")
    if resource.get("resourceType") != "Communication":
        raise told.refusal("resource-unsupported", "Communication is expected", "resourceType")
    names = {i.text("value") for i in told.items("identifier") if i.text("system") == codes.ID}
    alerts = [alert for alert in alerts_of(newest) if alert["identifier"][0]["value"] in names]
    if len(alerts) != 1:
        raise told.refusal("report-unknown", "no such critical finding was told", "identifier")
    (alert,) = alerts
    check_same_patient(told, alert["subject"]["identifier"])
    status = told.text("status")
    if status == alert["status"] or (status == ANSWERED and alert["status"] != OPEN):
        return None
    if status != ANSWERED:
        raise told.refusal("decision-malformed", "completed acknowledges", "status")
    who = told.items("recipient")
    if len(who) > MAX_RECIPIENTS:
        raise told.refusal("decision-malformed", f"at most {MAX_RECIPIENTS}", "recipient")
    people = [reviewer_in(one) for one in who]
    recipients = tuple(_reference(one.value) for one in who)
    at = _moment(told.text("received"), moment_raised(alert), now)
    by = ", ".join(person.key for person in people)
    return Acknowledgement(alert["reasonCode"], at, recipients, by)


def alerts_of(report: StoredReport) -> list[Json]:
    """Return the Communications of a version."""
    resources = [entry["resource"] for entry in report.bundle["entry"]]
    return [r for r in resources if r["resourceType"] == "Communication"]


def is_open(resource: Json) -> bool:
    """Whether it is a critical finding that waits for an answer."""
    return (resource["resourceType"], resource.get("status")) == ("Communication", OPEN)


def _reference(told: Json) -> Json:
    return {name: told[name] for name in ("reference", "identifier", "display") if name in told}


def _moment(text: str, raised: datetime, now: datetime) -> datetime:
    """Return when it was received; a time that cannot be, or none, counts as now."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return now
    return moment if moment.tzinfo is not None and raised <= moment <= now else now
