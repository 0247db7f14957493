"""Over real sockets on a free port; the answering function is the only stand-in."""

import asyncio
import errno
import logging
import socket
import threading

import pytest

from integration.hl7v2.ack import read_acknowledgement
from integration.hl7v2.framing import Frame, Framer, Junk, frame
from integration.hl7v2.settings import MllpSettings
from integration.listeners import connection, mllp
from integration.listeners.connection import MAX_JUNK
from integration.listeners.mllp import serve_mllp
from tests.patience import PATIENCE_S

MSG = b"MSH|^~\\&|A|B|||20260101||ADT^A01|%d|P|2.6\r"


class Answers:
    """Replies `re:` and the payload; remembers what it got."""

    def __init__(self):
        self.received = []

    def __call__(self, received):
        self.received.append(received)
        if isinstance(received, Junk):
            return b"junk"
        return b"re:" + received.payload


def serve(settings, answer, refuse=lambda *_: None):
    return serve_mllp(settings, lambda received, _peer: answer(received), refuse)


def run(answer, conversation, **settings):
    """Serve, converse, stop."""

    async def main():
        listener = await serve(MllpSettings(**({"port": 0} | settings)), answer)
        try:
            return await conversation(listener)
        finally:
            await listener.stop()

    return asyncio.run(main())


async def connect(listener):
    return await asyncio.open_connection("127.0.0.1", listener.port)


async def replies(reader, count=None):
    """Read `count` replies, or all until the listener closes."""
    framer, got = Framer(10_000), []
    while count is None or len(got) < count:
        data = await reader.read(1000)
        if not data:
            break
        got += [received.payload for received in framer.feed(data)]
    return got


async def close(writer):
    writer.close()
    await writer.wait_closed()


def test_messages_of_a_connection_are_answered_in_their_order():
    answers = Answers()

    async def conversation(listener):
        reader, writer = await connect(listener)
        writer.write(frame(b"1") + frame(b"2")[:2])
        got = await replies(reader, 1)
        writer.write(frame(b"2")[2:] + frame(b"3"))
        got += await replies(reader, 2)
        await close(writer)
        return got

    assert run(answers, conversation) == [b"re:1", b"re:2", b"re:3"]
    assert answers.received == [Frame(b"1"), Frame(b"2"), Frame(b"3")]


def test_the_next_message_waits_for_the_answer_to_the_last():
    busy, most = [0], [0]

    def answer(received):
        busy[0] += 1
        most[0] = max(most[0], busy[0])
        threading.Event().wait(0.02)
        busy[0] -= 1
        return received.payload

    async def conversation(listener):
        reader, writer = await connect(listener)
        writer.write(b"".join(frame(b"%d" % n) for n in range(8)))
        got = await replies(reader, 8)
        await close(writer)
        return got

    assert run(answer, conversation) == [b"%d" % n for n in range(8)]
    assert most[0] == 1


def test_one_slow_answer_does_not_hold_up_another_connection():
    release = threading.Event()

    def answer(received):
        if received.payload == b"slow":
            release.wait(PATIENCE_S)
        return received.payload

    async def conversation(listener):
        slow_reader, slow_writer = await connect(listener)
        slow_writer.write(frame(b"slow"))
        reader, writer = await connect(listener)
        writer.write(frame(b"quick"))
        got = await replies(reader, 1)
        release.set()
        got += await replies(slow_reader, 1)
        await close(writer)
        await close(slow_writer)
        return got

    assert run(answer, conversation) == [b"quick", b"slow"]


def test_junk_is_handed_on_and_the_next_message_still_answered():
    answers = Answers()

    async def conversation(listener):
        reader, writer = await connect(listener)
        writer.write(b"noise" + frame(b"1"))
        got = await replies(reader, 2)
        await close(writer)
        return got

    assert run(answers, conversation) == [b"junk", b"re:1"]
    assert [type(r) for r in answers.received] == [Junk, Frame]


def test_too_much_junk_ends_the_connection():
    answers = Answers()

    async def conversation(listener):
        reader, writer = await connect(listener)
        writer.write(b"no VT\x1c\r" * (MAX_JUNK + 5))
        got = await replies(reader)
        await close(writer)
        return got

    assert run(answers, conversation) == [b"junk"] * MAX_JUNK
    assert len(answers.received) == MAX_JUNK


def test_a_40_mb_message_is_refused_and_the_listener_lives_on():
    answers = Answers()

    async def conversation(listener):
        reader, writer = await connect(listener)
        writer.write(b"\x0b" + b"x" * 40_000_000 + b"\x1c\r" + frame(b"after"))
        got = await replies(reader, 2)
        await close(writer)
        return got

    assert run(answers, conversation) == [b"junk", b"re:after"]
    too_large = answers.received[0]
    assert (too_large.reason, too_large.size) == ("message-too-large", 40_000_000)
    assert len(too_large.data) == 65_536


def test_a_frame_without_cr_is_answered_after_a_moment():
    async def conversation(listener):
        reader, writer = await connect(listener)
        writer.write(b"\x0b1\x1c")
        got = await replies(reader, 1)
        await close(writer)
        return got

    assert run(Answers(), conversation) == [b"re:1"]


def test_a_sender_that_closes_its_side_at_once_is_still_answered():
    async def conversation(listener):
        reader, writer = await connect(listener)
        writer.write(frame(b"1"))
        writer.write_eof()
        got = await replies(reader)
        await close(writer)
        return got

    assert run(Answers(), conversation) == [b"re:1"]


def test_what_is_unfinished_at_the_end_is_handed_on():
    answers = Answers()

    async def conversation(listener):
        reader, writer = await connect(listener)
        writer.write(b"\x0bMSH|half")
        writer.write_eof()
        got = await replies(reader)
        await close(writer)
        return got

    assert run(answers, conversation) == [b"junk"]
    assert answers.received[0].data == b"MSH|half"


def test_a_silent_connection_is_closed_without_a_word():
    answers = Answers()

    async def conversation(listener):
        reader, writer = await connect(listener)
        got = await replies(reader)
        await close(writer)
        return got

    assert run(answers, conversation, idle_timeout_s=0.05) == []
    assert answers.received == []


def test_a_fault_in_answering_is_told_as_ae_and_costs_nothing_else(caplog):
    def answer(received):
        if received.payload == MSG % 1:
            raise RuntimeError("PATIENT-CANARY")
        return b"fine"

    async def conversation(listener):
        reader, writer = await connect(listener)
        writer.write(frame(MSG % 1) + frame(b"no MSH but fine") + frame(MSG % 2))
        got = await replies(reader, 3)
        await close(writer)
        return got

    with caplog.at_level(logging.INFO):
        first, *others = run(answer, conversation)
    ack = read_acknowledgement(first)
    assert (ack.code, ack.control_id) == ("AE", "1")
    assert ack.texts == ("internal-error: the message could not be processed",)
    assert others == [b"fine", b"fine"]
    assert "could not be answered" in caplog.text


def test_a_fault_over_a_message_without_header_is_ae_too():
    def answer(_received):
        raise RuntimeError

    async def conversation(listener):
        reader, writer = await connect(listener)
        writer.write(frame(b"rubbish") + b"junk\x1c\r")
        got = await replies(reader, 2)
        await close(writer)
        return got

    acks = [read_acknowledgement(raw) for raw in run(answer, conversation)]
    assert [(ack.code, ack.control_id) for ack in acks] == [("AE", ""), ("AE", "")]


@pytest.mark.parametrize(("accept", "code"), [(b"", "AE"), (b"AL", "CE")])
def test_what_waits_too_long_for_its_turn_is_sent_back_at_once(monkeypatch, accept, code):
    monkeypatch.setattr(mllp, "_THREADS", 1)
    started, release, answered = threading.Event(), threading.Event(), []

    def answer(received):
        answered.append(received)
        started.set()
        release.wait(PATIENCE_S)
        return received.payload

    async def conversation(listener):
        slow_reader, slow_writer = await connect(listener)
        slow_writer.write(frame(b"slow"))
        await asyncio.to_thread(started.wait, PATIENCE_S)
        monkeypatch.setattr(mllp, "_PATIENCE_S", -1.0)  # from here on any time is too long
        reader, writer = await connect(listener)
        message = (MSG % 1).replace(b"|2.6", b"|2.6|||" + accept)
        writer.write(frame(message))
        release.set()
        got = await replies(reader, 1) + await replies(slow_reader, 1)
        await close(writer)
        await close(slow_writer)
        return got

    sent_back, slow = run(answer, conversation)
    ack = read_acknowledgement(sent_back)
    assert (ack.code, ack.control_id) == (code, "1")
    assert ack.texts == ("overloaded: send this message again later",)
    assert slow == b"slow"
    assert answered == [Frame(b"slow")]


def test_no_answer_means_silence():
    async def conversation(listener):
        reader, writer = await connect(listener)
        writer.write(frame(b"1"))
        writer.write_eof()
        got = await replies(reader)
        await close(writer)
        return got

    assert run(lambda _: None, conversation) == []


def test_more_senders_than_allowed_wait_for_their_turn():
    async def conversation(listener):
        reader, writer = await connect(listener)
        writer.write(frame(b"first"))
        got = await replies(reader, 1)
        next_reader, next_writer = await connect(listener)
        next_writer.write(frame(b"second"))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(next_reader.read(1), 0.2)
        await close(writer)
        got += await replies(next_reader, 1)
        await close(next_writer)
        return got

    assert run(Answers(), conversation, max_connections=1) == [b"re:first", b"re:second"]


def test_a_peer_that_resets_costs_only_its_own_connection(caplog):
    async def conversation(listener):
        raw = socket.create_connection(("127.0.0.1", listener.port))
        raw.sendall(b"\x0bhalf")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        raw.close()
        reader, writer = await connect(listener)
        writer.write(frame(b"1"))
        got = await replies(reader, 1)
        await close(writer)
        return got

    assert run(Answers(), conversation) == [b"re:1"]
    assert "Traceback" not in caplog.text


def test_an_answer_that_is_none_costs_only_its_own_connection(caplog):
    def answer(received):
        return 7 if received.payload == b"1" else b"fine"

    async def conversation(listener):
        reader, writer = await connect(listener)
        writer.write(frame(b"1"))
        assert await reader.read() == b""
        await close(writer)
        reader, writer = await connect(listener)
        writer.write(frame(b"2"))
        got = await replies(reader, 1)
        await close(writer)
        return got

    assert run(answer, conversation) == [b"fine"]
    assert "mllp connection broke" in caplog.text


def test_a_peer_that_never_reads_its_answers_is_given_up(monkeypatch):
    monkeypatch.setattr(connection, "WRITE_S", 0.2)
    started = threading.Event()

    async def conversation(listener):
        raw = socket.create_connection(("127.0.0.1", listener.port))
        with raw:
            raw.setblocking(False)
            await asyncio.get_running_loop().sock_sendall(raw, frame(b"1"))
            await asyncio.to_thread(started.wait, PATIENCE_S)
            (task,) = listener._connections
            await asyncio.wait([task])
        reader, writer = await connect(listener)
        writer.write(frame(b"2"))
        got = await replies(reader, 1)
        await close(writer)
        return got

    def answer(received):
        started.set()
        return b"x" * 50_000_000 if received.payload == b"1" else b"fine"

    assert run(answer, conversation) == [b"fine"]


def test_a_machine_out_of_file_descriptors_accepts_again_later(caplog):
    async def main():
        loop = asyncio.get_running_loop()
        accept, failures = loop.sock_accept, [OSError(errno.EMFILE, "too many open files")]

        async def sock_accept(listening):
            if failures:
                raise failures.pop()
            return await accept(listening)

        loop.sock_accept = sock_accept
        listener = await serve(MllpSettings(port=0), Answers())
        reader, writer = await connect(listener)
        writer.write(frame(b"1"))
        got = await replies(reader, 1)
        await close(writer)
        await listener.stop()
        return got

    assert asyncio.run(main()) == [b"re:1"]
    assert f"errno={errno.EMFILE}" in caplog.text


def test_stopping_finishes_the_message_in_progress_and_takes_no_other():
    started, release = threading.Event(), threading.Event()

    def answer(received):
        started.set()
        release.wait(PATIENCE_S)
        return received.payload

    async def main():
        listener = await serve(MllpSettings(port=0), answer)
        idle_reader, idle_writer = await connect(listener)
        reader, writer = await connect(listener)
        writer.write(frame(b"1") + frame(b"2"))
        await asyncio.to_thread(started.wait, PATIENCE_S)
        stopping = asyncio.create_task(listener.stop())
        assert await idle_reader.read() == b""
        release.set()
        got = await replies(reader)
        await stopping
        with pytest.raises(ConnectionRefusedError):
            await connect(listener)
        await close(writer)
        await close(idle_writer)
        return got

    assert asyncio.run(main()) == [b"1"]


def test_listens_on_loopback_unless_told_otherwise():
    async def conversation(listener):
        return listener._socket.getsockname()[0]

    assert run(Answers(), conversation) == "127.0.0.1"
