"""Results as compact JSON, as `result-event.schema.json` says.

Made of the FHIR Bundle that is stored, so that both forms say the same. Nothing is called normal:
`flagged` is false where a threshold was not reached, and missing where there is none.
"""

from importlib.resources import files
from typing import Any

import orjson

from db.reviews import ReportStatus
from integration.fhir import codes
from integration.fhir.codes import Json
from integration.fhir.wording import LABELS

TYPE, VERSION = "ecg-result", 1
CONTENT_TYPE = "application/vnd.hisbundle.result+json"
SCHEMA = files("integration.kafka") / "result-event.schema.json"


def encode_result(report: Json, observations: list[Json]) -> bytes:
    """Return a report as an event.

    Args:
        report: DiagnosticReport.
        observations: its results, in their order.
    """
    status = report["status"]
    event = {
        "type": TYPE,
        "version": VERSION,
        "id": report["identifier"][0]["value"],
        "status": status,
        "issued": report["issued"],
        "patient": _patient(report["subject"]["identifier"]),
        "acquired": report.get("effectiveDateTime"),
        "placer_order": _order(report, codes.PLACER),
        "filler_order": _order(report, codes.FILLER),
        "label": LABELS[ReportStatus(status)],
        "conclusion": report["conclusion"],
        "results": [_result(observation) for observation in observations],
    }
    return orjson.dumps(_told(event))


def _patient(identifier: Json) -> Json:
    authority = identifier.get("system") or identifier.get("assigner", {}).get("display")
    return _told({"identifier": identifier["value"], "authority": authority})


def _order(report: Json, kind: Json) -> str | None:
    for order in report.get("basedOn", []):
        if order.get("identifier", {}).get("type") == kind:
            return str(order["identifier"]["value"])
    return None


def _result(observation: Json) -> Json:
    said = observation.get("interpretation")
    parts = [_value_of(part) for part in observation.get("component", [])]
    flagged = codes.POSITIVE in said if said else None
    return _told(_value_of(observation) | {"flagged": flagged, "parts": parts or None})


def _value_of(node: Json) -> Json:
    concept = node["code"]
    coding = concept["coding"][0]
    ranges = node.get("referenceRange", [])
    found: dict[str, Any] = {
        "code": coding["code"],
        "system": coding["system"],
        "name": coding.get("display") or concept.get("text"),
        "threshold": ranges[0]["text"] if ranges else None,
    }
    if quantity := node.get("valueQuantity"):
        found |= {"value": quantity["value"], "unit": quantity["code"]}
    elif "valueInteger" in node:
        found["value"] = node["valueInteger"]
    elif stretch := node.get("valueRange"):
        ends = [stretch[end]["value"] for end in ("low", "high")]
        found |= {"value": ends, "unit": stretch["low"]["code"]}
    elif worded := node.get("valueCodeableConcept"):
        found["value"] = worded["text"]
    return _told(found)


def _told(values: Json) -> Json:
    return {name: value for name, value in values.items() if value is not None}
