"""The one table of faults: reason code -> what each protocol answers, and whether to come again.

HisbundleError
+-- Refused       the sender has to change the message; the same bytes will never work
+-- TryLater      nothing is wrong with the message; the same bytes may work later
+-- ConfigError   the administrator has to change the settings

EcgError, raised below where an ECG contradicts itself, is answered as Refused: see `as_refused`.
Negative answers: AE when the sender may send the same bytes again, AR when it may not
(HL7 v2.5.1, 2.9.2.2, table 0008). ERR-3 codes: table 0357. FHIR issue types: R4 IssueType.
"""

from dataclasses import dataclass
from typing import Literal

from model.errors import EcgError, HisbundleError


class Refused(HisbundleError):
    """The sender has to change the message.

    Attributes:
        location: where in the message, for ERR-2: (segment, its ordinal among segments of that
            name from 1, field from 1), as far as known.
        expression: where in a FHIR resource, as FHIRPath, or "".
    """

    def __init__(
        self,
        reason: str,
        detail: str,
        location: tuple[str, int, int] | tuple[()] = (),
        *,
        expression: str = "",
    ) -> None:
        super().__init__(reason, detail)
        self.location = location
        self.expression = expression


class TryLater(HisbundleError):
    """Nothing is wrong with the message.

    Attributes:
        retry_after_s: what the other side asked for, or None.
    """

    def __init__(self, reason: str, detail: str, retry_after_s: float | None = None) -> None:
        super().__init__(reason, detail)
        self.retry_after_s = retry_after_s


class ConfigError(HisbundleError):
    """The administrator has to change the settings."""


@dataclass(frozen=True)
class Answer:
    """How a reason is told.

    Attributes:
        ack: MSA-1, `AE` or `AR`.
        hl7_code: ERR-3.1, table 0357.
        hl7_text: ERR-3.2.
        http_status: status of an HTTP answer.
        issue: OperationOutcome.issue.code.
    """

    ack: Literal["AE", "AR"]
    hl7_code: str
    hl7_text: str
    http_status: int
    issue: str


_SEQUENCE = ("100", "Segment sequence error")
_MISSING = ("101", "Required field missing")
_TYPE = ("102", "Data type error")
_TABLE = ("103", "Table value not found")
_MESSAGE_TYPE = ("200", "Unsupported message type")
_VERSION = ("203", "Unsupported version id")
_UNKNOWN = ("204", "Unknown key identifier")
_INTERNAL = ("207", "Application internal error")

ANSWERS: dict[str, Answer] = {
    # the frame and the message
    "framing-invalid": Answer("AR", *_SEQUENCE, 400, "structure"),
    "message-too-large": Answer("AR", *_INTERNAL, 413, "too-long"),
    "msh-missing": Answer("AR", *_SEQUENCE, 400, "structure"),
    "msh-malformed": Answer("AR", *_SEQUENCE, 400, "structure"),
    "control-id-missing": Answer("AR", *_MISSING, 400, "required"),
    "charset-unsupported": Answer("AR", *_TABLE, 400, "not-supported"),
    "charset-undecodable": Answer("AE", *_TYPE, 400, "value"),
    "batch-unsupported": Answer("AR", *_MESSAGE_TYPE, 422, "not-supported"),
    "batch-malformed": Answer("AR", *_SEQUENCE, 400, "structure"),
    "batch-incomplete": Answer("AR", *_SEQUENCE, 400, "incomplete"),
    "batch-count-mismatch": Answer("AR", *_SEQUENCE, 422, "business-rule"),
    "version-unsupported": Answer("AR", *_VERSION, 422, "not-supported"),
    "field-malformed": Answer("AR", *_TYPE, 422, "value"),
    # the FHIR body around it
    "json-malformed": Answer("AR", *_TYPE, 400, "structure"),
    "json-too-complex": Answer("AR", *_TYPE, 400, "too-costly"),
    "resource-unsupported": Answer("AR", *_MESSAGE_TYPE, 422, "not-supported"),
    "bundle-unsupported": Answer("AR", *_MESSAGE_TYPE, 422, "not-supported"),
    "bundle-malformed": Answer("AR", *_SEQUENCE, 400, "structure"),
    "field-missing": Answer("AR", *_MISSING, 422, "required"),
    "not-ecg": Answer("AR", *_MESSAGE_TYPE, 422, "not-supported"),
    "parameter-unsupported": Answer("AR", *_TYPE, 400, "not-supported"),
    "condition-ambiguous": Answer("AR", *_SEQUENCE, 412, "multiple-matches"),
    # the Kafka record around it
    "record-empty": Answer("AR", *_MISSING, 422, "required"),
    "record-unreadable": Answer("AR", *_SEQUENCE, 400, "structure"),
    "compression-malformed": Answer("AR", *_TYPE, 400, "structure"),
    "compression-unsupported": Answer("AR", *_TYPE, 415, "not-supported"),
    "event-unsupported": Answer("AR", *_VERSION, 422, "not-supported"),
    "device-missing": Answer("AR", *_MISSING, 422, "required"),
    "time-missing": Answer("AR", *_MISSING, 422, "required"),
    "chunk-too-long": Answer("AR", *_TYPE, 422, "too-long"),
    # who sent it
    "unknown-sender": Answer("AR", *_TABLE, 403, "forbidden"),
    "sender-not-allowed": Answer("AR", *_TABLE, 403, "forbidden"),
    # what is decided on a report
    "report-unknown": Answer("AR", *_UNKNOWN, 404, "not-found"),
    "report-decided": Answer("AR", *_INTERNAL, 409, "conflict"),
    "version-conflict": Answer("AR", *_INTERNAL, 412, "conflict"),
    "decision-not-allowed": Answer("AR", *_TABLE, 403, "forbidden"),
    "decision-malformed": Answer("AR", *_TYPE, 422, "value"),
    # whose ECG it is
    "patient-missing": Answer("AR", *_MISSING, 422, "required"),
    "patient-ambiguous": Answer("AR", *_SEQUENCE, 422, "business-rule"),
    "patient-disagrees": Answer("AR", *_SEQUENCE, 422, "business-rule"),
    # the waveform
    "lead-unknown": Answer("AR", *_TABLE, 422, "code-invalid"),
    "lead-mismatch": Answer("AR", *_TABLE, 422, "code-invalid"),
    "lead-duplicate": Answer("AR", *_SEQUENCE, 422, "business-rule"),
    "lead-missing": Answer("AR", *_MISSING, 422, "required"),
    "leads-malformed": Answer("AR", *_SEQUENCE, 422, "structure"),
    "rate-missing": Answer("AR", *_MISSING, 422, "required"),
    "rate-conflict": Answer("AR", *_SEQUENCE, 422, "business-rule"),
    "rate-out-of-range": Answer("AR", *_TYPE, 422, "value"),
    "resolution-missing": Answer("AR", *_MISSING, 422, "required"),
    "resolution-malformed": Answer("AR", *_TYPE, 422, "value"),
    "resolution-conflict": Answer("AR", *_SEQUENCE, 422, "business-rule"),
    "resolution-out-of-range": Answer("AR", *_TYPE, 422, "value"),
    "unit-unknown": Answer("AR", *_TABLE, 422, "code-invalid"),
    "lengths-differ": Answer("AR", *_TYPE, 422, "business-rule"),
    "samples-missing": Answer("AR", *_MISSING, 422, "required"),
    "samples-malformed": Answer("AR", *_TYPE, 422, "value"),
    "samples-out-of-range": Answer("AR", *_TYPE, 422, "value"),
    "amplitude-implausible": Answer("AR", *_TYPE, 422, "value"),
    "waveform-unsupported": Answer("AR", *_TYPE, 422, "not-supported"),
    "time-malformed": Answer("AR", *_TYPE, 422, "value"),
    "time-naive": Answer("AR", *_TYPE, 422, "value"),
    # a file inside a message (integration.formats)
    "document-malformed": Answer("AR", *_TYPE, 422, "value"),
    "format-unknown": Answer("AR", *_TYPE, 422, "not-supported"),
    "archive-unsupported": Answer("AR", *_TYPE, 422, "not-supported"),
    "not-ecg-pdf": Answer("AR", *_TYPE, 422, "not-supported"),
    "not-ecg-image": Answer("AR", *_TYPE, 422, "not-supported"),
    "not-ecg-text": Answer("AR", *_TYPE, 422, "not-supported"),
    "not-ecg-xml": Answer("AR", *_TYPE, 422, "not-supported"),
    "file-too-large": Answer("AR", *_TYPE, 413, "too-long"),
    "xml-malformed": Answer("AR", *_TYPE, 422, "structure"),
    "xml-forbidden": Answer("AR", *_TYPE, 422, "structure"),
    "dicom-malformed": Answer("AR", *_TYPE, 422, "structure"),
    "scp-malformed": Answer("AR", *_TYPE, 422, "structure"),
    "checksum-mismatch": Answer("AR", *_TYPE, 422, "value"),
    # not the sender's fault
    "store-unavailable": Answer("AE", *_INTERNAL, 503, "transient"),
    "store-full": Answer("AE", *_INTERNAL, 503, "transient"),
    "message-timeout": Answer("AE", *_INTERNAL, 503, "timeout"),
    "overloaded": Answer("AE", *_INTERNAL, 503, "throttled"),
    "internal-error": Answer("AE", *_INTERNAL, 500, "exception"),
}


def answer_to(reason: str) -> Answer:
    """Return how a reason is told; an unlisted one is our own fault, so the sender may retry."""
    return ANSWERS.get(reason, ANSWERS["internal-error"])


def as_refused(error: EcgError, location: tuple[str, int, int] | tuple[()] = ()) -> Refused:
    """Return an ECG's contradiction as the sender's fault."""
    return Refused(error.reason, error.detail, location)
