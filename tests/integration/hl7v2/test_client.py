import socket
import ssl
import threading
import time
from contextlib import suppress

import pytest

from integration.hl7v2.client import MllpClient
from integration.security.tls import client_context


def peer(*replies, read=1000):
    """Listen once; for each `replies` read something and send the bytes; then close."""
    listening = socket.create_server(("127.0.0.1", 0))
    got = []

    def serve():
        with listening, listening.accept()[0] as connection, suppress(ConnectionError):
            for reply in replies:
                got.append(connection.recv(read))
                for piece in reply:
                    connection.sendall(piece)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    return listening.getsockname()[1], got, thread


def test_a_message_and_its_answer_on_one_connection():
    port, got, thread = peer([b"\x0bA1", b"\x1c", b"\r"], [b"\x0bA2\x1c\r"])
    with MllpClient("127.0.0.1", port) as client:
        assert client.exchange(b"M1") == b"A1"
        assert client.exchange(b"M2") == b"A2"
    thread.join()
    assert got == [b"\x0bM1\x1c\r", b"\x0bM2\x1c\r"]


def test_noise_before_the_answer_is_passed_over():
    port, _, thread = peer([b"welcome\r\n\x0bA1\x1c\r"])
    with MllpClient("127.0.0.1", port) as client:
        assert client.exchange(b"M1") == b"A1"
    thread.join()


def test_a_listener_that_goes_away():
    port, _, thread = peer([b"\x0bhalf"])
    with (
        MllpClient("127.0.0.1", port) as client,
        pytest.raises(ConnectionError, match="without an answer"),
    ):
        client.exchange(b"M1")
    thread.join()


@pytest.mark.parametrize(
    "payload", [b"M1", bytes(2**24)], ids=["small", "larger than what the system takes unread"]
)
def test_a_listener_that_neither_reads_nor_answers(payload):
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        MllpClient("127.0.0.1", silent.getsockname()[1], timeout_s=0.05) as client,
        pytest.raises(TimeoutError),
    ):
        client.exchange(payload)


def test_an_answer_that_does_not_end():
    noise = (time.sleep(0.02) or b"." for _ in range(100))
    port, _, thread = peer(noise)
    with MllpClient("127.0.0.1", port, timeout_s=0.2) as client, pytest.raises(TimeoutError):
        client.exchange(b"M1")
    thread.join()


def test_all_addresses_of_a_name_take_no_longer_than_one(silent_port, monkeypatch):
    found = socket.getaddrinfo("127.0.0.1", silent_port, type=socket.SOCK_STREAM)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: found * 3)
    start = time.monotonic()
    with pytest.raises(TimeoutError):
        MllpClient("many", silent_port, timeout_s=0.6)
    assert time.monotonic() - start < 1.2


def test_nobody_there(closed_port):
    with pytest.raises(ConnectionRefusedError):
        MllpClient("127.0.0.1", closed_port)


def test_what_speaks_no_tls_is_no_connection():
    port, _, thread = peer([b"HTTP/1.1 400\r\n\r\n"])
    with pytest.raises(ssl.SSLError):
        MllpClient("127.0.0.1", port, 10, client_context())
    thread.join()
