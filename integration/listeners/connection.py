"""One sender's connection: blocks in, answers out, each thing within its time."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from ssl import SSLContext

from integration.hl7v2.framing import Framer, Junk, Received, frame
from integration.hl7v2.settings import MllpSettings
from integration.listeners.budget import Budget
from integration.security.tls import HANDSHAKE_RECORD, ServerTls, handshake_fault, names_in
from integration.senders import Peer

_log = logging.getLogger(__name__)

MAX_JUNK = 16  # a connection that brought so much junk is no HL7 sender
WRITE_S = 10.0  # a peer that takes no answer for so long is given up
_READ_BYTES = 64 * 1024
_SETTLE_S = 0.5  # how long after FS its CR may stay out
_GOODBYE_S = 2.0  # for a peer's half of the end of TLS


class _Refusal(Exception):
    """A connection that is not served; its text is the reason code, or empty: nothing came."""


@dataclass(frozen=True)
class Shared:
    """What all connections of a listener have in common.

    Attributes:
        settings: of the listener.
        tls: None: plain text.
        budget: for the bytes of their messages.
        reply_to: returns the reply to a block; empty or None for silence.
        refuse: records a connection that is not served, with the reason.
    """

    settings: MllpSettings
    tls: ServerTls | None
    budget: Budget
    reply_to: Callable[[Received, Peer], Awaitable[bytes | None]]
    refuse: Callable[[Peer, str], Awaitable[None]]


class Connection:
    """One sender.

    Attributes:
        socket: as accepted.
        peer: who it is; with the names of its certificate once they are verified.
        answering: whether a message of it is being answered.
        stopping: set it, and the connection ends after the message in progress.
    """

    def __init__(self, shared: Shared, accepted: socket.socket, peer: Peer) -> None:
        self._shared = shared
        self._framer = Framer(shared.settings.max_message_bytes)
        self._deadline: float | None = None  # of the message that has begun, in the loop's time
        self._junk = 0
        self.socket = accepted
        self.peer = peer
        self.answering = False
        self.stopping = False

    async def run(self) -> None:
        """Answer block after block until the sender goes, is silent too long, or is no sender."""
        try:
            reader, writer = await self._open()
        except _Refusal as refusal:
            if reason := str(refusal):
                await self._shared.refuse(self.peer, reason)
            return
        try:
            async for received in self._received(reader):
                self.answering = True
                await self._serve(received, writer)
                self.answering = False
                if self.stopping or self._junk >= MAX_JUNK:
                    break
        except OSError as error:
            _log.info(
                "mllp connection lost peer=%s error=%s", self.peer.address, type(error).__name__
            )
        finally:
            self._shared.budget.hold(self, 0)
            writer.close()
            try:
                async with asyncio.timeout(WRITE_S):
                    await writer.wait_closed()
            except OSError:  # a TimeoutError is one: the peer never reads its answers
                writer.transport.abort()

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Return the connection's streams, secured where that is asked for.

        Raises:
            _Refusal: with the reason; see `integration.security.tls`.
        """
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        tls = self._shared.tls
        if tls is None:
            return await _streams(self.socket)
        try:
            async with asyncio.timeout(tls.handshake_timeout_s):
                return await self._secured(tls)
        except TimeoutError:
            raise _Refusal("tls-handshake-timeout") from None
        except OSError as error:
            raise _Refusal(handshake_fault(error)) from None

    async def _secured(self, tls: ServerTls) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        first = await _peek(self.socket)
        if not first:  # a load balancer or a monitor that looks whether this port is open
            raise _Refusal
        if first != HANDSHAKE_RECORD:
            raise _Refusal("tls-plain-text")
        reader, writer = await _streams(
            self.socket, ssl=tls.context, ssl_shutdown_timeout=_GOODBYE_S
        )
        names = names_in(writer.get_extra_info("peercert"))
        self.peer = Peer(self.peer.address, names)
        return reader, writer

    async def _received(self, reader: asyncio.StreamReader) -> AsyncIterator[Received]:
        while True:
            try:
                async with asyncio.timeout_at(self._until()):
                    await self._shared.budget.room(self)
                    data = await reader.read(_READ_BYTES)
            except TimeoutError:
                if self._framer.ending:
                    for received in self._framer.settle():
                        yield received
                    self._begin_anew()
                    continue
                for received in self._framer.give_up():
                    yield received
                return
            for received in self._framer.feed(data) if data else self._framer.close():
                self._shared.budget.whole(self)
                yield received
                self._deadline = None
            self._begin_anew()
            if not data:
                return

    def _until(self) -> float:
        """Return when waiting for more ends: progress does not put a message's deadline off."""
        now = asyncio.get_running_loop().time()
        if self._framer.ending:
            return now + _SETTLE_S
        return self._deadline or now + self._shared.settings.idle_timeout_s

    def _begin_anew(self) -> None:
        """Note what is held of the next message, and when it has to be whole."""
        self._shared.budget.hold(self, self._framer.held_bytes)
        if not self._framer.begun:
            self._deadline = None
        elif self._deadline is None:
            now = asyncio.get_running_loop().time()
            self._deadline = now + self._shared.settings.message_timeout_s

    async def _serve(self, received: Received, writer: asyncio.StreamWriter) -> None:
        if isinstance(received, Junk):
            self._junk += 1
            told = (self.peer.address, received.reason, received.size)
            _log.warning("mllp junk peer=%s reason=%s bytes=%d", *told)
        reply = await self._shared.reply_to(received, self.peer)
        if reply:
            writer.write(frame(reply))
            async with asyncio.timeout(WRITE_S):
                await writer.drain()


async def _peek(connected: socket.socket) -> bytes:
    """Return the first byte of a connection and leave it there; empty at its end."""
    loop, readable = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(connected, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(connected)
    return connected.recv(1, socket.MSG_PEEK)


async def _streams(
    connected: socket.socket,
    *,
    ssl: SSLContext | None = None,
    ssl_shutdown_timeout: float | None = None,
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Return a connected socket's streams; reading pauses while nobody reads from them."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=_READ_BYTES)
    protocol = asyncio.StreamReaderProtocol(reader)
    transport, _ = await loop.connect_accepted_socket(
        lambda: protocol, connected, ssl=ssl, ssl_shutdown_timeout=ssl_shutdown_timeout
    )
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)
