"""Against a real listener; the answering function decides what it says."""

import asyncio
import json
import socket
import threading
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest
from click.testing import CliRunner

from integration.cli import cli
from integration.cli.send import split_messages
from integration.hl7v2.ack import Fault, acknowledge
from integration.hl7v2.header import parse_header
from integration.hl7v2.settings import MllpSettings, TlsSettings
from integration.listeners.mllp import serve_mllp
from tests.private_ca import NAME, PrivateCa


def message(control_id, name="A"):
    return f"MSH|^~\\&|{name}|B|||20260101||ADT^A01|{control_id}|P|2.6\rPID|1||4711\r".encode()


def reply(to, code="AA", *faults):
    header = parse_header(to)
    return acknowledge(header, code, faults=faults, control_id="X", now=datetime.now(UTC))


def accept(received):
    return reply(received.payload)


@contextmanager
def listener(answer, tls=None):
    """A listener in a thread; yields its port."""
    ready, stop, ports = threading.Event(), threading.Event(), []

    async def main():
        server = await serve_mllp(
            MllpSettings(port=0, tls=tls), lambda r, _: answer(r), lambda *_: None
        )
        ports.append(server.port)
        ready.set()
        await asyncio.to_thread(stop.wait)
        await server.stop()

    thread = threading.Thread(target=asyncio.run, args=(main(),))
    thread.start()
    ready.wait()
    try:
        yield ports[0]
    finally:
        stop.set()
        thread.join()


def run(port, *arguments):
    return CliRunner().invoke(cli, ["send", "mllp", *map(str, arguments), "--port", str(port)])


@pytest.fixture
def file(tmp_path):
    def write(*messages, name="m.hl7"):
        path = tmp_path / name
        path.write_bytes(b"".join(messages))
        return path

    return write


def test_accepted_messages_end_with_status_0(file):
    one, two = file(message("C1"), name="1.hl7"), file(message("C2"), message("C3"), name="2.hl7")
    with listener(accept) as port:
        result = run(port, one, two)
    assert result.output == f"{one} C1 AA\n{two} C2 AA\n{two} C3 AA\n"
    assert result.exit_code == 0


def test_a_refusal_is_shown_and_ends_with_status_1(file):
    def answer(received):
        if b"|C1|" in received.payload:
            return reply(received.payload, "AR", Fault("lead-unknown", "no lead", ("OBX", 1, 3)))
        return accept(received)

    path = file(message("C1"), message("C2"))
    with listener(answer) as port:
        result = run(port, path)
    assert result.output == f"{path} C1 AR lead-unknown: no lead\n{path} C2 AA\n"
    assert result.exit_code == 1


def test_json(file):
    path = file(message("C1"))
    with listener(lambda r: reply(r.payload, "AE", Fault("overloaded", "later"))) as port:
        result = run(port, path, "--json")
    told = {"file": str(path), "control_id": "C1", "code": "AE", "texts": ["overloaded: later"]}
    assert json.loads(result.output) == {"sent": 1, "accepted": 0, "messages": [told]}
    assert result.exit_code == 1


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (lambda _: reply(message("C9")), "the answer is to another message"),
        (lambda _: b"HTTP/1.1 400", "unreadable answer: msh-missing"),
    ],
)
def test_an_answer_that_is_none_is_credited_to_no_message(file, answer, told):
    path = file(message("C1"), message("C2"))
    with listener(answer) as port:
        result = run(port, path)
    assert result.output == f"{path} C1 - {told}\n{path} C2 - {told}\n"
    assert result.exit_code == 1


def test_after_a_late_answer_the_next_message_has_a_connection_of_its_own(file):
    late = threading.Event()

    def answer(received):
        if b"|C1|" in received.payload:
            late.wait(20)
        else:
            late.set()
        return accept(received)

    path = file(message("C1"), message("C2"))
    with listener(answer) as port:
        result = run(port, path, "--timeout", "0.3")
    assert result.output == f"{path} C1 - no answer in time\n{path} C2 AA\n"


def test_a_listener_that_closes_without_an_answer(file):
    path = file(message("C1"))
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def hang_up():
            connection, _ = listening.accept()
            connection.recv(10_000)
            connection.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        result = run(listening.getsockname()[1], path)
        thread.join()
    assert "C1 - the listener closed the connection without an answer" in result.output
    assert result.exit_code == 1


def test_nobody_there_is_said_in_one_line(file, closed_port):
    result = run(closed_port, file(message("C1")))
    assert result.output == "Error: cannot connect: Connection refused\n"
    assert result.exit_code == 1


def test_what_is_no_message_is_sent_for_its_answer(file):
    path = file(b"\x0bPID|1\x1c\r")

    def answer(_):
        faults = [Fault("msh-missing", "no MSH")]
        return acknowledge(None, "AR", faults=faults, control_id="X", now=datetime.now(UTC))

    with listener(answer) as port:
        result = run(port, path)
    assert result.output == f"{path} - AR msh-missing: no MSH\n"


def test_many_messages_show_progress(file):
    path = file(*(message(f"C{n}") for n in range(20)))
    with listener(accept) as port:
        result = run(port, path)
    assert result.stdout.count(" AA\n") == 20
    assert "sending: 20 of 20" in result.stderr


@pytest.mark.parametrize("content", [b"", b"PID|1\r", b"some text about MSH|^~"])
def test_a_file_without_a_message_is_a_users_mistake(file, content):
    result = run(1, file(content))
    assert "holds no HL7 v2 message" in result.output
    assert result.exit_code == 2


def test_a_file_that_is_missing_is_a_users_mistake(tmp_path):
    result = run(1, tmp_path / "none.hl7")
    assert "does not exist" in result.output
    assert result.exit_code == 2


@pytest.fixture(scope="module")
def ca(tmp_path_factory):
    return PrivateCa(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def tls(ca):
    own = ca.issue("listener", "localhost", "127.0.0.1")
    return TlsSettings(certificate=own, key=own, client_ca=ca.file)


def test_over_mutual_tls(file, ca, tls):
    path, own = file(message("C1")), ca.issue("sender", NAME)
    with listener(accept, tls) as port:
        result = run(port, path, "--ca", ca.file, "--certificate", own)
    assert result.output == f"{path} C1 AA\n"
    assert result.exit_code == 0


def test_a_listener_that_refuses_our_certificate_is_told(file, ca, tls):
    path = file(message("C1"))
    with listener(accept, tls) as port:
        result = run(port, path, "--ca", ca.file)
    assert result.exit_code == 1
    assert f"{path} C1 - " in result.output or "cannot connect" in result.output


@pytest.mark.parametrize("options", [["--tls"], ["--ca"]])
def test_a_listener_that_nobody_vouches_for_gets_nothing(file, tmp_path, tls, options):
    received = []
    if options == ["--ca"]:
        options = ["--ca", PrivateCa(tmp_path).file]
    with listener(received.append, tls) as port:
        result = run(port, file(message("C1")), *options)
    assert "cannot connect" in result.output
    assert "CERTIFICATE_VERIFY_FAILED" in result.output
    assert result.exit_code == 1
    assert received == []


M1, M2 = message("C1"), message("C2", "MSH|")


@pytest.mark.parametrize(
    ("data", "messages"),
    [
        (M1, [M1]),
        (M1 + M2, [M1, M2]),
        (b"\r\n" + M1 + b"\r\n" + M2, [M1 + b"\r\n", M2]),
        (M1.replace(b"\r", b"\n") * 2, [M1.replace(b"\r", b"\n")] * 2),
        (b"\x0b" + M1 + b"\x1c\r\x0b" + M2 + b"\x1c\r", [M1, M2]),
        (b"\x0b" + M1 + b"\x1c\r\x0bhalf", [M1]),
        (b"FHS|^~\\&|\r" + M1, [M1]),
        (b"", []),
    ],
)
def test_the_messages_of_a_file(data, messages):
    assert split_messages(data) == messages
