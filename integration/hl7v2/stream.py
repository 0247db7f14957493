"""HL7 v2 messages in a file: one after the other, in MLLP frames, or in a batch's envelope."""

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import BinaryIO

from integration.errors import Refused
from integration.hl7v2.batch import is_batch

_AFTER = b"\x0b\x1c\r\n\t "
_BEFORE = _AFTER + b"\xef\xbb\xbf"  # a byte order mark; at the end such bytes are half a letter
_NEXT = re.compile(rb"[\x0b\x1c\r\n]MSH(?=[^A-Za-z0-9+/=\r\n])")
_BLOCK = 2**20


def is_hl7(head: bytes) -> bool:
    """Tell whether a file that begins so holds HL7 v2 messages."""
    return head.lstrip(_BEFORE)[:3] in (b"MSH", b"FHS", b"BHS")


def messages_in(stream: BinaryIO, max_bytes: int) -> Iterator[bytes]:
    """Yield the messages of a file, each as it stands there; a batch with its envelope as one.

    Raises:
        Refused: `message-too-large`: one message, or a batch, is larger than `max_bytes`.
    """
    held = stream.read(_BLOCK).lstrip(_BEFORE)
    if is_batch(held):
        held += stream.read(max_bytes + 1)
        _check_size(held, max_bytes)
        yield held.rstrip(_AFTER)
        return
    while block := stream.read(_BLOCK):
        *whole, held = _split(held + block)
        yield from whole
        _check_size(held, max_bytes)
    yield from (_ended(message) for message in _split(held) if message)


def _split(held: bytes) -> list[bytes]:
    """Cut before each MSH; the last part may go on."""
    starts = [0, *(found.start() + 1 for found in _NEXT.finditer(held))]
    whole = [_ended(held[start:end]) for start, end in pairwise(starts)]
    return [*whole, held[starts[-1] :]]


def _ended(message: bytes) -> bytes:
    """Return a message without what parted it from the next one."""
    return message.rstrip(_AFTER) + b"\r"


def _check_size(held: bytes, max_bytes: int) -> None:
    if len(held) > max_bytes:
        raise Refused("message-too-large", f"more than {max_bytes} bytes")
