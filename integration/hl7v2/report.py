"""A report Bundle as ORU^R01, for hospitals whose EHR takes HL7 v2 (v2.5.1, 7.3.1).

Made of the FHIR Bundle that is stored, so that both forms say the same. The same Bundle gives the
same bytes, its MSH-10 included: a receiver that gets it twice can tell. Nothing is called normal:
OBX-8 is `A` where a threshold was reached, `AA` where a finding is critical, and empty otherwise.

| report status      | OBR-25, OBX-11 |
|--------------------|----------------|
| preliminary        | P              |
| final              | F              |
| amended, corrected | C              |
| entered-in-error   | C, OBX-11 W: what was sent before is wrong |
"""

import hashlib
import textwrap
from dataclasses import dataclass
from datetime import date, datetime

import orjson

from db.reviews import ReportStatus
from integration.fhir import codes
from integration.fhir.bundle import report_and_results
from integration.fhir.codes import Json
from integration.fhir.wording import LABELS
from integration.hl7v2.times import format_time

VERSION = "2.5.1"
FILLER = "HISBUNDLE"  # OBR-3.2: whose number of the report it is
_STATUS = {"preliminary": "P", "final": "F", "amended": "C", "corrected": "C"}
_ABNORMAL, _CRITICAL = "A", "AA"  # table 0078: abnormal, very abnormal
_WRONG = "W"  # table 0085: post original as wrong
_SYSTEMS = {
    codes.LOINC: "LN",
    codes.SNOMED: "SCT",
    codes.MDC: "MDC",
    codes.OBSERVATION: "99HIS",
}
_ESCAPES = str.maketrans(
    {"|": "\\F\\", "^": "\\S\\", "&": "\\T\\", "~": "\\R\\", "\\": "\\E\\"}
    | dict.fromkeys(map(chr, range(32)), " ")
)
_OID = "urn:oid:"
_LINE = 180  # characters; some receivers cut a TX at 200


@dataclass(frozen=True)
class Endpoints:
    """MSH-3 to MSH-6."""

    sending_application: str
    sending_facility: str
    receiving_application: str
    receiving_facility: str


@dataclass(frozen=True)
class OutboundMessage:
    """A message and the MSH-10 that its answer has to name."""

    control_id: str
    raw: bytes


def encode_report(bundle: Json, endpoints: Endpoints) -> OutboundMessage:
    """Return the report as ORU^R01 in UTF-8.

    Raises:
        ConfigError: `report-malformed`: the Bundle has no DiagnosticReport.
    """
    report, results = report_and_results(bundle)
    control_id = hashlib.sha256(orjson.dumps(bundle)).hexdigest()[:20].upper()
    status = report["status"]
    resources = (entry["resource"] for entry in bundle["entry"])
    alerts = [r for r in resources if r["resourceType"] == "Communication"]
    observed = _Observed(_STATUS.get(status, _WRONG), alerts)
    for result in results:
        observed.add(result)
    observed.add_words(report)
    segments = [
        _msh(report, endpoints, control_id),
        f"PID|1||{_patient(report['subject'])}||^^^^^^U",  # U: the name is left out on purpose
        _obr(report, _STATUS.get(status, "C")),
        *observed.segments,
    ]
    return OutboundMessage(control_id, "".join(f"{s}\r" for s in segments).encode())


class _Observed:
    """Numbered OBX segments."""

    def __init__(self, status: str, alerts: list[Json]) -> None:
        self.segments: list[str] = []
        self._status = status
        self._alerts = [a for a in alerts if a["status"] != "entered-in-error"]
        self._critical = [code for alert in self._alerts for code in alert["reasonCode"]]

    def add(self, observation: Json) -> None:
        """Write an Observation's value, then its components."""
        for node in (observation, *observation.get("component", [])):
            limits = _limits(node.get("referenceRange", []))
            self._write(_coded(node["code"]), *_value(node), limits=limits, flag=self._flag(node))

    def _flag(self, node: Json) -> str:
        """Return OBX-8 of an Observation or a component."""
        if node["code"] in self._critical:
            return _CRITICAL
        return _ABNORMAL if codes.POSITIVE in node.get("interpretation", []) else ""

    def add_words(self, report: Json) -> None:
        """Write the conclusion, the label that survives systems which drop metadata, the page."""
        for alert in self._alerts:
            for line in textwrap.wrap(alert["payload"][0]["contentString"], _LINE):
                self._write("critical^Critical finding^99HIS", "TX", _text(line), flag=_CRITICAL)
        for line in textwrap.wrap(report["conclusion"], _LINE):
            self._write("8601-7^EKG impression^LN", "TX", _text(line))
        label = LABELS[ReportStatus(report["status"])]
        self._write("ai-label^Origin of these results^99HIS", "TX", _text(label))
        for form in report.get("presentedForm", []):
            if form["contentType"] == "application/pdf" and "data" in form:
                content = f"^application^pdf^Base64^{form['data']}"
                self._write("11524-6^EKG study^LN", "ED", content)

    def _write(
        self,
        code: str,
        kind: str,
        value: str,
        unit: str = "",
        *,
        limits: str = "",
        flag: str = "",
    ) -> None:
        status = self._status if value else "X"  # X: results cannot be obtained (table 0085)
        number = len(self.segments) + 1
        fields = [str(number), kind, code, str(number), value, unit, limits, flag, "", "", status]
        self.segments.append("|".join(["OBX", *fields]))


def _msh(report: Json, ends: Endpoints, control_id: str) -> str:
    places = map(
        _text,
        (
            ends.sending_application,
            ends.sending_facility,
            ends.receiving_application,
            ends.receiving_facility,
        ),
    )
    sent = format_time(datetime.fromisoformat(report["issued"]))
    kind = f"ORU^R01^ORU_R01|{control_id}|P|{VERSION}"
    return rf"MSH|^~\&|{'|'.join(places)}|{sent}||{kind}||||||UNICODE UTF-8"


def _patient(subject: Json) -> str:
    """Return PID-3; the authority as an OID where it is one, else as a name."""
    identifier = subject["identifier"]
    system = identifier.get("system", "")
    if system.startswith(_OID):
        authority = f"&{system.removeprefix(_OID)}&ISO"
    else:
        authority = _text(system or identifier.get("assigner", {}).get("display", ""))
    return f"{_text(identifier['value'])}^^^{authority}".rstrip("^")


def _obr(report: Json, status: str) -> str:
    placer = _order(report, codes.PLACER)
    ours = f"{report['identifier'][0]['value']}^{FILLER}"
    issued = format_time(datetime.fromisoformat(report["issued"]))
    fields = [""] * 25
    fields[0:4] = ["1", placer, ours, "11524-6^EKG study^LN"]
    fields[6] = _moment(report.get("effectiveDateTime"))
    fields[21], fields[23], fields[24] = issued, "EC", status
    if interpreters := report.get("resultsInterpreter"):
        fields += [""] * 6 + [_interpreter(interpreters[0])]
    return "|".join(["OBR", *fields])


def _interpreter(practitioner: Json) -> str:
    """Return OBR-32 (NDL): id and name of who interpreted the results."""
    known = practitioner.get("identifier", {}).get("value") or practitioner.get("reference", "")
    return f"{_text(known)}&{_text(practitioner.get('display', ''))}".rstrip("&")


def _order(report: Json, kind: Json) -> str:
    for order in report.get("basedOn", []):
        if order.get("identifier", {}).get("type") == kind:
            return _text(order["identifier"]["value"])
    return ""


def _moment(text: str | None) -> str:
    if text is None:
        return ""
    if "T" not in text:
        return f"{date.fromisoformat(text):%Y%m%d}"
    return format_time(datetime.fromisoformat(text))


def _value(node: Json) -> tuple[str, str, str]:
    """Return OBX-2, OBX-5 and OBX-6 of an Observation or a component."""
    if quantity := node.get("valueQuantity"):
        unit = f"{_text(quantity['code'])}^{_text(quantity['unit'])}^UCUM"
        return "NM", _number(quantity["value"]), unit
    if "valueInteger" in node:
        return "NM", str(node["valueInteger"]), ""
    if stretch := node.get("valueRange"):
        low, high = (_number(stretch[end]["value"]) for end in ("low", "high"))
        return "NR", f"{low}^{high}", "s^s^UCUM"
    if concept := node.get("valueCodeableConcept"):
        return "TX", _text(concept["text"]), ""
    return "NM", "", ""


def _limits(ranges: list[Json]) -> str:
    return _text(ranges[0]["text"]) if ranges else ""


def _coded(concept: Json) -> str:
    """Return a concept as CE: its first code that HL7 v2 has a name for."""
    known = next((c for c in concept["coding"] if c["system"] in _SYSTEMS), None)
    if known is None:
        first = concept["coding"][0]
        return f"{_text(first['code'])}^{_text(concept.get('text', ''))}^99HIS"
    name = known.get("display") or concept.get("text", "")
    return f"{_text(known['code'])}^{_text(name)}^{_SYSTEMS[known['system']]}"


def _number(value: float) -> str:
    return f"{value:.6g}"


def _text(text: str) -> str:
    return text.translate(_ESCAPES)
