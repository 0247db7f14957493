"""Time and memory of connections, over real sockets; see test_mllp for the rest."""

import asyncio
import contextlib
import socket
import subprocess
import sys
import time

import pytest

from integration.hl7v2.framing import Frame, Junk, frame
from integration.hl7v2.settings import MllpSettings
from integration.listeners.mllp import serve_mllp


class Site:
    """A listener that remembers what it was given."""

    def __init__(self, **settings):
        self.received, self.refused, self._writers = [], [], []
        self._settings = MllpSettings(**({"port": 0} | settings))

    def _answer(self, received, peer):
        self.received.append(received)
        return received.data[:20] if isinstance(received, Junk) else b"fine"

    async def __aenter__(self):
        def refuse(peer, reason):
            self.refused.append((peer.address, reason))

        self.listener = await serve_mllp(self._settings, self._answer, refuse)
        return self

    async def __aexit__(self, *_):
        for writer in self._writers:
            writer.transport.abort()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        await self.listener.stop()

    async def connect(self):
        reader, writer = await asyncio.open_connection("127.0.0.1", self.listener.port)
        self._writers.append(writer)
        return reader, writer

    @property
    def held(self):
        return self.listener._shared.budget._total

    @property
    def connections(self):
        return len(self.listener._connections)


def run(conversation, **settings):
    async def main():
        async with Site(**settings) as site:
            return await conversation(site)

    return asyncio.run(main())


async def until(condition):
    while not condition():  # noqa: ASYNC110 - what is waited for tells nobody
        await asyncio.sleep(0.01)


def clock():
    """Return a function that sets the running loop's clock forward."""
    loop = asyncio.get_running_loop()
    real, ahead = loop.time, [0.0]
    loop.time = lambda: real() + ahead[0]

    def forward(seconds):
        ahead[0] += seconds

    return forward


@pytest.mark.parametrize("start", [b"\x0bMSH|xx", b"xx"])
def test_what_only_trickles_in_is_told_and_its_sender_hung_up_on(start):
    async def conversation(site):
        forward = clock()
        reader, writer = await site.connect()
        for piece in (start, b"y", b"z"):
            before = site.held
            writer.write(piece)
            await until(lambda before=before: site.held > before)
            forward(400)
        answer = await reader.read()
        (junk,) = site.received
        return answer, junk.reason, junk.data

    answer, reason, data = run(conversation, message_timeout_s=1000)
    assert reason == "message-timeout"
    assert data == start.removeprefix(b"\x0b") + b"yz"
    assert answer == frame(data)


def test_each_message_has_a_deadline_of_its_own():
    async def conversation(site):
        forward = clock()
        _, writer = await site.connect()
        writer.write(b"\x0b")
        (connection,) = site.listener._connections.values()
        await until(lambda: connection._framer.begun)
        for n, rest in enumerate((b"1\x1c\r\x0b", b"2\x1c\r\x0b", b"3\x1c\r\r\n"), 1):
            forward(600)
            writer.write(rest)
            await until(lambda n=n: len(site.received) == n)
        forward(1200)  # between two messages no message is late
        writer.write(frame(b"4"))
        await until(lambda: len(site.received) == 4)
        return site.received

    received = run(conversation, message_timeout_s=1000, idle_timeout_s=10_000)
    assert received == [Frame(b"%d" % n) for n in range(1, 5)]


def test_while_large_messages_wait_small_ones_go_on():
    big = b"\x0b" + b"x" * 2**20

    async def conversation(site):
        senders = [await site.connect() for _ in range(6)]
        for _, writer in senders:
            writer.write(big)
        await until(lambda: site.held >= 2**20)
        held = site.held
        reader, writer = await site.connect()
        writer.write(frame(b"small"))
        assert await reader.readexactly(7) == frame(b"fine")
        for _, writer in senders:
            writer.write(b"\x1c\r")
        for reader, _ in senders:
            assert await reader.readexactly(7) == frame(b"fine")
        assert site.held == 0
        return held, len(site.received)

    held, answered = run(conversation, max_buffered_bytes=2**20)
    assert 2**20 <= held < 2 * 2**20 + 6 * 2 * 65_536
    assert answered == 7


def test_a_connection_that_ends_gives_back_what_it_held():
    async def conversation(site):
        _, writer = await site.connect()
        writer.write(b"\x0b" + b"x" * 2**20)
        await until(lambda: site.held >= 2**19)
        writer.transport.abort()
        await until(lambda: not site.connections)
        return site.held

    assert run(conversation, max_buffered_bytes=2**20) == 0


def test_one_address_cannot_take_all_connections():
    async def conversation(site):
        pairs = [await site.connect() for _ in range(2)]
        for _, writer in pairs:
            writer.write(frame(b"1"))
        for reader, _ in pairs:
            await reader.readexactly(7)
        reader, writer = await site.connect()
        assert await reader.read() == b""
        pairs[0][1].close()
        await until(lambda: site.connections == 1)
        reader, writer = await site.connect()
        writer.write(frame(b"2"))
        assert await reader.readexactly(7) == frame(b"fine")
        return site.refused

    assert run(conversation, max_connections_per_peer=2) == [("127.0.0.1", "too-many-connections")]


@pytest.mark.parametrize("noise", [b"\r\n", b"\n" * 10])
def test_line_ends_between_messages_begin_nothing(noise):
    async def conversation(site):
        reader, writer = await site.connect()
        writer.write(frame(b"1") + noise)
        await reader.readexactly(7)
        forward = clock()
        forward(1200)
        writer.write(frame(b"2"))
        return await reader.readexactly(7), site.received

    answer, received = run(conversation, message_timeout_s=1000, idle_timeout_s=10_000)
    assert answer == frame(b"fine")
    assert received == [Frame(b"1"), Frame(b"2")]


def test_keepalive_is_on():
    async def conversation(site):
        reader, writer = await site.connect()
        writer.write(frame(b"1"))
        await reader.readexactly(7)
        (connection,) = site.listener._connections.values()
        return connection.socket.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)

    assert run(conversation) != 0


LISTENER = """
import asyncio
from integration.hl7v2.settings import MllpSettings
from integration.listeners.mllp import serve_mllp

async def main():
    settings = MllpSettings(port=0, max_buffered_bytes=16 * 2**20)
    listener = await serve_mllp(settings, lambda *_: b"fine", lambda *_: None)
    print(listener.port, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""
HALF_OF_8_MB = b"\x0b" + b"x" * (4 * 2**20)


@pytest.fixture
def process():
    command = [sys.executable, "-c", LISTENER]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def resident_mib(pid):
    told = subprocess.run(
        ["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, check=True, text=True
    )
    return int(told.stdout) / 1024


def push(senders, data, enough):
    """Send as much as the listener, and the system between, takes: at least `enough` bytes."""
    sent, moved_at = dict.fromkeys(senders, 0), time.monotonic()
    while sum(sent.values()) < enough or time.monotonic() - moved_at < 0.5:
        for sender in senders:
            with contextlib.suppress(BlockingIOError):
                if moved := sender.send(memoryview(data)[sent[sender] :]):
                    sent[sender] += moved
                    moved_at = time.monotonic()


def test_memory_stays_flat_under_64_halves_of_large_messages(process):
    port = int(process.stdout.readline())
    before = resident_mib(process.pid)
    with contextlib.ExitStack() as stack:
        senders = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(64)
        ]
        for sender in senders:
            sender.setblocking(False)
        push(senders, HALF_OF_8_MB, enough=64 * 2**20)
        grown = resident_mib(process.pid) - before
        with socket.create_connection(("127.0.0.1", port)) as small:
            small.sendall(frame(b"small"))
            assert small.recv(100) == frame(b"fine")
    # 16 MiB of budget; at each of 64 connections two blocks of 64 KiB, and what asyncio reads
    # ahead: 128 KiB before it pauses, and 256 KiB at once; twice that for any allocator. Without
    # the budget it would hold 256 MiB.
    assert grown < 2 * (16 + 64 * (2 * 64 + 128 + 256) / 1024)
