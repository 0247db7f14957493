"""What surrounds a record's payload: CloudEvents, a content type, a content encoding.

| where                                   | what                                                |
|-----------------------------------------|-----------------------------------------------------|
| header `content-type`                   | the payload's format, or that CloudEvents wrap it   |
| header `content-encoding`               | gzip, zstd, identity                                |
| headers `ce_id`, `ce_source`, ...       | CloudEvents 1.0, binary mode; `ce-id` is read too   |
| value `{"specversion": "1.0", ...}`     | CloudEvents 1.0, structured mode, where the content |
|                                         | type says `application/cloudevents+json`            |

CloudEvents: Kafka Protocol Binding 1.0.2, 3.2 and 3.3. `source` and `id` name an event: two events
with both the same are the same. `time` is when it happened to its sender, not when the ECG was
recorded, and is not used.
"""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import orjson

from db.records import keepable
from integration.errors import Refused
from integration.fhir.codes import Json
from integration.fhir.element import Element
from integration.fhir.parsing import parse_object
from integration.kafka import chunk_event, ecg_event
from integration.kafka.unpacking import unpack

Headers = Sequence[tuple[str, bytes | None]]

SPEC_VERSION = "1.0"


@dataclass(frozen=True)
class Record:
    """A record as it was read, of whatever client library."""

    topic: str
    partition: int
    offset: int
    key: bytes | None = field(repr=False)
    value: bytes | None = field(repr=False)
    headers: Headers = field(repr=False, default=())

    @property
    def place(self) -> str:
        """Return where it stands, in words."""
        return f"{self.topic} {self.partition}:{self.offset}"


class Format(StrEnum):
    """How an ECG is written in a payload."""

    FHIR = "fhir"
    HL7 = "hl7"
    ECG = "ecg"
    CHUNK = "chunk"  # of a continuous recording


_STRUCTURED = "application/cloudevents+json"
_FORMATS = {
    "application/fhir+json": Format.FHIR,
    "application/hl7-v2": Format.HL7,
    "application/hl7-v2+er7": Format.HL7,
    "x-application/hl7-v2+er7": Format.HL7,
    "application/vnd.hisbundle.ecg+json": Format.ECG,
    "application/vnd.hisbundle.ecg-chunk+json": Format.CHUNK,
}
_TYPES = {ecg_event.TYPE: Format.ECG, chunk_event.TYPE: Format.CHUNK}
_VAGUE = ("", "application/json", "application/octet-stream", "text/plain")


@dataclass(frozen=True)
class Envelope:
    """A payload and what is told of it.

    Attributes:
        format: of the payload.
        payload: unpacked and taken out of what wraps it.
        source: of a CloudEvent, or "".
        id: of a CloudEvent, or "".
    """

    format: Format
    payload: bytes = field(repr=False)
    source: str = ""
    id: str = ""


def open_value(value: bytes, headers: Headers, usual: Format | None, max_bytes: int) -> Envelope:
    """Return what is in a record.

    Args:
        value: of the record.
        headers: of the record.
        usual: the topic's format, for records that do not tell.
        max_bytes: of an unpacked value.

    Raises:
        Refused: `compression-unsupported`, `compression-malformed`, `message-too-large`,
            `format-unknown`, `json-malformed`, `json-too-complex`, `event-unsupported`,
            `field-missing`, `field-malformed`.
    """
    told = _texts(headers)
    payload = unpack(value, told.get("content-encoding", "").lower(), max_bytes)
    kind = told.get("content-type", "")
    if _media_type(kind) == _STRUCTURED:
        return _structured(payload, usual)
    attributes = {name[3:]: text for name, text in told.items() if name[:3] in ("ce_", "ce-")}
    source, id_ = _identity(Element(attributes, "headers")) if attributes else ("", "")
    return Envelope(_format(kind, usual, payload), payload, source, id_)


def format_of(payload: bytes) -> Format | None:
    """Return the format that a payload's own first words leave no doubt of, or None."""
    if payload[:3] == b"MSH":
        return Format.HL7
    try:
        found = parse_object(payload)
    except Refused:
        return None
    if "resourceType" in found:
        return Format.FHIR
    kind = found.get("type")
    return _TYPES.get(kind) if isinstance(kind, str) else None


def _format(kind: str, usual: Format | None, payload: bytes) -> Format:
    media_type = _media_type(kind)
    if media_type in _FORMATS:
        return _FORMATS[media_type]
    if media_type not in _VAGUE:
        raise Refused("format-unknown", "a content-type that is not read here")
    found = usual or format_of(payload)
    if found is None:
        detail = "neither content-type nor topic tells the format, nor the record's first words"
        raise Refused("format-unknown", detail)
    return found


def _structured(value: bytes, usual: Format | None) -> Envelope:
    event = Element(parse_object(value), "event")
    source, id_ = _identity(event)
    payload = _data(event)
    return Envelope(_format(event.text("datacontenttype"), usual, payload), payload, source, id_)


def _identity(event: Element) -> tuple[str, str]:
    """Return source and id (CloudEvents 1.0.2, Required Attributes)."""
    if event.text("specversion") != SPEC_VERSION:
        detail = "CloudEvents of specversion 1.0 are read"
        raise event.refusal("event-unsupported", detail, "specversion")
    for name in ("id", "source", "type"):
        if not event.text(name):
            raise event.refusal("field-missing", "a CloudEvent has one", name)
    source, id_ = event.text("source"), event.text("id")
    if not (keepable(source) and keepable(id_)):
        raise event.refusal("field-malformed", "id or source too long, or no plain text", "id")
    return source, id_


def _data(event: Element) -> bytes:
    """Return the payload of a structured event (CloudEvents JSON Format 1.0.2, 3.1)."""
    if "data_base64" in event:
        try:
            return base64.b64decode(event.text("data_base64"), validate=True)
        except (binascii.Error, ValueError):
            raise event.refusal("field-malformed", "no base64", "data_base64") from None
    data: Json | str | None = event.value.get("data")
    if isinstance(data, dict):
        return orjson.dumps(data)
    if not isinstance(data, str) or not data:
        raise event.refusal("record-empty", "data or data_base64 holds the ECG", "data")
    if not data.isascii():
        # MSH-18 says how bytes are letters; here they are letters already.
        detail = "a text beyond ASCII goes into data_base64"
        raise event.refusal("field-malformed", detail, "data")
    return data.encode()


def _media_type(kind: str) -> str:
    return kind.split(";", maxsplit=1)[0].strip().lower()


def _texts(headers: Headers) -> dict[str, str]:
    """Return the headers that are told once, as text; names in lower case."""
    found: dict[str, str] = {}
    for name, value in headers:
        text = (value or b"").decode(errors="replace").strip()
        if found.setdefault(name.lower(), text) != text and _matters(name.lower()):
            raise Refused("field-malformed", "a header is there twice, and not the same")
    return found


def _matters(name: str) -> bool:
    return name.startswith(("ce_", "ce-", "content-"))
