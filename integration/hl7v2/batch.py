"""Batches: FHS, BHS, messages, BTS, FTS (HL7 v2.5.1, 2.10.3, 2.15.2, 2.15.3, 2.15.6, 2.15.7).

A batch is an envelope: each message in it is stored and answered as if it had come alone, and the
answers go back in a batch of the same shape. Whoever opens an envelope has to close it, and the
counts in BTS-1 and FTS-1 have to be right: a batch that was cut must not pass for a whole one.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from integration.errors import Refused
from integration.hl7v2.ack import Writer
from integration.hl7v2.charsets import BOM, is_wide, narrow
from integration.hl7v2.header import Header, parse_batch_header
from integration.hl7v2.times import format_time

MAX_MESSAGES = 10_000
_MAX_DIGITS = 30  # BTS-1 and FTS-1 have ten
_NAMES = (b"FHS", b"BHS")
_NAMED = re.compile(rb"(?:FHS|BHS|MSH|BTS|FTS)(?![A-Za-z0-9+/=])")  # no line of base64


@dataclass(frozen=True)
class Group:
    """What stands between BHS and BTS; `header` is None where messages stand without them."""

    header: Header | None
    messages: list[bytes] = field(default_factory=list, repr=False)


@dataclass(frozen=True)
class Batch:
    """A checked batch; `header` is FHS, or None."""

    header: Header | None
    groups: tuple[Group, ...]


def is_batch(raw: bytes) -> bool:
    """Whether an envelope opens here; one in UTF-16 is not read."""
    return not is_wide(raw) and narrow(raw[:4096])[:3] in _NAMES


def split_batch(raw: bytes) -> Batch:
    """Return the messages of a batch, each with the bytes it came with.

    Raises:
        Refused: `batch-malformed`, `batch-incomplete`, `batch-count-mismatch`,
            `message-too-large` (more than MAX_MESSAGES), `msh-malformed` for FHS and BHS too.
    """
    reader = _Reader(BOM if raw.startswith(BOM) else b"")
    for line in _lines(raw):
        reader.take(line)
    return reader.finish()


def encode_batch_answer(
    batch: Batch, answers: Sequence[Sequence[bytes]], *, control_id: str, now: datetime
) -> bytes:
    """Return the answers to a batch's messages in a batch of its shape.

    Args:
        batch: that is answered.
        answers: for each group the answers to its messages.
        control_id: our own BHS-11 and FHS-11.
        now: aware.
    """
    stamp = control_id, now
    inner = b"".join(
        _wrapped(b"B", group.header, b"".join(told), len(told), stamp)
        for group, told in zip(batch.groups, answers, strict=True)
    )
    return _wrapped(b"F", batch.header, inner, len(batch.groups), stamp)


class _Reader:
    """Takes a batch line by line.

    A byte order mark before it (`mark`, or nothing) tells the character set of its messages too.
    """

    def __init__(self, mark: bytes) -> None:
        self._mark = mark
        self._file: Header | None = None
        self._groups: list[Group] = []
        self._lines: list[bytes] = []  # of the message under way
        self._open = False  # whether a BHS waits for its BTS
        self._closed = False  # whether FTS has come
        self._count = 0

    def take(self, line: bytes) -> None:
        """Take one line."""
        name = line[:3] if _NAMED.match(line) else b""
        if self._closed:
            raise Refused("batch-malformed", "something follows FTS")
        if name:
            self._end_message()
        if name == b"MSH":
            self._lines = [line]
        elif name == b"FHS":
            self._open_file(line)
        elif name == b"BHS":
            self._open_group(line)
        elif name == b"BTS":
            self._close_group(line)
        elif name == b"FTS":
            self._close_file(line)
        elif self._lines:
            self._lines.append(line)
        else:
            raise Refused("batch-malformed", "a segment belongs to no message")

    def finish(self) -> Batch:
        """Return the batch.

        Raises:
            Refused: `batch-incomplete`.
        """
        self._end_message()
        if self._open or (self._file is not None and not self._closed):
            raise Refused("batch-incomplete", "BTS or FTS is missing")
        return Batch(self._file, tuple(self._groups))

    def _end_message(self) -> None:
        if not self._lines:
            return
        if not self._open and not (self._groups and self._groups[-1].header is None):
            self._groups.append(Group(None))
        message = b"\r".join(self._lines) + b"\r"
        self._groups[-1].messages.append(message if message.isascii() else self._mark + message)
        self._lines = []
        self._count += 1
        if self._count > MAX_MESSAGES:
            raise Refused("message-too-large", f"more than {MAX_MESSAGES} messages in a batch")

    def _open_file(self, line: bytes) -> None:
        if self._file is not None or self._groups or self._open:
            raise Refused("batch-malformed", "FHS is not at the start")
        self._file = parse_batch_header(line)

    def _open_group(self, line: bytes) -> None:
        if self._open:
            raise Refused("batch-malformed", "BHS before the BTS of the last one")
        self._groups.append(Group(parse_batch_header(line)))
        self._open = True

    def _close_group(self, line: bytes) -> None:
        if not self._open:
            raise Refused("batch-malformed", "BTS without BHS")
        self._check("BTS", line, len(self._groups[-1].messages), self._groups[-1].header)
        self._open = False

    def _close_file(self, line: bytes) -> None:
        if self._open or self._file is None:
            raise Refused("batch-malformed", "FTS where no file ends")
        self._check("FTS", line, len(self._groups), self._file)
        self._closed = True

    @staticmethod
    def _check(name: str, line: bytes, found: int, header: Header | None) -> None:
        separator = header.delimiters.field if header else b"|"
        said = [*line.split(separator), b""][1].strip()
        if said and (not said.isdigit() or len(said) > _MAX_DIGITS or int(said) != found):
            raise Refused("batch-count-mismatch", f"{found} came, {name}-1 says otherwise")


def _lines(raw: bytes) -> Iterator[bytes]:
    for line in narrow(raw).replace(b"\n", b"\r").split(b"\r"):
        if line and not line.isspace():
            yield line


def _wrapped(
    kind: bytes, header: Header | None, inner: bytes, count: int, stamp: tuple[str, datetime]
) -> bytes:
    """Put answers between BHS and BTS (`kind` B) or FHS and FTS (F); without a header, nothing."""
    if header is None:
        return inner
    control_id, now = stamp
    writer = Writer(header.delimiters, header.codec)
    first = writer.segment(
        kind + b"HS",
        writer.delimiters.encoding_characters,
        writer.verbatim(header.receiving_application),
        writer.verbatim(header.receiving_facility),
        writer.verbatim(header.sending_application),
        writer.verbatim(header.sending_facility),
        writer.text(format_time(now)),
        *[b""] * 3,
        writer.text(control_id),
        writer.verbatim(header.control_id),
    )
    last = writer.segment(kind + b"TS", str(count).encode())
    return b"".join([first, b"\r", inner, last, b"\r"])
