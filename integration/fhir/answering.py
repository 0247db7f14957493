"""What senders of FHIR are answered: OperationOutcomes and response Bundles, without HTTP.

A message's answer is kept with it as JSON, `Kept`, and rendered anew for each time it is asked.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from http import HTTPStatus
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import orjson

from integration.errors import Refused, answer_to
from integration.fhir.codes import Json

_ENDPOINT = "urn:hisbundle"


@dataclass(frozen=True)
class Kept:
    """An answer without its form.

    Attributes:
        status: of HTTP.
        outcome: OperationOutcome.
        entries: `Bundle.entry.response` of each entry of what was answered; none of a refusal.
        named: whether the message goes by the identifier of its one ECG's first resource.
    """

    status: int
    outcome: Json
    entries: list[Json]
    named: bool = False

    def to_bytes(self) -> bytes:
        """Return what the store keeps."""
        return orjson.dumps(asdict(self))

    @classmethod
    def from_bytes(cls, raw: bytes) -> "Kept":
        """Return what the store kept."""
        return cls(**orjson.loads(raw))


@dataclass(frozen=True)
class Reply:
    """What is told to a sender.

    Attributes:
        status: of HTTP.
        body: resource.
        location: of what was created, relative to the base URL, or None.
    """

    status: int
    body: Json
    location: str | None = None


def refusal(refused: Refused) -> Kept:
    """Return the answer to what is refused."""
    answer = answer_to(refused.reason)
    issue: Json = {
        "severity": "error",
        "code": answer.issue,
        "details": {"text": refused.reason},
        "diagnostics": refused.detail,
    }
    issue |= {"expression": [refused.expression]} if refused.expression else {}
    return Kept(answer.http_status, {"resourceType": "OperationOutcome", "issue": [issue]}, [])


def information(text: str) -> Json:
    """Return an OperationOutcome that reports no fault."""
    issue = {"severity": "information", "code": "informational", "diagnostics": text}
    return {"resourceType": "OperationOutcome", "issue": [issue]}


def entry_response(status: int, outcome: Json, location: str | None = None) -> Json:
    """Return `Bundle.entry.response`."""
    response: Json = {"status": f"{status} {HTTPStatus(status).phrase}"}
    return response | ({"location": location} if location else {}) | {"outcome": outcome}


def created(kept: Kept) -> Reply:
    """Return the answer to a create (R4, http.html#create)."""
    location = kept.entries[0].get("location") if kept.entries else None
    return Reply(kept.status, kept.outcome, location)


def bundle_reply(kind: str, responses: Sequence[Json]) -> Reply:
    """Return a `batch-response` or `transaction-response`."""
    entries = [{"response": response} for response in responses]
    body: dict[str, Any] = {"resourceType": "Bundle", "type": f"{kind}-response"}
    return Reply(200, body | ({"entry": entries} if entries else {}))


def message_reply(kept: Kept, header: Json) -> Reply:
    """Return the message that answers one (R4, messaging.html), to the MessageHeader it had.

    Its ids are made of the request's, so the same message is answered the same.
    """
    asked = str(header.get("id", ""))
    ids = [str(uuid5(NAMESPACE_URL, f"urn:hisbundle:{asked}:{part}")) for part in "hob"]
    code = "ok" if kept.status < 400 else "transient-error" if kept.status >= 500 else "fatal-error"
    event: Json = {name: header[name] for name in ("eventCoding", "eventUri") if name in header}
    answering: Json = {
        "resourceType": "MessageHeader",
        "id": ids[0],
        **event,
        "source": {"endpoint": _ENDPOINT},
        "response": {
            "identifier": asked or ids[0],
            "code": code,
            "details": {"reference": f"urn:uuid:{ids[1]}"},
        },
    }
    entries = [
        {"fullUrl": f"urn:uuid:{ids[0]}", "resource": answering},
        {"fullUrl": f"urn:uuid:{ids[1]}", "resource": kept.outcome | {"id": ids[1]}},
    ]
    body = {"resourceType": "Bundle", "id": ids[2], "type": "message", "entry": entries}
    return Reply(kept.status if kept.status >= 400 else 200, body)
