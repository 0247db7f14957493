"""Mutual TLS from socket to store: who gets in, who does not, and what is recorded of it."""

import asyncio
import socket
import ssl
from datetime import UTC, datetime, timedelta

import pytest

from integration.config import Settings
from integration.hl7v2.ack import read_acknowledgement
from integration.hl7v2.client import MllpClient
from integration.hl7v2.framing import frame
from integration.hl7v2.settings import MllpSettings, SenderSettings, TlsSettings
from integration.intake import Hl7Intake
from integration.listeners import mllp
from integration.listeners.mllp import serve_mllp
from integration.security.tls import client_context
from integration.senders import senders_of
from tests.patience import PATIENCE_S, wait_for
from tests.private_ca import NAME, PrivateCa

ADT = b"MSH|^~\\&|CART-7|ED|||20260102||ADT^A01|%d|P|2.5\rPID|1||4711\r"
SENDERS = {"carts": SenderSettings(applications=("CART-*",), certificates=(NAME,))}


@pytest.fixture(scope="module")
def ca(tmp_path_factory):
    return PrivateCa(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def listener_pem(ca, tmp_path):
    path = tmp_path / "listener.pem"
    path.write_bytes(ca.issue("listener", "localhost").read_bytes())
    return path


@pytest.fixture
def handshake_s():
    """How long a handshake may take."""
    return PATIENCE_S


@pytest.fixture
def settings(ca, listener_pem, handshake_s):
    tls = TlsSettings(
        certificate=listener_pem,
        key=listener_pem,
        client_ca=ca.file,
        handshake_timeout_s=handshake_s,
    )
    return Settings(mllp=MllpSettings(port=0, tls=tls), senders=SENDERS)


@pytest.fixture
def run(settings, store):
    """A function that serves while a blocking conversation goes on in a thread."""

    def serve(conversation):
        async def main():
            intake = Hl7Intake(store, None, senders_of(settings))
            listener = await serve_mllp(settings.mllp, intake.answer, intake.refuse_connection)
            try:
                return await asyncio.to_thread(conversation, listener.port)
            finally:
                await listener.stop()

        return asyncio.run(main())

    return serve


def exchange(port, context, number=1):
    with MllpClient("localhost", port, PATIENCE_S, context) as client:
        return read_acknowledgement(client.exchange(ADT % number)).code


def refusals(store):
    return store.status(datetime.now(UTC)).refusals


def test_a_known_certificate_is_served(run, ca, store):
    own = client_context(ca.file, ca.issue("good", NAME))
    assert run(lambda port: exchange(port, own)) == "AA"
    assert refusals(store) == {}


def test_a_certificate_of_another_sender_may_not_speak_for_this_one(run, ca, store):
    own = client_context(ca.file, ca.issue("another", "cart8.hospital.example"))
    assert run(lambda port: exchange(port, own)) == "AR"
    assert refusals(store) == {"sender-not-allowed": 1}


def wrong_ca(ca, folder):
    return client_context(ca.file, PrivateCa(folder).issue("wrong", NAME))


def expired(ca, _):
    past = datetime.now(UTC) - timedelta(days=1)
    return client_context(ca.file, ca.issue("expired", NAME, not_after=past))


def without(ca, _):
    return client_context(ca.file)


def old_tls(ca, _):
    context = client_context(ca.file, ca.issue("old", NAME))
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    return context


STRANGERS = {
    "tls-certificate-untrusted": wrong_ca,
    "tls-certificate-expired": expired,
    "tls-certificate-missing": without,
    "tls-handshake-failed": old_tls,
}


@pytest.fixture(params=STRANGERS)
def stranger(request, ca, tmp_path):
    """A client that is not let in: the reason, its context."""
    return request.param, STRANGERS[request.param](ca, tmp_path)


def test_any_other_client_is_refused_and_recorded(run, store, stranger, caplog):
    reason, context = stranger

    def conversation(port):
        with pytest.raises(OSError, match=r"SSL|reset|closed|EOF|alert|UNSUPPORTED"):
            exchange(port, context)

    run(conversation)
    assert refusals(store) == {reason: 1}
    assert store.status(datetime.now(UTC)).messages["refused"] == 1
    assert f"connection refused peer=127.0.0.1 reason={reason}" in caplog.text


def test_plain_text_is_refused_and_recorded(run, store, caplog):
    def conversation(port):
        with socket.create_connection(("127.0.0.1", port)) as plain:
            plain.sendall(frame(ADT % 1))
            try:
                return plain.recv(1000)
            except ConnectionResetError:
                return b""

    assert run(conversation) == b""
    assert refusals(store) == {"tls-plain-text": 1}
    assert "reason=tls-plain-text" in caplog.text


@pytest.mark.parametrize("handshake_s", [0.2])
@pytest.mark.parametrize("said", [b"", b"\x16\x03\x01"])
def test_a_handshake_that_does_not_end_is_refused_and_recorded(run, store, said):
    def conversation(port):
        with socket.create_connection(("127.0.0.1", port)) as silent:
            silent.sendall(said)
            return silent.recv(1000)

    assert run(conversation) == b""
    assert refusals(store) == {"tls-handshake-timeout": 1}


def test_a_look_whether_the_port_is_open_is_no_event(run, ca, store, caplog):
    own = client_context(ca.file, ca.issue("good", NAME))

    def conversation(port):
        socket.create_connection(("127.0.0.1", port)).close()
        return exchange(port, own)

    assert run(conversation) == "AA"
    assert refusals(store) == {}
    assert "refused" not in caplog.text


def test_after_all_that_the_others_are_served(run, ca):
    own = client_context(ca.file, ca.issue("good", NAME))

    def conversation(port):
        with MllpClient("localhost", port, PATIENCE_S, own) as standing:
            first = standing.exchange(ADT % 1)
            for _ in range(3):
                socket.create_connection(("127.0.0.1", port)).close()
                with pytest.raises(OSError, match=r".*"):
                    exchange(port, client_context(ca.file))
            return [first, standing.exchange(ADT % 2)]

    assert [read_acknowledgement(raw).code for raw in run(conversation)] == ["AA", "AA"]


def served_name(port, context):
    """Return the serial number of the certificate that new connections are shown."""
    with (
        socket.create_connection(("localhost", port)) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secured,
    ):
        return secured.getpeercert()["serialNumber"]


def test_certificates_are_renewed_under_a_standing_connection(
    run, ca, listener_pem, monkeypatch, caplog
):
    monkeypatch.setattr(mllp, "_RELOAD_S", 0.05)
    own = client_context(ca.file, ca.issue("good", NAME))

    def changed(port, before):
        def look():
            now = served_name(port, own)
            return now if now != before else None

        return wait_for(look, "the new certificate")

    def conversation(port):
        with MllpClient("localhost", port, PATIENCE_S, own) as standing:
            codes = [standing.exchange(ADT % 1)]
            old = served_name(port, own)
            replace(listener_pem, ca.issue("renewed", "localhost").read_bytes())
            new = changed(port, old)
            replace(listener_pem, b"no certificate at all")
            wait_for(lambda: "not reloaded" in caplog.text, "the look at the broken one")
            codes.append(standing.exchange(ADT % 2))
            return old, new, served_name(port, own), codes

    old, new, kept, codes = run(conversation)
    assert new != old
    assert kept == new
    assert [read_acknowledgement(raw).code for raw in codes] == ["AA", "AA"]


def replace(path, data):
    """Write as tools that renew certificates do: beside it, then over it."""
    beside = path.with_suffix(".new")
    beside.write_bytes(data)
    beside.replace(path)
