"""The header segment: delimiters, sender, control id, character set (HL7 v2.5.1, 2.15.9).

Read apart from the body, so that a message whose body is refused is still answered by its id.
"""

from dataclasses import dataclass, field

from integration.errors import Refused
from integration.hl7v2.charsets import OPAQUE_CODECS, codec_for, default_codec, is_wide, narrow

_MAX_HEADER_BYTES = 64 * 1024
_MAX_CONTROL_ID = 199  # MSH-10 since v2.7; older versions allow 20, which senders exceed
_ESC = 0x1B  # starts a switch of character sets
_NUMBER_CHARACTERS = b"+-."  # as delimiters they would cut numbers


@dataclass(frozen=True)
class Delimiters:
    """Separators from MSH-1 and MSH-2; `escape` and `subcomponent` may be empty: not in use."""

    field: bytes = b"|"
    component: bytes = b"^"
    repetition: bytes = b"~"
    escape: bytes = b"\\"
    subcomponent: bytes = b"&"
    truncation: bytes = b""

    @property
    def encoding_characters(self) -> bytes:
        """MSH-2."""
        return self.component + self.repetition + self.escape + self.subcomponent + self.truncation


@dataclass(frozen=True)
class Header:
    """MSH. Texts stand as they came, their delimiters and escapes included.

    Attributes:
        delimiters: from MSH-1 and MSH-2.
        codec: Python codec that these texts were decoded with; encodes them back byte for byte.
        sending_application: MSH-3; MSH-4 to MSH-6 follow.
        sent_at: MSH-7.
        message_type: MSH-9.1, `ORU`.
        trigger: MSH-9.2, `R01`.
        control_id: MSH-10, or "".
        processing_id: MSH-11.
        version: MSH-12.1, or "".
        accept_ack: MSH-15; MSH-16 follows.
        charsets: MSH-18, its repetitions; at least one, which may be "".
        answer_charset: what MSH-18 of an answer in `codec` has to say.
    """

    delimiters: Delimiters
    codec: str
    sending_application: str
    sending_facility: str
    receiving_application: str
    receiving_facility: str
    sent_at: str
    message_type: str
    trigger: str
    control_id: str
    processing_id: str
    version: str
    accept_ack: str
    application_ack: str
    charsets: tuple[str, ...]
    answer_charset: str
    _component: str = field(default="^", repr=False)

    @property
    def sender(self) -> str:
        """`MSH-3^MSH-4`, of each its first component that says something."""
        parts = (self.sending_application, self.sending_facility)
        return "^".join(next(filter(None, p.split(self._component)), "") for p in parts)


def parse_header(raw: bytes, default_charset: str = "ascii") -> Header:
    """Read MSH.

    Args:
        raw: the whole message, or its beginning.
        default_charset: Python codec of messages whose MSH-18 is empty.

    Raises:
        Refused: `msh-missing`, `msh-malformed`, `batch-unsupported`.
    """
    line = _first_line(raw)
    delimiters = _delimiters(line)
    _refuse_controls(line)
    if is_wide(raw):
        text_line, codec = line.decode(), "utf-8"
    else:
        text_line, codec = _text_of(line, delimiters, default_codec(raw, default_charset))
    text = [f.strip() for f in text_line.split(delimiters.field.decode("ascii"))] + [""] * 19
    charsets = _charsets(text, delimiters)
    component = delimiters.component.decode("ascii")
    kind = [*text[8].split(component), ""]
    if len(text[9]) > _MAX_CONTROL_ID:
        raise Refused("msh-malformed", "MSH-10 is too long", ("MSH", 1, 10))
    return Header(
        delimiters=delimiters,
        codec=codec,
        sending_application=text[2],
        sending_facility=text[3],
        receiving_application=text[4],
        receiving_facility=text[5],
        sent_at=text[6],
        message_type=kind[0].upper(),
        trigger=kind[1].upper(),
        control_id=text[9],
        processing_id=text[10],
        version=text[11].split(component)[0],
        accept_ack=text[14].upper(),
        application_ack=text[15].upper(),
        charsets=charsets,
        answer_charset="UNICODE UTF-8" if is_wide(raw) else _known(charsets[0]),
        _component=component,
    )


def parse_batch_header(line: bytes) -> Header:
    """Read FHS or BHS: MSH's first fields, and the sender's id in field 11.

    Raises:
        Refused: `msh-malformed`.
    """
    name = line[:3].decode("latin-1")
    delimiters = _delimiters(line)
    _refuse_controls(line)
    separator = delimiters.field.decode("ascii")
    text = [f.strip() for f in line.decode("latin-1").split(separator)] + [""] * 12
    if len(text[10]) > _MAX_CONTROL_ID:
        raise Refused("msh-malformed", f"{name}-11 is too long", (name, 1, 11))
    return Header(
        delimiters=delimiters,
        codec="latin-1",
        sending_application=text[2],
        sending_facility=text[3],
        receiving_application=text[4],
        receiving_facility=text[5],
        sent_at=text[6],
        message_type="",
        trigger="",
        control_id=text[10],
        processing_id="",
        version="",
        accept_ack="",
        application_ack="",
        charsets=("",),
        answer_charset="",
        _component=delimiters.component.decode("ascii"),
    )


def _first_line(raw: bytes) -> bytes:
    start = narrow(raw if is_wide(raw) else raw[:_MAX_HEADER_BYTES])
    if start[:3] in (b"FHS", b"BHS", b"BTS", b"FTS"):
        raise Refused("batch-unsupported", "one message a frame")
    if start[:3] != b"MSH":
        raise Refused("msh-missing", "the message does not start with an MSH segment")
    return start.replace(b"\n", b"\r").split(b"\r", 1)[0]


def _delimiters(line: bytes) -> Delimiters:
    separator = line[3:4]
    characters = line[4:].split(separator, 1)[0] if separator else b""
    everything = separator + characters
    if (
        not 3 <= len(everything) <= 6
        or len(set(everything)) != len(everything)
        or not all(0x20 < c < 0x7F and not chr(c).isalnum() for c in everything)
        or set(everything) & set(_NUMBER_CHARACTERS)
    ):
        raise Refused("msh-malformed", "MSH-1 and MSH-2 are no delimiters", ("MSH", 1, 2))
    return Delimiters(separator, *(characters[i : i + 1] for i in range(5)))


def _refuse_controls(line: bytes) -> None:
    """Let nothing into an answer, which repeats the header, that its reader could trip over."""
    if any(byte < 0x20 or byte == 0x7F for byte in line if byte != _ESC):
        name = line[:3].decode("ascii")
        raise Refused("msh-malformed", f"{name} holds control characters", (name, 1, 0))


def _text_of(line: bytes, delimiters: Delimiters, default: str) -> tuple[str, str]:
    """Return MSH as text, and the codec that its own MSH-18 then names.

    In some sets half a character may look like a delimiter and shift MSH-18 away: each of those
    sets is tried, and is the right one when the text it makes names it. Where none fits, Latin-1
    keeps every byte for the answer.
    """
    plain = line.decode("latin-1")
    own = _declared(plain, delimiters, default)[:1]
    for codec in (*OPAQUE_CODECS, *own) if _ESC in line else (*own, *OPAQUE_CODECS):
        try:
            text = line.decode(codec)
        except UnicodeDecodeError:
            continue
        if codec in _declared(text, delimiters, default):
            return text, codec
    return plain, "latin-1"


def _declared(line: str, delimiters: Delimiters, default: str) -> list[str]:
    """Return the codecs that MSH-18 names; none when it names one that is not known."""
    fields = line.split(delimiters.field.decode("ascii"))
    try:
        return [codec_for(name, default) for name in _charsets(fields, delimiters)]
    except Refused:
        return []


def _known(charset: str) -> str:
    """Return a character set's name, or "" where an answer cannot claim it."""
    try:
        codec_for(charset, "ascii")
    except Refused:
        return ""
    return charset


def _charsets(fields: list[str], delimiters: Delimiters) -> tuple[str, ...]:
    """Return the repetitions of MSH-18; MSH-1 is the separator itself."""
    text = fields[17] if len(fields) > 17 else ""
    return tuple(name.strip() for name in text.split(delimiters.repetition.decode("ascii")))
