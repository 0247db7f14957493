"""A message as segments and fields, still bytes: a waveform is never cut into one object a sample.

Delimiters are ASCII and every accepted character set keeps ASCII bytes, so cutting comes before
decoding; the whole message is checked against its character set once, at the start.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

from integration.errors import Refused
from integration.hl7v2.header import Delimiters, Header, codec_for, default_codec, strip_lead_in

_NAME = re.compile(rb"[A-Z][A-Z0-9]{2}")
_MAX_SEGMENTS = 50_000  # of one name
_MAX_PARTS = 64  # no segment or data type of the standard has more; what is behind is never read
_MAX_TEXT_BYTES = 4096
_NULL = b'""'  # "delete what you have": for a reader of one message the same as nothing


@dataclass(frozen=True)
class Segment:
    """One line.

    Attributes:
        name: `OBX`; "" for a line that is no segment, such as the rest of a broken one.
        ordinal: from 1 among segments of that name, as ERR-2 counts.
        fields: fields[n] is field n, fields[0] the name.
    """

    name: str
    ordinal: int
    fields: list[bytes] = field(repr=False)

    def field(self, number: int) -> bytes:
        """Return field `number`, b"" when it is absent or null."""
        value = self.fields[number] if number < len(self.fields) else b""
        return b"" if value == _NULL else value

    def at(self, number: int) -> tuple[str, int, int]:
        """Return a field's place, for ERR-2."""
        return self.name, self.ordinal, number


@dataclass(frozen=True)
class Message:
    """A message whose bytes agree with its character set.

    Raises:
        Refused: `charset-unsupported`, `charset-undecodable`.
    """

    raw: bytes = field(repr=False)
    header: Header
    default_charset: str

    def __post_init__(self) -> None:
        try:
            strip_lead_in(self.raw).decode(self.codec)
        except UnicodeDecodeError as error:
            detail = f"byte {error.start} does not belong to the message's character set"
            raise Refused("charset-undecodable", detail) from None

    @cached_property
    def codec(self) -> str:
        """Python codec of the texts."""
        return codec_for(self.header.charset, default_codec(self.raw, self.default_charset))

    @property
    def delimiters(self) -> Delimiters:
        """The message's own."""
        return self.header.delimiters

    def segments(self) -> Iterator[Segment]:
        """Yield the segments after MSH, whatever separates them: CR, LF or both.

        Raises:
            Refused: `message-too-large`.
        """
        counts = {"MSH": 1}
        lines = strip_lead_in(self.raw).replace(b"\n", b"\r").split(b"\r")
        for line in lines[1:]:
            if not line or line.isspace():
                continue
            fields = line.split(self.delimiters.field, _MAX_PARTS)
            known = _NAME.fullmatch(fields[0].strip())
            name = fields[0].strip().decode("ascii") if known else ""
            counts[name] = counts.get(name, 0) + 1
            if counts[name] > _MAX_SEGMENTS:
                raise Refused("message-too-large", f"more than {_MAX_SEGMENTS} segments of a kind")
            yield Segment(name, counts[name], fields)

    def components(self, value: bytes) -> list[str]:
        """Return a field's components, of its first repetition, as texts."""
        first = value.split(self.delimiters.repetition, 1)[0]
        return [self.text(c) for c in first.split(self.delimiters.component, _MAX_PARTS)]

    def subcomponents(self, value: bytes) -> list[str]:
        """Return a component's subcomponents as texts."""
        separator = self.delimiters.subcomponent
        return [
            self.text(s) for s in (value.split(separator, _MAX_PARTS) if separator else [value])
        ]

    def text(self, value: bytes) -> str:
        """Return a text with its escaped delimiters put back (HL7 v2.5.1, 2.7.1), trimmed.

        Raises:
            Refused: `field-malformed`: longer than any name, number or id.
        """
        if len(value) > _MAX_TEXT_BYTES:
            raise Refused("field-malformed", f"more than {_MAX_TEXT_BYTES} bytes in a short field")
        text = "" if value == _NULL else value.decode(self.codec)
        if self.delimiters.escape and self.delimiters.escape in value:
            escape = re.escape(self.delimiters.escape.decode("ascii"))
            text = re.sub(f"{escape}([FSTRE]){escape}", self._escaped, text)
        return text.strip()

    def _escaped(self, match: re.Match[str]) -> str:
        d = self.delimiters
        meaning = {
            "F": d.field,
            "S": d.component,
            "R": d.repetition,
            "E": d.escape,
            "T": d.subcomponent,
        }
        return meaning[match[1]].decode("ascii")


def part(parts: list[str], number: int) -> str:
    """Return component `number` from 1, "" when it is absent."""
    return parts[number - 1] if number <= len(parts) else ""
