"""What the interface answers, without HTTP and without a store."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from urllib.parse import urlencode

from db.records import StoredReport
from integration.fhir.codes import ID, Json
from integration.fhir.confirming import OPERATION
from integration.fhir.search import MAX_COUNT, Query

FHIR_JSON, FHIR_XML = "application/fhir+json", "application/fhir+xml"
SERVED = ("DiagnosticReport", "Observation", "Device", "Provenance", "Communication")

_SEARCH_PARAMETERS = {
    "_id": ("token", "the id of the exam"),
    "identifier": ("token", f"{ID}|<id of the exam>, or the id alone"),
    "patient": (
        "reference",
        (
            "the patient's identifier, alone or as authority|identifier; also written "
            "patient.identifier or patient:identifier, and likewise with subject. No Patient is "
            "kept here, so no reference to one is understood."
        ),
    ),
    "date": (
        "date",
        (
            "day of acquisition as the sender wrote it, else of issue: a year, month or day with "
            "eq, ge, gt, le, lt or no prefix"
        ),
    ),
}

_SENT_BACK = {
    "DiagnosticReport": (
        "Ours may be sent back: final confirms, amended, corrected or appended overrides, "
        "entered-in-error withdraws."
    ),
    "Communication": "A critical finding of ours may be sent back: completed acknowledges it.",
}
_NOT_NEW = (
    "Put, posted or in Bundles it becomes the next version of ours, known by our identifier: a "
    "create is answered 200 with its place, and of what is not ours 404."
)


def resources_of(report: StoredReport) -> dict[tuple[str, str], Json]:
    """(type, id) -> resource of a stored Bundle, the report first, references made relative."""
    found = [entry["resource"] for entry in report.bundle["entry"]]
    names = {
        entry["fullUrl"]: f"{resource['resourceType']}/{resource['id']}"
        for entry, resource in zip(report.bundle["entry"], found, strict=True)
    }
    served: dict[tuple[str, str], Json] = {
        (resource["resourceType"], resource["id"]): {
            name: _relative(value, names) for name, value in resource.items()
        }
        for resource in found
    }
    for (kind, _), resource in served.items():
        if kind in {"DiagnosticReport", "Communication"}:  # what others may send back
            resource["meta"] = {"versionId": str(report.version)} | resource.get("meta", {})
    return served


def report_resource(report: StoredReport) -> Json:
    """Return the DiagnosticReport of a version."""
    return resources_of(report)["DiagnosticReport", str(report.exam_id)]


def history(base: str, versions: Sequence[StoredReport]) -> Json:
    """Return the versions of a report as a Bundle, the newest first (R4, http.html#history)."""
    entries = [_past(base, version) for version in versions]
    return {
        "resourceType": "Bundle",
        "type": "history",
        "total": len(entries),
        "entry": entries,
    }


def searchset(base: str, query: Query, total: int, page: Sequence[StoredReport]) -> Json:
    """Return one page of a search as a Bundle.

    Args:
        base: URL of this interface, such as `http://127.0.0.1:8080/fhir`.
        query: what was asked.
        total: how many reports match.
        page: those of this page.
    """
    matches, included = [], []
    for report in page:
        for (kind, id_), resource in resources_of(report).items():
            entry = {"fullUrl": f"{base}/{kind}/{id_}", "resource": resource}
            if kind == "DiagnosticReport":
                matches.append(entry | {"search": {"mode": "match"}})
            elif kind == "Observation" and query.include_results:
                included.append(entry | {"search": {"mode": "include"}})
    links = [_link("self", base, query)]
    if query.offset + len(page) < total and page:
        links.append(_link("next", base, replace(query, offset=query.offset + len(page))))
    bundle = {"resourceType": "Bundle", "type": "searchset", "total": total, "link": links}
    return bundle | ({"entry": matches + included} if matches else {})


def _past(base: str, version: StoredReport) -> Json:
    place = f"DiagnosticReport/{version.exam_id}"
    made = version.version == 1
    return {
        "fullUrl": f"{base}/{place}",
        "resource": report_resource(version),
        "request": {"method": "POST", "url": "DiagnosticReport"}
        if made
        else {"method": "PUT", "url": place},
        "response": {
            "status": "201" if made else "200",
            "etag": f'W/"{version.version}"',
            "lastModified": version.issued_at.isoformat(timespec="milliseconds"),
        },
    }


def outcome(code: str, diagnostics: str) -> Json:
    """Return an OperationOutcome with one error."""
    issue = {"severity": "error", "code": code, "diagnostics": diagnostics}
    return {"resourceType": "OperationOutcome", "issue": [issue]}


def capabilities(base: str, *, takes_ecgs: bool = False, takes_decisions: bool = False) -> Json:
    """Return the CapabilityStatement: this much, and no more.

    Args:
        base: URL of this interface.
        takes_ecgs: whether ECGs can be posted.
        takes_decisions: whether reports can be confirmed, overridden and rejected.
    """
    rest: Json = {"mode": "server", "resource": [_capability(kind) for kind in (*SERVED, "Binary")]}
    if takes_ecgs:
        _add_taking(rest)
    if takes_decisions:
        definition = f"{base}/{OPERATION}"
        rest["resource"][0]["operation"] = [{"name": "confirm", "definition": definition}]
        _add_deciding(rest, creates=takes_ecgs)
        rest["resource"].append({"type": "OperationDefinition", "interaction": [{"code": "read"}]})
    reports = "AI reports on ECGs"
    return {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": "2026-11-28",
        "kind": "instance",
        "software": {"name": "Hisbundle", "version": version("hisbundle")},
        "implementation": {
            "description": reports if takes_ecgs else f"{reports}, read-only",
            "url": base,
        },
        "fhirVersion": "4.0.1",
        "format": [FHIR_JSON, FHIR_XML],
        "rest": [rest],
    }


def _add_deciding(rest: Json, *, creates: bool) -> None:
    """Add what is possible where reports can be decided on."""
    for resource in rest["resource"]:
        if words := _SENT_BACK.get(resource["type"]):
            resource["interaction"] += [{"code": "create"}] if creates else []
            resource["interaction"].append({"code": "update"})
            told = f"{resource.get('documentation', '')} {words} {_NOT_NEW}"
            resource["documentation"] = told.strip()


def _add_taking(rest: Json) -> None:
    """Add what is possible where ECGs can be posted."""
    for resource in rest["resource"]:
        if resource["type"] == "Observation":
            resource["interaction"].append({"code": "create"})
            resource["conditionalCreate"] = True
            resource["documentation"] = (
                "ECGs as SampledData, alone or in Bundles; other Observations are refused alone "
                "and passed over in Bundles. The same content again gets the same answer. "
                "If-None-Exist and ifNoneExist are taken with one identifier, the first of the "
                "ECG's first resource, as system|value; a transaction has one ECG with a "
                "condition at most."
            )
    attached = "ECG files as attachments, in Bundles alone."
    rest["resource"] += [
        _reading(kind) | {"documentation": attached} for kind in ("DocumentReference", "Media")
    ]
    rest["interaction"] = [{"code": "batch"}, {"code": "transaction"}]
    definition = "http://hl7.org/fhir/OperationDefinition/MessageHeader-process-message"
    rest["operation"] = [{"name": "process-message", "definition": definition}]


def _capability(kind: str) -> Json:
    if kind == "Binary":
        pages = "The page of a report, by the report's id: as PDF, or as a resource by Accept."
        return {"type": kind, "interaction": [{"code": "read"}], "documentation": pages}
    reading = _reading(kind)
    if kind != "DiagnosticReport":
        return reading
    parameters = [
        {"name": name, "type": type_, "documentation": text}
        for name, (type_, text) in _SEARCH_PARAMETERS.items()
    ]
    return reading | {
        "interaction": [
            {"code": code} for code in ("read", "vread", "history-instance", "search-type")
        ],
        "versioning": "versioned",
        "searchInclude": ["DiagnosticReport:result"],
        "searchParam": parameters,
        "documentation": f"_count up to {MAX_COUNT}; follow the next links. Latest issued first.",
    }


def _reading(kind: str) -> Json:
    return {"type": kind, "interaction": [{"code": "read"}], "conditionalRead": "not-match"}


def _link(relation: str, base: str, query: Query) -> Json:
    paging = (("_count", str(query.count)), ("_offset", str(query.offset)))
    return {
        "relation": relation,
        "url": f"{base}/DiagnosticReport?{urlencode((*query.parameters, *paging))}",
    }


def _relative(node: object, names: Mapping[str, str]) -> object:
    if isinstance(node, dict):
        return {
            key: names.get(value, value)
            if key == "reference" and isinstance(value, str)
            else _relative(value, names)
            for key, value in node.items()
        }
    return [_relative(value, names) for value in node] if isinstance(node, list) else node
