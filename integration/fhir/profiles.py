"""A report in the shapes that servers ask for who do not take our transaction: pure functions.

document      one DocumentReference with the page, for servers without DiagnosticReport
millennium    one DiagnosticReport with what Oracle Health (Millennium) documents for cardiology:
its category alone, a listed few elements, every date with a time, no order, a
resultsInterpreter unless the domain has a default user
"""

import re
from urllib.parse import quote

from integration.errors import Refused
from integration.fhir import codes
from integration.fhir.codes import Json

_MILLENNIUM_TAKES = ("resourceType", "status", "code", "subject", "effectiveDateTime", "issued")
_DOC_STATUS = {"preliminary": "preliminary", "final": "final"}
_WITHDRAWN = "entered-in-error"
_PRACTITIONER = re.compile(r"Practitioner/[A-Za-z0-9.-]{1,64}")


def document(bundle: Json) -> Json:
    """Return the entry of a DocumentReference that shows the report's page."""
    report, device = _first(bundle, "DiagnosticReport"), _first(bundle, "Device")
    kept = ("identifier", "subject", "meta")
    made: Json = {
        "resourceType": "DocumentReference",
        **{name: report[name] for name in kept},
        "contained": [{**_without(device, "id", "meta"), "id": "model"}],
        "status": _WITHDRAWN if report["status"] == _WITHDRAWN else "current",
        "docStatus": _DOC_STATUS.get(report["status"], "amended"),
        "type": codes.EKG_STUDY,
        "category": [codes.CARDIOLOGY],
        "date": report["issued"],
        "author": [{"reference": "#model"}],
        "description": report["presentedForm"][0]["title"],
        "content": [{"attachment": form} for form in report["presentedForm"] if "data" in form],
    }
    if "effectiveDateTime" in report:
        made["context"] = {"period": {"start": report["effectiveDateTime"]}}
    if report["status"] == _WITHDRAWN:
        del made["docStatus"]
    return _entry(made, _method(bundle))


def millennium_report(bundle: Json, interpreter: str | None) -> Json:
    """Return the entry of a DiagnosticReport as Millennium takes it.

    Args:
        bundle: the report.
        interpreter: `Practitioner/...` in whose name it is charted, unless a clinician has decided
            whom a reference names there.

    Raises:
        Refused: `report-unsuitable`: the time of the ECG is not known.
    """
    report = _first(bundle, "DiagnosticReport")
    if "T" not in report.get("effectiveDateTime", ""):
        raise Refused("report-unsuitable", "the ECG has no time, and Millennium asks for one")
    made = {name: report[name] for name in _MILLENNIUM_TAKES}
    made["category"] = [codes.CARDIOLOGY]
    made["identifier"] = report["identifier"]
    made["presentedForm"] = [form for form in report["presentedForm"] if "data" in form]
    decided = [who.get("reference", "") for who in report.get("resultsInterpreter", [])]
    known = [who for who in [*decided, interpreter] if who and _PRACTITIONER.fullmatch(who)]
    if known:
        made["resultsInterpreter"] = [{"reference": known[0]}]
    return _entry(made, _method(bundle))


def identifier_of(subject: Json, systems: dict[str, str]) -> str:
    r"""Return `system|value` of a report's subject, as the token of a search.

    What parts tokens goes with a `\` (R4, search.html#escaping): after a bare comma a server would
    look for another patient, too.

    Args:
        subject: as in our reports: a patient by identifier.
        systems: assigning authority as senders name it -> its URI at the destination.

    Raises:
        Refused: `patient-system-unknown`: a number alone may be another patient's.
    """
    identifier = subject["identifier"]
    authority = identifier.get("assigner", {}).get("display", "")
    system = identifier.get("system") or systems.get(authority)
    if system is None:
        raise Refused("patient-system-unknown", "no patient_systems entry for its authority")
    return f"{_escaped(system)}|{_escaped(identifier['value'])}"


def condition_of(entry: Json) -> str:
    """Return the search by which an entry's resource is found again."""
    request = entry["request"]
    found: str = request.get("ifNoneExist") or request["url"].partition("?")[2]
    return "&".join(
        f"{name}={quote(value, safe='')}"
        for name, _, value in (part.partition("=") for part in found.split("&"))
    )


def _entry(resource: Json, method: str) -> Json:
    kind, key = resource["resourceType"], resource["identifier"][0]
    condition = f"identifier={key['system']}|{key['value']}"
    request = {"method": "POST", "url": kind, "ifNoneExist": condition}
    if method == "PUT":
        request = {"method": "PUT", "url": f"{kind}?{condition}"}
    return {"resource": resource, "request": request}


def _method(bundle: Json) -> str:
    """Return how the report itself goes: POST of a first version, PUT of a later one."""
    method: str = next(
        e["request"]["method"]
        for e in bundle["entry"]
        if e["resource"]["resourceType"] == "DiagnosticReport"
    )
    return method


def _first(bundle: Json, kind: str) -> Json:
    found: Json = next(
        e["resource"] for e in bundle["entry"] if e["resource"]["resourceType"] == kind
    )
    return found


def _escaped(text: str) -> str:
    return re.sub(r"[\\,|$]", r"\\\g<0>", text)


def _without(resource: Json, *names: str) -> Json:
    return {name: value for name, value in resource.items() if name not in names}
