"""What helps against a reason: one sentence for the administrator, by reason code."""

from db.dead_letters import CONFLICT

_SENDER = "The sender has to change what it sends; the bytes are kept and show where."
_CHARSET = "Set default_charset for this sender, or have it say its character set in MSH-18."
_PATIENT = "Have the sender fill PID-3 (or Observation.subject) with one patient's identifier."
_LEAD = "See the lead's code and name in the message: they are unknown here, or disagree."
_RATE = "Have the sender state one sampling rate (or period) for all leads."
_RESOLUTION = "Have the sender state one resolution with a unit of voltage for each lead."
_FILE = "Open the kept file with the recorder's own software; it is damaged or of another kind."
_SCORING = "Look into the worker's log for this id; replay the stage score once it is mended."

HINTS: dict[str, str] = {
    "framing-invalid": "Something that speaks no MLLP connects here: see the peer's address.",
    "message-too-large": "Raise max_message_bytes (or max_body_bytes) if such messages are right.",
    "message-timeout": "The sender or the network stalls in the middle of messages.",
    "msh-missing": "Something sends no HL7 v2 here: look at the first bytes that are kept.",
    "control-id-missing": "Have the sender give each message its own MSH-10.",
    "charset-unsupported": _CHARSET,
    "charset-undecodable": _CHARSET,
    "unknown-sender": "If it may send, name it under [senders]; it then has to send again.",
    "sender-not-allowed": "Check its network and certificate against its entry under [senders].",
    "report-unknown": "The EHR decides on a report that is not here: see OBR-3 or the identifier.",
    "report-decided": "The report was withdrawn or overridden before: see `hisbundle report show`.",
    "version-conflict": "Somebody else decided meanwhile: the EHR has to read the report again.",
    "decision-malformed": "The EHR has to say who decided (OBR-32, resultsInterpreter) and, where "
    "it amends, its own conclusion.",
    "decision-not-allowed": "If this sender may decide on reports, set decides in its entry and "
    "replay the stage decode; by FHIR give its token system/DiagnosticReport.u and have it resend.",
    "patient-missing": _PATIENT,
    "patient-ambiguous": _PATIENT,
    "patient-disagrees": "The file inside names another patient than its message: ask the ward.",
    "lead-unknown": _LEAD,
    "lead-mismatch": _LEAD,
    "lead-duplicate": "One lead comes twice: have the sender send each ECG by itself.",
    "rate-missing": _RATE,
    "rate-conflict": _RATE,
    "rate-out-of-range": _RATE,
    "resolution-missing": _RESOLUTION,
    "resolution-malformed": _RESOLUTION,
    "resolution-conflict": _RESOLUTION,
    "resolution-out-of-range": _RESOLUTION,
    "unit-unknown": "Have the sender state units by UCUM or MDC (mV, uV).",
    "time-naive": "Set time_zone for this sender, or have it send times with their zone.",
    "document-malformed": _FILE,
    "format-unknown": _FILE,
    "checksum-mismatch": _FILE,
    "not-ecg-pdf": "The sender sends pages, not samples: switch its export to waveforms.",
    "not-ecg-image": "The sender sends pictures, not samples: switch its export to waveforms.",
    "store-unavailable": "The database was away or full; the sender should have sent again.",
    "store-full": "Make room: `hisbundle retention run --vacuum`, or a larger disk.",
    "overloaded": "More came than could be stored: add a listener or a faster database.",
    "internal-error": "Our fault: please report it with the log of this message's id.",
    "scoring-crashed": _SCORING,
    "samples-gone": "Its samples are past their period (`[retention]`): discard it, or restore a "
    "backup.",
    "delivery-crashed": "Each try ended its worker: see the log for this id, and whether the "
    "destination takes longer than time_limit_s; then replay the stage deliver.",
    "stored-bytes-corrupt": "The database's own bytes are damaged: restore this row from a backup.",
    "waveform-corrupt": "The database's own bytes are damaged: restore this row from a backup.",
    "destination-denied": "It does not let us in: see token or keys, client, scopes, permissions; "
    "then replay the stage deliver.",
    "destination-misconfigured": "Nothing takes reports at this address: see base_url and style; "
    "then replay the stage deliver.",
    "destination-conflict": "Somebody changed the report at the destination: have it tell us "
    "(`[sources]`, PUT, ORU^R01) or change it back there; then replay the stage deliver.",
    "token-refused": "Register our keys (/.well-known/jwks.json) and client_id at the server, see "
    "scope; `hisbundle keys list`; then replay the stage deliver.",
    "patient-unknown-there": "The destination knows no such patient: see patient_systems, or wait "
    "for its own registration; then replay the stage deliver.",
    "patient-ambiguous-there": "The destination knows two such patients: have them merged there; "
    "then replay the stage deliver.",
    "patient-system-unknown": "Name the assigning authority in patient_systems of the destination; "
    "then replay the stage deliver.",
    "report-unsuitable": "The ECG's time is not known, and this destination asks for one.",
    "undeliverable": "See what the destination answered; mend it, then replay the stage deliver.",
    CONFLICT: "One MSH-10 for several messages: `show --raw` each of the namesakes, tell the "
    "sender's maker, then discard.",
}


def hint(reason: str | None) -> str:
    """Return what helps; where only the sender can help, that."""
    known = (reason or "").partition(":")[0]
    return HINTS.get(known, _SENDER)


def hint_of_delivery(answer: str | None) -> str:
    """Return what helps where a destination said never."""
    text = answer or ""
    if text.startswith("gave up"):
        return "The destination was away for too long; replay the stage deliver."
    known = text.partition(":")[0]
    if known in HINTS:
        return HINTS[known]
    return HINTS["undeliverable"]
