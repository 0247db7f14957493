"""The MLLP listener: a shell that accepts connections and has each of their messages answered.

One message at a time on a connection, its answer before the next is read, so a sender is slowed to
the pace of the store and its order is kept. A fault in answering costs one message, never the
listener. Logs name peers, sizes and reasons, never content.
"""

import asyncio
import contextlib
import logging
import socket
import time
import uuid
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from integration.errors import Refused
from integration.hl7v2.ack import Fault, acknowledge
from integration.hl7v2.framing import Frame, Received
from integration.hl7v2.header import parse_header
from integration.hl7v2.modes import answers
from integration.hl7v2.settings import MllpSettings
from integration.listeners.budget import Budget
from integration.listeners.connection import Connection, Shared
from integration.security.tls import ServerTls
from integration.senders import Peer

_log = logging.getLogger(__name__)

Answer = Callable[[Received, Peer], bytes | None]
Refuse = Callable[[Peer, str], None]

_THREADS = 16  # answers in the making at the same time, over all connections
_PATIENCE_S = 10.0  # a message that waits longer for a thread is sent back: the store is too slow
_RELOAD_S = 5.0  # between two looks whether certificates have changed
_BACKLOG = 128


class MllpListener:
    """A listening socket and its connections.

    Attributes:
        port: the port in use.
    """

    def __init__(self, settings: MllpSettings, answer: Answer, refuse: Refuse) -> None:
        """Take what every connection needs; `serve_mllp` starts it.

        Args:
            settings: of the listener.
            answer: returns the reply to a block; empty or None for silence; called in a thread, may
                block, and has to have stored the message when it returns a positive reply.
            refuse: records a connection that is not served, with the reason; called in a thread.
        """
        self._settings = settings
        self._answer = answer
        self._refuse = refuse
        tls = ServerTls(settings.tls) if settings.tls else None
        self._shared = Shared(
            settings,
            tls,
            Budget(settings.max_buffered_bytes),
            self._reply_to,
            self._record_refusal,
        )
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="mllp")
        self._free = asyncio.Semaphore(settings.max_connections)
        self._connections: dict[asyncio.Task[None], Connection] = {}
        self._per_peer: Counter[str] = Counter()
        self._socket = _listening_socket(settings.host, settings.port)
        self.port: int = self._socket.getsockname()[1]
        self._running = [asyncio.create_task(self._accept())]
        if tls is not None:
            self._running.append(asyncio.create_task(self._reload(tls)))

    async def stop(self) -> None:
        """Take no more connections, finish the messages in progress, close everything."""
        for task in self._running:
            task.cancel()
        await asyncio.wait(self._running)
        self._socket.close()
        for connecting, connection in self._connections.items():
            connection.stopping = True
            if not connection.answering:
                connecting.cancel()
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
            self._start(accepted, Peer(address[0]))

    def _start(self, accepted: socket.socket, peer: Peer) -> None:
        connection = Connection(self._shared, accepted, peer)
        self._per_peer[peer.address] += 1
        crowded = self._per_peer[peer.address] > self._settings.max_connections_per_peer
        running = self._record_refusal(peer, "too-many-connections") if crowded else None
        task = asyncio.create_task(running or connection.run())
        self._connections[task] = connection
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        connection = self._connections.pop(task)
        connection.socket.close()  # in case it was cancelled before it began
        self._per_peer[connection.peer.address] -= 1
        if not self._per_peer[connection.peer.address]:
            del self._per_peer[connection.peer.address]
        self._free.release()
        if not task.cancelled() and task.exception() is not None:
            _log.error("mllp connection broke", exc_info=task.exception())

    async def _reload(self, tls: ServerTls) -> None:
        while True:
            await asyncio.sleep(_RELOAD_S)
            tls.reload()

    async def _reply_to(self, received: Received, peer: Peer) -> bytes | None:
        loop = asyncio.get_running_loop()
        asked = time.monotonic()

        def reply() -> bytes | None:
            if time.monotonic() - asked > _PATIENCE_S:
                return _not_stored(received, "overloaded", "send this message again later")
            return self._answer(received, peer)

        try:
            return await loop.run_in_executor(self._pool, reply)
        except Exception:  # noqa: BLE001 - whatever it is, the sender is told and others go on
            _log.exception("mllp: a message could not be answered")
            detail = "the message could not be processed"
            return _not_stored(received, "internal-error", detail)

    async def _record_refusal(self, peer: Peer, reason: str) -> None:
        _log.warning("mllp connection refused peer=%s reason=%s", peer.address, reason)
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._pool, self._refuse, peer, reason)


async def serve_mllp(settings: MllpSettings, answer: Answer, refuse: Refuse) -> MllpListener:
    """Start to listen; `settings.port` 0 takes a free port.

    Raises:
        OSError: the address cannot be bound.
        ConfigError: `tls-unusable`.
    """
    return MllpListener(settings, answer, refuse)


def _listening_socket(host: str, port: int) -> socket.socket:
    family, *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listening = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    listening.settimeout(0)
    return listening


def _not_stored(received: Received, reason: str, detail: str) -> bytes:
    """Return AE, in enhanced mode CE: nothing is wrong with the message, it may come again."""
    header = None
    with contextlib.suppress(Refused):
        header = parse_header(received.payload) if isinstance(received, Frame) else None
    code = next(iter(answers(header, "AE", stored=False)), None)
    if code is None:
        return b""
    control_id = uuid.uuid4().hex[:20].upper()
    faults = [Fault(reason, detail)]
    return acknowledge(header, code, faults=faults, control_id=control_id, now=datetime.now(UTC))
