"""Shape D: files inside a message, as ED (HL7 v2.5.1, 2.A.24), or only referred to, as RP.

ED is source ^ type ^ subtype ^ encoding ^ data; senders shift and double these components, so the
encoding is taken where it is named, the data is the longest component, and the content alone says
what it is. A link is never followed.
"""

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import tzinfo

from integration.errors import Refused, as_refused
from integration.formats import NOT_ECG, DecodedEcg, ecgs_from_bytes
from integration.formats.detect import detect
from integration.hl7v2.measurements import is_ecg_identifier, is_ecg_order
from integration.hl7v2.message import Message, Segment
from integration.hl7v2.patient import identifiers
from integration.hl7v2.signals import Order, is_withdrawn
from model.errors import EcgError

_HOLDERS = ("ED", "ST", "TX", "FT", "")  # other than ED: only where an encoding is named
_ENCODING = re.compile(rb"BASE-?64|HEX", re.IGNORECASE)
_MAX_FILES = 64
_DATA = 4  # ED.5, counted from 0
_DECLARATION = re.compile(rb"^\s*<\?xml[^>]*\?>")  # names an encoding that is gone
_SPACE = b" \t\r\n"
# Content that may be anything; what is certainly an ECG and broken is always refused.
_UNREAD = {
    *("document-malformed", "format-unknown", "archive-unsupported", "file-too-large"),
    *("xml-malformed", "xml-forbidden"),
}


@dataclass
class Embedded:
    """What stood in an order's ED and RP.

    Attributes:
        ecgs: recordings.
        documents: how many PDFs, pictures, texts and links there were; the message keeps them.
    """

    ecgs: list[DecodedEcg] = field(default_factory=list)
    documents: int = 0


def embedded(message: Message, order: Order, zone: tzinfo | None) -> Embedded:
    """Read the files in an order.

    Raises:
        Refused: an ECG that cannot be read, or another patient's: `patient-disagrees`.
    """
    found = Embedded()
    for obx in order.observations:
        if is_withdrawn(message, obx):
            continue
        if obx.field(2).strip() == b"RP":
            found.documents += 1
            continue
        for value in _files(message, obx):
            try:
                data, hint = _data(message, value), _media_type(message, value)
                ecgs = ecgs_from_bytes(data, hint=hint, zone=zone)
            except EcgError as error:
                found.documents += _is_document(message, order, obx, error)
                continue
            for ecg in ecgs:
                _check_patient(message, order, ecg, obx)
            found.ecgs += ecgs
    return found


def _is_document(message: Message, order: Order, obx: Segment, error: EcgError) -> bool:
    """Tell whether what is no ECG is a document; refuse what is an ECG and broken."""
    if error.reason in NOT_ECG:
        return True
    if error.reason not in _UNREAD:
        raise as_refused(error, obx.at(5)) from None
    if is_ecg_order(message, order) or is_ecg_identifier(message, obx.field(3)):
        order.passed_over.append(as_refused(error, obx.at(5)))
    return False


def _check_patient(message: Message, order: Order, ecg: DecodedEcg, obx: Segment) -> None:
    """Refuse a file that names another patient than the message; one that names none is fine."""
    known = {identifier for pid in order.pids for identifier in identifiers(message, pid)}
    if any(patient.identifier not in known for patient in ecg.patients):
        raise Refused("patient-disagrees", "the file names another patient than PID", obx.at(5))


def _files(message: Message, obx: Segment) -> Iterator[bytes]:
    kind = obx.field(2).strip().decode("latin-1")
    value = obx.field(5)
    if kind not in _HOLDERS or not value:
        return
    if kind != "ED" and not _encodings(message, value[:256]):
        return
    for count, repetition in enumerate(value.split(message.delimiters.repetition, _MAX_FILES)):
        if count < _MAX_FILES and repetition.strip():
            yield repetition


def _encodings(message: Message, value: bytes) -> set[str]:
    components = value.split(message.delimiters.component)
    found = (_ENCODING.fullmatch(component.strip()) for component in components)
    return {match[0].upper().decode().replace("-", "") for match in found if match}


def _media_type(message: Message, value: bytes) -> str | None:
    components = value.split(message.delimiters.component, 4)
    kind, subtype = (*(message.free_text(c[:64], 64) for c in components[1:3]), "", "")[:2]
    return f"{kind}/{subtype}".lower() if kind and subtype else None


def _data(message: Message, value: bytes) -> bytes:
    """Return a file's bytes.

    Where no encoding is named, each is tried, and taken when just one makes something known.

    Raises:
        EcgError: `document-malformed`.
    """
    data = _longest(message, value)
    named = _encodings(message, value)
    ways = {"BASE64": _from_base64, "HEX": _from_hex, "A": _as_it_is}
    readings = [ways[name] for name in sorted(named)] or list(ways.values())
    decoded = [content for read in readings if (content := read(message, data))]
    known = [content for content in decoded if _is_known(content)]
    if len(known) == 1 or len(decoded) == 1:
        return (known or decoded)[0]
    raise EcgError("document-malformed", "the data is in no encoding that is certain")


def _longest(message: Message, value: bytes) -> bytes:
    """Return the data: behind its encoding, where ED is in order, else the longest component."""
    components = [part.strip() for part in value.split(message.delimiters.component)]
    if len(components) > _DATA and components[_DATA] and _ENCODING.fullmatch(components[_DATA - 1]):
        return components[_DATA]
    return max((part for part in components if not _ENCODING.fullmatch(part)), key=len, default=b"")


def _is_known(content: bytes) -> bool:
    try:
        detect(content)
    except EcgError as error:
        return error.reason in NOT_ECG
    return True


def _from_base64(message: Message, data: bytes) -> bytes | None:
    packed = data.translate(None, _SPACE)
    for text in (packed, _unescaped(message, data).translate(None, _SPACE)):
        try:  # the padding says nothing that the length does not
            return base64.b64decode(
                text.rstrip(b"=") + b"=" * (-len(text.rstrip(b"=")) % 4), validate=True
            )
        except binascii.Error:
            continue
    return None


def _from_hex(message: Message, data: bytes) -> bytes | None:
    try:
        return bytes.fromhex(_unescaped(message, data).decode("ascii"))
    except ValueError:
        return None


def _as_it_is(message: Message, data: bytes) -> bytes | None:
    return _DECLARATION.sub(b"", _unescaped(message, data))


def _unescaped(message: Message, data: bytes) -> bytes:
    return message.free_text(data, len(data)).encode()
