"""The header segment: delimiters, sender, control id, character set (HL7 v2.5.1, 2.15.9).

Read apart from the body, so that a message whose body is refused is still answered by its id.
"""

from dataclasses import dataclass, field

from integration.errors import Refused

_MAX_HEADER_BYTES = 64 * 1024
_MAX_CONTROL_ID = 199  # MSH-10 since v2.7; older versions allow 20, which senders exceed
_BOM = b"\xef\xbb\xbf"
_NUMBER_CHARACTERS = b"+-."  # as delimiters they would cut numbers

# HL7 table 0211 and spellings met in the field, without punctuation -> Python codec. All of them
# leave ASCII bytes alone, so that a message can be cut at its delimiters before it is decoded.
_CODECS = {
    "ASCII": "ascii",
    "USASCII": "ascii",
    "ISOIR6": "ascii",
    "UNICODEUTF8": "utf-8",
    "UTF8": "utf-8",
    "ISOIR192": "utf-8",
    "ISOIR100": "iso8859-1",
    "ISOIR101": "iso8859-2",
    "ISOIR109": "iso8859-3",
    "ISOIR110": "iso8859-4",
    "ISOIR144": "iso8859-5",
    "ISOIR127": "iso8859-6",
    "ISOIR126": "iso8859-7",
    "ISOIR138": "iso8859-8",
    "ISOIR148": "iso8859-9",
}
for _part in (*range(1, 10), 15):
    for _prefix in ("8859", "ISO8859", "UNICODE8859"):
        _CODECS[f"{_prefix}{_part}"] = f"iso8859-{_part}"


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
        charset: MSH-18, first repetition, or "".
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
    charset: str
    _component: str = field(default="^", repr=False)

    @property
    def sender(self) -> str:
        """`MSH-3^MSH-4`, of each its first component that says something."""
        parts = (self.sending_application, self.sending_facility)
        return "^".join(next(filter(None, p.split(self._component)), "") for p in parts)


def strip_lead_in(raw: bytes) -> bytes:
    """Return the message without a byte order mark and blank bytes before it."""
    return raw.removeprefix(_BOM).lstrip(b" \t\r\n")


def default_codec(raw: bytes, configured: str) -> str:
    """Return the codec of a message whose MSH-18 is empty: a byte order mark says UTF-8."""
    return "utf-8" if raw.startswith(_BOM) else configured


def codec_for(charset: str, default: str) -> str:
    """Return the Python codec for MSH-18.

    Raises:
        Refused: `charset-unsupported`.
    """
    key = "".join(c for c in charset.upper() if c.isalnum())
    if not key:
        return default
    if key not in _CODECS:
        raise Refused("charset-unsupported", f"MSH-18 names {charset[:32]!r}", ("MSH", 1, 18))
    return _CODECS[key]


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
    fields = line.split(delimiters.field)
    if any(byte < 0x20 or byte == 0x7F for byte in line):
        raise Refused("msh-malformed", "MSH holds control characters", ("MSH", 1, 0))
    charset = _first(fields, 18, delimiters.repetition)
    codec = _codec_that_works(line, charset, default_codec(raw, default_charset))
    component = delimiters.component.decode("ascii")
    text = [f.decode(codec).strip() for f in fields] + [""] * 19
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
        charset=charset.decode("latin-1"),
        _component=component,
    )


def _first_line(raw: bytes) -> bytes:
    start = strip_lead_in(raw[:_MAX_HEADER_BYTES])
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


def _first(fields: list[bytes], number: int, repetition: bytes) -> bytes:
    """Return the first repetition of MSH's field `number`; MSH-1 is the separator itself."""
    field_bytes = fields[number - 1] if len(fields) >= number else b""
    return field_bytes.split(repetition)[0].strip()


def _codec_that_works(line: bytes, charset: bytes, default: str) -> str:
    """Return the codec that MSH declares, or Latin-1, which keeps every byte for the answer."""
    try:
        codec = codec_for(charset.decode("latin-1"), default)
        line.decode(codec)
    except (Refused, UnicodeDecodeError):
        return "latin-1"
    return codec
