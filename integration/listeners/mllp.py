"""The MLLP listener: a shell that reads blocks, has each answered, and writes the answer.

One message at a time on a connection, its answer before the next is read, so a sender is slowed to
the pace of the store and its order is kept. A fault in answering costs one message, never the
listener. Logs name peers, sizes and reasons, never content.
"""

import asyncio
import contextlib
import logging
import socket
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from integration.config import MllpSettings
from integration.errors import Refused
from integration.hl7v2.ack import Fault, acknowledge
from integration.hl7v2.framing import Frame, Framer, Junk, Received, frame
from integration.hl7v2.header import parse_header

_log = logging.getLogger(__name__)

Answer = Callable[[Received], bytes | None]
_ReplyTo = Callable[[Received], Awaitable[bytes | None]]

MAX_JUNK = 16  # a connection that brought so much junk is no HL7 sender
_THREADS = 8  # answers in the making at the same time, over all connections
_READ_BYTES = 64 * 1024
_SETTLE_S = 0.5  # how long after FS its CR may stay out
_WRITE_S = 10.0  # a peer that takes no answer for so long is given up
_BACKLOG = 128


class MllpListener:
    """A listening socket and its connections.

    Attributes:
        port: the port in use.
    """

    def __init__(self, settings: MllpSettings, answer: Answer) -> None:
        """Take what every connection needs; `serve_mllp` starts it.

        Args:
            settings: of the listener.
            answer: returns the reply to a block; empty or None for silence; called in a thread, may
                block, and has to have stored the message when it returns a positive reply.
        """
        self._settings = settings
        self._answer = answer
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="mllp")
        self._free = asyncio.Semaphore(settings.max_connections)
        self._connections: dict[asyncio.Task[None], _Connection] = {}
        self._socket = _listening_socket(settings.host, settings.port)
        self.port: int = self._socket.getsockname()[1]
        self._accepting = asyncio.create_task(self._accept())

    async def stop(self) -> None:
        """Take no more connections, finish the messages in progress, close everything."""
        self._accepting.cancel()
        await asyncio.wait([self._accepting])
        self._socket.close()
        for task, connection in self._connections.items():
            connection.stopping = True
            if not connection.answering:
                task.cancel()
        if self._connections:
            await asyncio.wait(list(self._connections))
        await asyncio.to_thread(self._pool.shutdown)

    async def _accept(self) -> None:
        """Accept while there is room; further senders wait in the backlog."""
        loop = asyncio.get_running_loop()
        while True:
            await self._free.acquire()
            try:
                accepted, address = await loop.sock_accept(self._socket)
            except OSError as error:  # out of file descriptors, or the peer has gone again
                self._free.release()
                _log.warning("mllp cannot accept: errno=%s", error.errno)
                await asyncio.sleep(0.2)
                continue
            peer = f"{address[0]}:{address[1]}"
            connection = _Connection(self._settings, self._reply_to, accepted, peer)
            task = asyncio.create_task(connection.run())
            self._connections[task] = connection
            task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._connections.pop(task).socket.close()  # in case it was cancelled before it began
        self._free.release()
        if not task.cancelled() and task.exception() is not None:
            _log.error("mllp connection broke", exc_info=task.exception())

    async def _reply_to(self, received: Received) -> bytes | None:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._pool, self._answer, received)
        except Exception:  # noqa: BLE001 - whatever it is, the sender is told and others go on
            _log.exception("mllp: a message could not be answered")
            return _internal_error(received)


async def serve_mllp(settings: MllpSettings, answer: Answer) -> MllpListener:
    """Start to listen; `settings.port` 0 takes a free port.

    Raises:
        OSError: the address cannot be bound.
    """
    return MllpListener(settings, answer)


class _Connection:
    """One sender."""

    def __init__(
        self, settings: MllpSettings, reply_to: _ReplyTo, accepted: socket.socket, peer: str
    ) -> None:
        self._idle_s = settings.idle_timeout_s
        self._reply_to = reply_to
        self.socket = accepted
        self._peer = peer
        self._framer = Framer(settings.max_message_bytes)
        self._junk = 0
        self.answering = False
        self.stopping = False

    async def run(self) -> None:
        """Answer block after block until the sender goes, is silent too long, or is no sender."""
        reader, writer = await _streams(self.socket)
        try:
            async for received in self._received(reader):
                self.answering = True
                await self._serve(received, writer)
                self.answering = False
                if self.stopping or self._junk >= MAX_JUNK:
                    break
        except OSError as error:
            _log.info("mllp connection lost peer=%s error=%s", self._peer, type(error).__name__)
        finally:
            writer.close()
            try:
                async with asyncio.timeout(_WRITE_S):
                    await writer.wait_closed()
            except OSError:  # a TimeoutError is one: the peer never reads its answers
                writer.transport.abort()

    async def _received(self, reader: asyncio.StreamReader) -> AsyncIterator[Received]:
        while True:
            try:
                async with asyncio.timeout(_SETTLE_S if self._framer.ending else self._idle_s):
                    data = await reader.read(_READ_BYTES)
            except TimeoutError:
                if self._framer.ending:
                    for received in self._framer.settle():
                        yield received
                    continue
                data = b""
            for received in self._framer.feed(data) if data else self._framer.close():
                yield received
            if not data:
                return

    async def _serve(self, received: Received, writer: asyncio.StreamWriter) -> None:
        if isinstance(received, Junk):
            self._junk += 1
            told = (self._peer, received.reason, received.size)
            _log.warning("mllp junk peer=%s reason=%s bytes=%d", *told)
        reply = await self._reply_to(received)
        if reply:
            writer.write(frame(reply))
            async with asyncio.timeout(_WRITE_S):
                await writer.drain()


async def _streams(
    accepted: socket.socket,
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Return a connected socket's streams; reading pauses while nobody reads from them."""
    loop = asyncio.get_running_loop()
    accepted.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    reader = asyncio.StreamReader(limit=_READ_BYTES)
    protocol = asyncio.StreamReaderProtocol(reader)
    transport, _ = await loop.connect_accepted_socket(lambda: protocol, accepted)
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


def _listening_socket(host: str, port: int) -> socket.socket:
    family, *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listening = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    listening.settimeout(0)
    return listening


def _internal_error(received: Received) -> bytes:
    """Return AE: nothing is wrong with the message, it may come again."""
    header = None
    with contextlib.suppress(Refused):
        header = parse_header(received.payload) if isinstance(received, Frame) else None
    fault = Fault("internal-error", "the message could not be processed")
    control_id = uuid.uuid4().hex[:20].upper()
    now = datetime.now(UTC)
    return acknowledge(header, "AE", faults=[fault], control_id=control_id, now=now)
