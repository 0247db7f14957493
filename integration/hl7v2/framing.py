"""MLLP blocks in a byte stream, without I/O (HL7 v2 transport, MLLP release 1: VT ... FS CR).

A block is taken only when it is whole. Everything else that arrives is told as `Junk`, with its
size and hash, so that no byte goes by unrecorded; a peer cannot make the framer hold more than one
block of `max_bytes`.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum, auto

VT, FS, CR = 0x0B, 0x1C, 0x0D
KEPT_JUNK_BYTES = 64 * 1024
_STRAY = "bytes outside a block"


@dataclass(frozen=True)
class Frame:
    """One whole block.

    Attributes:
        payload: the bytes between VT and FS.
    """

    payload: bytes = field(repr=False)


@dataclass(frozen=True)
class Junk:
    """Bytes that are no block that may be taken.

    Attributes:
        data: as they came, without the block's own VT; the first 64 kB when more came.
        reason: `framing-invalid`, `message-too-large` or `message-timeout`.
        detail: what was wrong, in one sentence.
        size: bytes that came.
        sha256: hex digest over all that came.
    """

    data: bytes = field(repr=False)
    reason: str
    detail: str
    size: int
    sha256: str


Received = Frame | Junk


def frame(payload: bytes) -> bytes:
    """Return a message as an MLLP block."""
    return b"\x0b" + payload + b"\x1c\r"


class _State(Enum):
    OUTSIDE = auto()  # between blocks; only CR and LF belong here
    INSIDE = auto()  # after VT
    ENDING = auto()  # after a block's FS: the next byte tells whether the block ended


class Framer:
    """Cuts a stream into blocks; the result does not depend on how the stream was split.

    A block ends with FS CR; FS followed by the next block's VT, or by silence (`settle`), is taken
    too, since senders exist that leave the CR out. FS followed by anything else is content that
    MLLP forbids, so nobody knows where that block ends, and all of it is junk.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._state = _State.OUTSIDE
        self._pending = _Pending(KEPT_JUNK_BYTES, _STRAY)

    def feed(self, data: bytes) -> Iterator[Received]:
        """Yield what these bytes complete."""
        start = 0
        for at, mark in _marks(data):
            yield from self._text(data[start:at])
            yield from self._block_start() if mark == VT else self._block_end()
            start = at + 1
        yield from self._text(data[start:])

    def settle(self) -> Iterator[Received]:
        """Yield the block that lacks only its CR: the other side has gone quiet."""
        if self._state is _State.ENDING:
            yield self._whole()

    def close(self) -> Iterator[Received]:
        """Yield what is left: the other side has gone."""
        yield from self.settle()
        yield from self._rejected()

    def give_up(self) -> Iterator[Received]:
        """Yield what has begun, as junk: the other side takes too long to end it."""
        if self.begun:
            yield self._reset().junk("message-timeout", "the block did not end in time")

    @property
    def ending(self) -> bool:
        """Whether a block lacks only its CR; `settle` then takes it without."""
        return self._state is _State.ENDING

    @property
    def begun(self) -> bool:
        """Whether something has begun to arrive that has not ended."""
        return self._state is not _State.OUTSIDE or self._pending.says_something

    @property
    def held_bytes(self) -> int:
        """What is kept of it."""
        return len(self._pending.kept)

    def _text(self, data: bytes) -> Iterator[Received]:
        if not data:
            return
        if self._state is _State.ENDING:
            if data[0] == CR:
                yield self._whole()
                data = data[1:]
            else:
                self._forbidden_fs()
        self._pending.add(data)

    def _block_start(self) -> Iterator[Received]:
        yield from self.settle()
        yield from self._rejected()
        self._state = _State.INSIDE
        self._pending = _Pending(self._max_bytes, "a block that did not end")

    def _block_end(self) -> Iterator[Received]:
        if self._state is _State.INSIDE:
            self._state = _State.ENDING
            return
        if self._state is _State.ENDING:
            self._forbidden_fs()
        self._pending.add(b"\x1c")
        yield from self._rejected()

    def _forbidden_fs(self) -> None:
        self._pending.add(b"\x1c")
        self._pending.fault = "FS inside a block"
        self._state = _State.OUTSIDE

    def _whole(self) -> Received:
        pending = self._reset()
        if not pending.overflowed:
            return Frame(bytes(pending.kept))
        return pending.junk("message-too-large", f"more than {self._max_bytes} bytes")

    def _rejected(self) -> Iterator[Received]:
        pending = self._reset()
        if pending.says_something:
            yield pending.junk("framing-invalid", pending.fault)

    def _reset(self) -> "_Pending":
        pending, self._pending = self._pending, _Pending(KEPT_JUNK_BYTES, _STRAY)
        self._state = _State.OUTSIDE
        return pending


class _Pending:
    """Unfinished business: at most `limit` bytes are kept, the rest is counted and hashed."""

    def __init__(self, limit: int, fault: str) -> None:
        self._limit = limit
        self._digest = hashlib.sha256()  # fed only once the limit is passed
        self.kept = bytearray()
        self.size = 0
        self.fault = fault

    def add(self, data: bytes) -> None:
        fitted = not self.overflowed
        self.size += len(data)
        if not self.overflowed:
            self.kept += data
            return
        if fitted:
            self._digest.update(self.kept)
            del self.kept[KEPT_JUNK_BYTES:]
        self._digest.update(data)
        self.kept += data[: KEPT_JUNK_BYTES - len(self.kept)]

    @property
    def overflowed(self) -> bool:
        return self.size > self._limit

    @property
    def says_something(self) -> bool:
        """Whether it is more than the line ends that may stand between blocks."""
        return bool(self.kept.strip(b"\r\n"))

    def junk(self, reason: str, detail: str) -> Junk:
        if not self.overflowed:
            self._digest.update(self.kept)
        kept = bytes(self.kept[:KEPT_JUNK_BYTES])
        return Junk(kept, reason, detail, self.size, self._digest.hexdigest())


def _marks(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield (position, VT or FS) in order; each byte is looked at once for each of the two."""
    vt, fs = data.find(VT), data.find(FS)
    while vt >= 0 or fs >= 0:
        if fs < 0 or 0 <= vt < fs:
            yield vt, VT
            vt = data.find(VT, vt + 1)
        else:
            yield fs, FS
            fs = data.find(FS, fs + 1)
