"""A message as segments and fields, still bytes: a waveform is never cut into one object a sample.

Delimiters are ASCII and `charsets.readable` leaves no other meaning to their bytes, so cutting
comes before decoding; the whole message is checked against its character set once, at the start.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from integration.errors import Refused
from integration.hl7v2.charsets import decoded, readable
from integration.hl7v2.header import Delimiters, Header

_NAME = re.compile(rb"[A-Z][A-Z0-9]{2}")
_MAX_SEGMENTS = 50_000  # of one name
_MAX_LINES = 400_000  # that are no segment: a file in base64, a line each 76 characters
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

    Attributes:
        raw: what stood in the frame.
        header: its MSH.
        default_charset: Python codec where MSH-18 is empty.
        dialect: the sender's own word for a lead, a code or a name -> the lead.

    Raises:
        Refused: `charset-unsupported`, `charset-undecodable`.
    """

    raw: bytes = field(repr=False)
    header: Header
    default_charset: str
    dialect: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _ = self._readable

    @cached_property
    def _readable(self) -> tuple[bytes, str]:
        escape = self.header.delimiters.escape
        return readable(self.raw, self.header.charsets, self.default_charset, escape)

    @cached_property
    def codec(self) -> str:
        """Python codec of the fields' bytes."""
        return self._readable[1]

    @cached_property
    def delimiters(self) -> Delimiters:
        """The message's own."""
        return self.header.delimiters

    def segments(self) -> Iterator[Segment]:
        """Yield the segments after MSH, whatever separates them: CR, LF or both.

        Raises:
            Refused: `message-too-large`.
        """
        counts = {"MSH": 1}
        lines = self._readable[0].replace(b"\n", b"\r").split(b"\r")
        for line in lines[1:]:
            if not line or line.isspace():
                continue
            fields = line.split(self.delimiters.field, _MAX_PARTS)
            known = _NAME.fullmatch(fields[0].strip())
            name = fields[0].strip().decode("ascii") if known else ""
            counts[name] = counts.get(name, 0) + 1
            if counts[name] > (_MAX_SEGMENTS if name else _MAX_LINES):
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

    def in_our_words(self, identifier: list[str]) -> list[str]:
        """Return an identifier with the sender's own words for leads replaced by the leads."""
        return [self.dialect.get(text, text) for text in identifier]

    def text(self, value: bytes) -> str:
        """Return a text with its escaped delimiters put back (HL7 v2.5.1, 2.7.1), trimmed.

        Raises:
            Refused: `field-malformed`: longer than any name, number or id.
        """
        if (known := self._texts.get(value)) is not None:
            return known
        if len(value) > _MAX_TEXT_BYTES:
            raise Refused("field-malformed", f"more than {_MAX_TEXT_BYTES} bytes in a short field")
        self._texts[value] = text = self.free_text(value, _MAX_TEXT_BYTES)
        return text

    @cached_property
    def _texts(self) -> dict[bytes, str]:
        """Short texts met before: an ECG repeats its few codes and units hundreds of times."""
        return {}

    def free_text(self, value: bytes, limit: int) -> str:
        """Return up to `limit` characters of a text of any length, escapes put back, trimmed."""
        if not value or value == _NULL:
            return ""
        text = value.decode(self.codec)
        escape = self.delimiters.escape
        if escape and escape in value:
            text = self._escapes.sub(self._unescaped, text)
        return text.strip()[:limit]

    @cached_property
    def _escapes(self) -> re.Pattern[str]:
        mark = re.escape(self.delimiters.escape.decode("ascii"))
        one = rf"{mark}X(?:[0-9A-Fa-f]{{2}})+{mark}"
        return re.compile(rf"((?:{one})+)|{mark}(?:([FSTREP])|\.(?:br|sp\d*)){mark}")

    def _unescaped(self, match: re.Match[str]) -> str:
        """Return what an escape stands for (HL7 v2.5.1, 2.7): bytes, a character, or a new line.

        A character's bytes may be escaped together or one by one.
        """
        if match[1]:
            escape = self.delimiters.escape.decode("ascii")
            digits = match[1].replace(f"{escape}X", "").replace(escape, "")
            return decoded(bytes.fromhex(digits), self.codec)
        if match[2]:
            d = self.delimiters
            order = (d.field, d.component, d.subcomponent, d.repetition, d.escape, d.truncation)
            return order["FSTREP".index(match[2])].decode("ascii")
        return "\n"


def part(parts: list[str], number: int) -> str:
    """Return component `number` from 1, "" when it is absent."""
    return parts[number - 1] if number <= len(parts) else ""
