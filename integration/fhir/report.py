"""Findings -> FHIR R4 transaction Bundle: what the EHR gets, and what our own interface serves.

Every entry is a conditional create on an identifier that the exam and the model determine, so
posting the Bundle again changes nothing (R4 http.html, 3.1.0.11 and 3.1.0.8.1). Provenance has no
identifier in R4; its entry is found again by a tag. The same exam, findings and time give the same
bytes.

The subject is a logical reference: Patient by identifier, with the assigning authority as system
where it is a URI and as assigner where it is a name. A conditional reference would make a server
that does not know the patient, or knows two, refuse the whole transaction, and nothing here may
create a patient.

Never said: that an ECG is normal. No code is given when nothing is flagged, or nothing could be
analysed; an anomaly score alone gives SNOMED 102594003 and no more.
"""

import base64
import hashlib
from datetime import UTC, date, datetime
from uuid import UUID, uuid5

from db.records import ExamFacts, PatientRef
from db.reviews import ReportStatus
from integration.fhir import codes, wording
from integration.fhir.alert import CRITICAL, communication
from integration.fhir.codes import Json, coding, concept
from integration.fhir.strip import EPISODE, episode_content, strip_contents
from model.findings import (
    ABNORMALITY_TYPES,
    RHYTHM_NAMES,
    TYPE_NAMES,
    Findings,
    ModelIdentity,
    Quality,
)

MANUFACTURER = "Hisbundle"
PDF = "application/pdf"


def build_report(
    exam: ExamFacts,
    findings: Findings,
    *,
    issued: datetime,
    critical: tuple[str, ...] = (),
    told: int = 0,
) -> Json:
    """Return the transaction Bundle for one assessed exam.

    Args:
        exam: whose ECG, when, for which order.
        findings: what the detector said of it.
        issued: aware; when the assessment was made.
        critical: codes of rhythms that somebody has to be told of at once.
        told: how many others somebody was told of in versions before.
    """
    links = _Links(exam.id)
    observations = _observations(exam, findings, links)
    devices = {slug: _device(model) for slug, model in _models(findings).items()}
    resources = {
        "": _diagnostic_report(exam, findings, issued, [links.to(slug) for slug in observations]),
        **observations,
        **devices,
        "provenance": _provenance(exam, issued, links, ["", *observations], list(devices)),
    }
    if critical:
        alert = communication(resources[""], links.url(""), critical, sent=instant(issued))
        slug = f"{CRITICAL}-{told + 1}" if told else CRITICAL
        resources[slug] = alert | {"identifier": [links.identifier(slug)]}
    entries = [links.entry(slug, resource) for slug, resource in resources.items()]
    return {"resourceType": "Bundle", "type": "transaction", "entry": entries}


def _models(findings: Findings) -> dict[str, ModelIdentity]:
    """Return slug -> model of each Device; a strip is read by the strip model alone."""
    models = {"device": findings.model}
    if findings.strip and findings.strip.model != findings.model:
        models["strip-device"] = findings.strip.model
    return models


def attach_page(bundle: Json, pdf: bytes) -> Json:
    """Return the Bundle with the page inside it, for a server that cannot ask here for it."""
    return bundle | {"entry": [_with_page(entry, pdf) for entry in bundle["entry"]]}


def _with_page(entry: Json, pdf: bytes) -> Json:
    resource = entry["resource"]
    if resource["resourceType"] != "DiagnosticReport":
        return entry
    forms = [
        {k: v for k, v in form.items() if k != "url"} | _attached(pdf)
        if form["contentType"] == PDF
        else form
        for form in resource["presentedForm"]
    ]
    return entry | {"resource": resource | {"presentedForm": forms}}


class _Links:
    """How the entries of one exam's Bundle are named and refer to each other."""

    def __init__(self, exam_id: UUID) -> None:
        self._exam_id = exam_id

    def id(self, slug: str) -> str:
        """Logical id on our own interface: the exam's, then what it is."""
        return f"{self._exam_id}-{slug}" if slug else str(self._exam_id)

    def url(self, slug: str) -> str:
        return f"urn:uuid:{uuid5(self._exam_id, slug or 'report')}"

    def to(self, slug: str) -> Json:
        return {"reference": self.url(slug)}

    def identifier(self, slug: str) -> Json:
        return {"system": codes.ID, "value": self.id(slug)}

    def entry(self, slug: str, resource: Json) -> Json:
        kind = resource["resourceType"]
        named = {"resourceType": kind, "id": self.id(slug), **resource}
        if kind == "Provenance":
            named["meta"] = {"tag": [coding(codes.ID, self.id(slug))]}
            condition = f"_tag={codes.ID}|{self.id(slug)}"
        else:
            key = resource["identifier"][0]
            condition = f"identifier={key['system']}|{key['value']}"
        return {
            "fullUrl": self.url(slug),
            "resource": named,
            "request": {"method": "POST", "url": kind, "ifNoneExist": condition},
        }


def _diagnostic_report(
    exam: ExamFacts, findings: Findings, issued: datetime, results: list[Json]
) -> Json:
    title = page_title(ReportStatus.PRELIMINARY)
    report: Json = {
        "resourceType": "DiagnosticReport",
        "meta": {"security": [codes.AI_ASSERTED, codes.HAS_INLINE_LABELS]},
        "identifier": [{"system": codes.ID, "value": str(exam.id)}],
        "status": "preliminary",
        "category": [codes.CARDIOLOGY, codes.ELECTROCARDIAC],
        "code": codes.EKG_STUDY,
        "subject": _subject(exam.patient),
        **_effective(exam.acquired),
        "issued": instant(issued),
        "result": results,
        "conclusion": wording.conclusion(findings),
        "_conclusion": {"extension": [_inline_label()]},
        "presentedForm": [
            text_form(wording.page(exam, findings, issued), issued, title),
            {
                "contentType": PDF,
                "language": "en",
                "url": f"Binary/{exam.id}",  # as long as it stays here: see attach_page
                "title": title,
                "creation": instant(issued),
            },
        ],
    }
    if orders := _orders(exam):
        report["basedOn"] = orders
    if conclusion_codes := _conclusion_codes(findings):
        report["conclusionCode"] = conclusion_codes
    return report


def _orders(exam: ExamFacts) -> list[Json]:
    """Name the order by each number it has; the filler's is the order's, not this report's."""
    numbers = ((codes.PLACER, exam.placer_order), (codes.FILLER, exam.filler_order))
    return [
        {"type": "ServiceRequest", "identifier": {"type": kind, "value": number}}
        for kind, number in numbers
        if number
    ]


def _conclusion_codes(findings: Findings) -> list[Json]:
    rhythms = dict.fromkeys(r.code for r in findings.strip.rhythms) if findings.strip else {}
    if findings.episode:
        rhythms[findings.episode.code] = None
    if not findings.flagged_types and not findings.anomalous and not rhythms:
        return []
    abnormal = concept(codes.ABNORMAL_ECG, text="Suspected abnormal ECG")
    named = [(codes.TYPE_FINDING.get(t.code), TYPE_NAMES[t.code]) for t in findings.flagged_types]
    named += [(codes.RHYTHM_SNOMED.get(code), RHYTHM_NAMES[code]) for code in rhythms]
    specific = [concept(code, text=f"Suspected: {name}") for code, name in named if code]
    return [{"extension": [_inline_label()], **code} for code in (abnormal, *specific)]


def _observations(exam: ExamFacts, findings: Findings, links: _Links) -> dict[str, Json]:
    """Slug -> Observation; the same slugs whatever was found, so that readers can rely on them."""
    types = {t.code: t for t in findings.types}
    measured = {
        wording.ANOMALY: (
            codes.ANOMALY_SCORE,
            _measured(findings.anomaly_score, findings.anomaly_threshold),
        )
    }
    for code in ABNORMALITY_TYPES:
        found = types.get(code)
        value = _measured(found.probability, found.threshold) if found else _measured(None, None)
        measured[code] = (codes.PROBABILITY[code], value)
    contents = {
        key: {"code": code} | value | _stretches(findings, key)
        for key, (code, value) in measured.items()
    }
    contents["quality"] = {"code": codes.SIGNAL_QUALITY} | _quality(findings.quality)
    observations = {
        key.lower(): _observation(exam, links, key.lower(), content)
        for key, content in contents.items()
    }
    device = list(_models(findings))[-1]
    if findings.episode:
        content = episode_content(findings.episode)
        observations[EPISODE] = _observation(exam, links, EPISODE, content, device)
    if findings.strip:
        for slug, content in strip_contents(findings.strip).items():
            observations[slug] = _observation(exam, links, slug, content, device)
    return observations


def _observation(
    exam: ExamFacts, links: _Links, slug: str, content: Json, device: str = "device"
) -> Json:
    effective = {} if "effectivePeriod" in content else _effective(exam.acquired)
    return {
        "resourceType": "Observation",
        "meta": {"security": [codes.AI_ASSERTED]},
        "identifier": [links.identifier(slug)],
        "status": "preliminary",
        "category": [codes.PROCEDURE],
        "subject": _subject(exam.patient),
        **effective,
        "device": links.to(device),
        **content,
    }


def _measured(value: float | None, threshold: float | None) -> Json:
    """Return value, interpretation and threshold; without a value only why there is none."""
    if value is None or threshold is None:
        return {"dataAbsentReason": codes.NOT_PERFORMED}
    return {
        "valueQuantity": _quantity(value, "1"),
        "interpretation": [codes.POSITIVE if value >= threshold else codes.NEGATIVE],
        "referenceRange": [
            {"high": _quantity(threshold, "1"), "text": f"flagged at or above {threshold:.4g}"}
        ],
    }


def _stretches(findings: Findings, type_code: str) -> Json:
    intervals = findings.explanation.intervals if findings.explanation else ()
    components = [
        {
            "code": codes.interval_in(i.lead),
            "valueRange": {"low": _quantity(i.start_s, "s"), "high": _quantity(i.end_s, "s")},
        }
        for i in intervals
        if i.type_code == type_code
    ]
    return {"component": components} if components else {}


def _quality(quality: Quality) -> Json:
    pairs = [(codes.WHOLE_ECG, reason) for reason in quality.reasons]
    pairs += [(codes.LEAD[fault.lead], fault.reason) for fault in quality.lead_faults]
    value = concept(coding(codes.QUALITY, quality.verdict), text=wording.quality_in_words(quality))
    components = [{"code": code, "valueCodeableConcept": _reason(why)} for code, why in pairs]
    return {"valueCodeableConcept": value} | ({"component": components} if components else {})


def _reason(reason: str) -> Json:
    return concept(coding(codes.QUALITY_REASON, reason), text=wording.reason_in_words(reason))


def _device(model: ModelIdentity) -> Json:
    return {
        "resourceType": "Device",
        "extension": [{"url": codes.AI_KIND, "valueCodeableConcept": codes.DEEP_LEARNING}],
        "identifier": [{"system": codes.MODEL, "value": model.sha256}],
        "status": "active",
        "manufacturer": MANUFACTURER,
        "deviceName": [{"name": model.name, "type": "model-name"}],
        "type": codes.ARTIFICIAL_INTELLIGENCE,
        "version": [{"value": model.version}],
    }


def _provenance(
    exam: ExamFacts, issued: datetime, links: _Links, targets: list[str], devices: list[str]
) -> Json:
    message = {"identifier": {"system": codes.MESSAGE, "value": str(exam.message_id)}}
    return {
        "resourceType": "Provenance",
        "target": [links.to(slug) for slug in targets],
        "occurredDateTime": instant(issued),
        "recorded": instant(issued),
        "reason": [concept(codes.AI_ASSERTED)],
        "agent": [
            {
                "type": codes.AUTHOR,
                "role": [codes.ARTIFICIAL_INTELLIGENCE],
                "who": links.to(device),
            }
            for device in devices
        ],
        "entity": [{"role": "source", "what": message}],
    }


def _subject(patient: PatientRef) -> Json:
    identifier: Json = {"value": patient.identifier}
    if patient.authority and patient.authority.startswith(("urn:", "http://", "https://")):
        identifier = {"system": patient.authority, **identifier}
    elif patient.authority:
        identifier["assigner"] = {"display": patient.authority}
    return {"type": "Patient", "identifier": identifier}


def _effective(acquired: datetime | date | None) -> Json:
    """Return effectiveDateTime, or why there is none: one of them has to be (us-core-10)."""
    if acquired is None:
        absent = {"url": codes.DATA_ABSENT, "valueCode": "unknown"}
        return {"_effectiveDateTime": {"extension": [absent]}}
    if isinstance(acquired, datetime):
        return {"effectiveDateTime": instant(acquired)}
    return {"effectiveDateTime": acquired.isoformat()}


def instant(moment: datetime) -> str:
    """Return an instant in its own zone, or in UTC where FHIR has no way to write that zone."""
    offset = moment.strftime("%z")
    writable = len(offset) == 5 and offset[1:] <= "1400"
    return (moment if writable else moment.astimezone(UTC)).isoformat(timespec="milliseconds")


def _quantity(value: float, unit: str) -> Json:
    return {"value": value, "unit": unit, "system": codes.UCUM, "code": unit}


def _inline_label() -> Json:
    return {"url": codes.INLINE_LABEL, "valueCoding": codes.AI_ASSERTED}


def page_title(status: ReportStatus) -> str:
    """Return the title of a report's pages."""
    return f"ECG analysis by AI, {status}"


def text_form(text: str, issued: datetime, title: str) -> Json:
    """Return the report as plain text, as Attachment."""
    form = {"contentType": "text/plain", "language": "en", **_attached(text.encode())}
    return {**form, "title": title, "creation": instant(issued)}


def _attached(data: bytes) -> Json:
    return {
        "data": base64.b64encode(data).decode(),
        "size": len(data),
        # FHIR asks for SHA-1 here (Attachment.hash); it guards against accidents only.
        "hash": base64.b64encode(hashlib.sha1(data, usedforsecurity=False).digest()).decode(),
    }
