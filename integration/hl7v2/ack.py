"""Acknowledgements (HL7 v2.5.1, 2.9.2, 2.9.3 and 2.15.8; ERR: 2.15.5).

Written by hand: MSH, MSA and ERR are three short lines, and the sender's own delimiters, version
and character set are kept. The tests have hl7apy check them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from integration.errors import Refused, answer_to
from integration.hl7v2.header import Delimiters, Header, parse_header
from integration.hl7v2.message import Message, Segment
from integration.hl7v2.times import format_time
from model.errors import HisbundleError

AckCode = Literal["AA", "AE", "AR", "CA", "CE", "CR"]  # table 0008
_FALLBACK_VERSION = "2.5.1"
_MAX_TEXT = 200


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with a message.

    Attributes:
        reason: stable code, of `integration.errors.ANSWERS`.
        detail: one sentence; no patient data.
        location: (segment, ordinal from 1, field from 1; 0: the segment as a whole), or empty.
    """

    reason: str
    detail: str
    location: tuple[str, int, int] | tuple[()] = ()

    @classmethod
    def of(cls, error: HisbundleError) -> "Fault":
        """Return an error as it is told to the sender."""
        location = error.location if isinstance(error, Refused) else ()
        return cls(error.reason, error.detail, location)


@dataclass(frozen=True)
class Acknowledgement:
    """An answer as its receiver reads it.

    Attributes:
        code: MSA-1, `AA`, `AE`, `AR`, or of enhanced mode.
        control_id: MSA-2: which message is answered.
        texts: what the answer says is wrong.
    """

    code: str
    control_id: str
    texts: tuple[str, ...]


def acknowledge(
    header: Header | None,
    code: AckCode,
    *,
    faults: Sequence[Fault] = (),
    control_id: str,
    now: datetime,
) -> bytes:
    """Return the answer to a message.

    From v2.5 each fault has its own ERR: ERR-2 the place, ERR-3 table 0357, ERR-4 severity, ERR-5
    our reason, ERR-8 the sentence. Older versions have one ERR that repeats ERR-1 (place and code),
    and the first fault's reason and sentence in MSA-3.

    Args:
        header: of the message, or None when it has no readable MSH: MSA-2 is then empty.
        code: MSA-1.
        faults: none with AA and CA.
        control_id: our own MSH-10.
        now: aware.
    """
    delimiters = header.delimiters if header else Delimiters()
    writer = Writer(delimiters, header.codec if header else "ascii")
    segments = [
        _msh(writer, header, control_id, now),
        _msa(writer, header, code, faults),
        *_err(writer, header, faults),
    ]
    return b"".join(segment + b"\r" for segment in segments)


def read_acknowledgement(raw: bytes) -> Acknowledgement:
    """Read an answer.

    Raises:
        Refused: when it has no readable MSH.
    """
    header = parse_header(raw, "latin-1")
    message = Message(raw, header, "latin-1")
    code = control_id = ""
    texts: list[str] = []
    for segment in message.segments():
        if segment.name == "MSA":
            code, control_id = (message.text(segment.field(n)) for n in (1, 2))
            texts += [message.text(segment.field(3))]
        elif segment.name == "ERR":
            texts += [_error_text(message, segment)]
    return Acknowledgement(code, control_id, tuple(filter(None, texts)))


def _error_text(message: Message, err: Segment) -> str:
    reason = message.components(err.field(5))[0]
    said = message.text(err.field(8)) or message.text(err.field(7))
    return ": ".join(filter(None, (reason, said))) or " ".join(message.components(err.field(3))[:2])


class Writer:
    """Puts texts into fields with the sender's delimiters."""

    def __init__(self, delimiters: Delimiters, codec: str) -> None:
        self.delimiters = delimiters
        self._codec = codec
        escape = delimiters.escape.decode("ascii")
        self._escapes = {
            ord(character): f"{escape}{letter}{escape}" if escape else " "
            for letter, character in zip("FSTRE", self._characters(), strict=True)
            if character
        } | dict.fromkeys(range(32), " ")

    def text(self, text: str) -> bytes:
        """Return a text that cannot break out of its field."""
        return self.verbatim(text[:_MAX_TEXT].translate(self._escapes))

    def verbatim(self, text: str) -> bytes:
        """Return a text that carries the sender's delimiters already."""
        return text.encode(self._codec, "replace")

    def components(self, *texts: str) -> bytes:
        """Return texts as components."""
        return self.delimiters.component.join(map(self.text, texts))

    def segment(self, *fields: bytes) -> bytes:
        """Return fields as a segment."""
        return self.delimiters.field.join(fields).rstrip(self.delimiters.field)

    def _characters(self) -> list[str]:
        d = self.delimiters
        order = (d.field, d.component, d.subcomponent, d.repetition, d.escape)
        return [character.decode("ascii") for character in order]


def _msh(writer: Writer, header: Header | None, control_id: str, now: datetime) -> bytes:
    h = header
    structured = h is not None and h.trigger != "" and not _before(h.version, (2, 3, 1))
    kind = ("ACK", h.trigger, "ACK") if h and structured else ("ACK",)
    return writer.segment(
        b"MSH",
        writer.delimiters.encoding_characters,
        writer.verbatim(h.receiving_application if h else ""),
        writer.verbatim(h.receiving_facility if h else ""),
        writer.verbatim(h.sending_application if h else ""),
        writer.verbatim(h.sending_facility if h else ""),
        writer.text(format_time(now)),
        b"",
        writer.components(*kind),
        writer.text(control_id),
        writer.verbatim(h.processing_id if h and h.processing_id else "P"),
        writer.verbatim(h.version if h and h.version else _FALLBACK_VERSION),
        *[b""] * 5,
        writer.verbatim(h.answer_charset if h else ""),
    )


def _msa(writer: Writer, header: Header | None, code: str, faults: Sequence[Fault]) -> bytes:
    answered = writer.verbatim(header.control_id if header else "")
    text = b""
    if faults and header and _before(header.version, (2, 5)):
        text = writer.text(f"{faults[0].reason}: {faults[0].detail}"[:80])  # MSA-3 holds 80
    return writer.segment(b"MSA", code.encode("ascii"), answered, text)


def _err(writer: Writer, header: Header | None, faults: Sequence[Fault]) -> list[bytes]:
    if not faults:
        return []
    if header and _before(header.version, (2, 5)):
        places = [_old_error(writer, fault) for fault in faults]
        return [writer.segment(b"ERR", writer.delimiters.repetition.join(places))]
    return [_error(writer, fault) for fault in faults]


def _error(writer: Writer, fault: Fault) -> bytes:
    answer = answer_to(fault.reason)
    return writer.segment(
        b"ERR",
        b"",
        writer.components(*_place(fault)),
        writer.components(answer.hl7_code, answer.hl7_text, "HL70357"),
        b"E",
        writer.components(fault.reason, fault.reason.replace("-", " "), "L"),
        b"",
        b"",
        writer.text(fault.detail),
    )


def _old_error(writer: Writer, fault: Fault) -> bytes:
    """Return one repetition of ERR-1 (v2.3, 2.16.5.1): segment, sequence, field, code."""
    answer = answer_to(fault.reason)
    separator = writer.delimiters.subcomponent or b" "
    code = separator.join(map(writer.text, (answer.hl7_code, answer.hl7_text, "HL70357")))
    place = (*_place(fault), "", "", "")[:3]
    return writer.delimiters.component.join([*map(writer.text, place), code])


def _place(fault: Fault) -> tuple[str, ...]:
    return tuple(str(part) for part in fault.location if part)


def _before(version: str, limit: tuple[int, ...]) -> bool:
    """Tell whether a version is older; one that is missing or odd is taken as recent."""
    numbers = version.split(".")
    if not version or not all(n.isascii() and n.isdecimal() and len(n) < 4 for n in numbers):
        return False
    return tuple(map(int, numbers)) < limit
