"""Annotated ECG: XML of HL7 version 3 (PORT_MT020001; aECG Implementation Guide, 2005)."""

from datetime import UTC, datetime

from lxml import etree
from lxml.builder import ElementMaker

from db.records import Exam
from integration.export.steps import steps_of

_V3, _XSI = "urn:hl7-org:v3", "http://www.w3.org/2001/XMLSchema-instance"
_MDC = "2.16.840.1.113883.6.24"
_V3_CODES = "2.16.840.1.113883.5.4"
_TYPE = f"{{{_XSI}}}type"
_E = ElementMaker(namespace=_V3, nsmap={None: _V3, "xsi": _XSI})


def encode_aecg(exam: Exam) -> bytes:
    """Return the document; without a time of acquisition its time axis begins at zero."""
    trial = _E.trialSubject(_patient(exam))
    subject = _E.subjectAssignment(_E.subject(trial))
    made = _E.AnnotatedECG(
        _E.id(root=str(exam.id)),
        _E.code(code="93000", codeSystem="2.16.840.1.113883.6.12"),
        _times(exam),
        _E.componentOf(_E.timepointEvent(_E.componentOf(subject))),
        _E.component(_series(exam)),
    )
    written: bytes = etree.tostring(made, xml_declaration=True, encoding="UTF-8")
    return written


def _patient(exam: Exam) -> etree._Element:
    patient = exam.patient
    told = {"extension": patient.identifier}
    if patient.authority is not None:
        told["assigningAuthorityName"] = patient.authority
    return _E.id(**told)


def _times(exam: Exam) -> etree._Element:
    if exam.acquired is None:
        return _E.effectiveTime(_E.low(nullFlavor="UNK"))
    if isinstance(exam.acquired, datetime):
        return _E.effectiveTime(_E.low(value=_stamp(exam.acquired)))
    return _E.effectiveTime(_E.low(value=f"{exam.acquired:%Y%m%d}"))


def _series(exam: Exam) -> etree._Element:
    steps = steps_of(exam.ecg)
    sequences = [_axis(exam)]
    for lead, step_mv, counts, missing in zip(
        exam.ecg.leads, steps.step_mv, steps.counts, steps.missing, strict=True
    ):
        digits = " ".join(
            "NA" if gone else str(count)
            for count, gone in zip(counts.tolist(), missing.tolist(), strict=True)
        )
        sequences.append(_lead(lead, step_mv * 1000, digits))
    parts = [_E.component(_E.sequence(*sequence)) for sequence in sequences]
    return _E.series(
        _E.code(code="RHYTHM", codeSystem=_V3_CODES),
        _times(exam),
        _E.component(_E.sequenceSet(*parts)),
    )


def _axis(exam: Exam) -> list[etree._Element]:
    step = {"value": f"{1 / exam.ecg.sampling_rate_hz:.12g}", "unit": "s"}
    if isinstance(exam.acquired, datetime):
        head, kind, code = _E.head(value=_stamp(exam.acquired)), "GLIST_TS", "TIME_ABSOLUTE"
    else:
        head, kind, code = _E.head(value="0", unit="s"), "GLIST_PQ", "TIME_RELATIVE"
    value = _E.value({_TYPE: kind}, head, _E.increment(**step))
    return [_E.code(code=code, codeSystem=_V3_CODES), value]


def _lead(lead: str, step_uv: float, digits: str) -> list[etree._Element]:
    value = _E.value(
        {_TYPE: "SLIST_PQ"},
        _E.origin(value="0", unit="uV"),
        _E.scale(value=f"{step_uv:.10g}", unit="uV"),
        _E.digits(digits),
    )
    return [_E.code(code=f"MDC_ECG_LEAD_{lead.upper()}", codeSystem=_MDC), value]


def _stamp(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y%m%d%H%M%S.%f}+0000"
