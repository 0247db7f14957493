"""A critical finding as Communication: whoever is responsible is told at once, and asked to answer.

`in-progress` until a clinician has decided on the report, or their system has sent it back as
`completed`; withdrawn with the report. An escalation is a second one beside it, and so is what is
found to be critical later. Its receivers are the EHR's to choose: none is known here.
"""

from collections.abc import Sequence
from datetime import datetime

from integration.fhir import codes
from integration.fhir.codes import Json
from model.findings import RHYTHM_NAMES

CRITICAL, ESCALATED = "critical", "-escalated"  # how ids go on, and end


def communication(report: Json, about: str, critical: tuple[str, ...], *, sent: str) -> Json:
    """Return the Communication on a report.

    Args:
        report: the DiagnosticReport.
        about: reference to it.
        critical: codes of the rhythms.
        sent: instant.
    """
    names = "; ".join(RHYTHM_NAMES[code] for code in critical)
    words = f"Critical finding by AI, not yet reviewed by a clinician: suspected {names}."
    return {
        "resourceType": "Communication",
        "meta": {"security": [codes.AI_ASSERTED]},
        "status": "in-progress",
        "category": [codes.ALERT],
        "priority": "stat",
        "subject": report["subject"],
        "about": [{"reference": about}],
        "sent": sent,
        "reasonCode": [codes.RHYTHM_FINDING[code] for code in critical],
        "payload": [{"contentString": f"{words} Confirm, override or reject the report."}],
    }


def escalation(alert: Json, waited_min: float, *, sent: str) -> Json:
    """Return the second Communication, made of the first."""
    words = f"Not answered within {waited_min:g} minutes. {alert['payload'][0]['contentString']}"
    return alert | {"sent": sent, "payload": [{"contentString": words}]}


def acknowledged(alert: Json, recipients: Sequence[Json], *, received: str) -> Json:
    """Return a Communication that somebody has answered, with whom it reached, if told."""
    told = {"recipient": list(recipients)} if recipients else {}
    return answered(alert, received=received, withdrawn=False) | told


def answered(alert: Json, *, received: str, withdrawn: bool) -> Json:
    """Return a Communication after a decision on its report."""
    if withdrawn:
        return alert | {"status": "entered-in-error"}
    if alert["status"] == "completed":  # acknowledged before
        return alert
    return alert | {"status": "completed", "received": received}


def moment_raised(alert: Json) -> datetime:
    """Return when a Communication was sent."""
    return datetime.fromisoformat(alert["sent"])
