import ssl
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from integration.errors import ConfigError
from integration.hl7v2.settings import TlsSettings
from integration.security.tls import ServerTls, client_context, handshake_fault, names_in
from tests.private_ca import NAME, PrivateCa

TOMORROW = datetime.now(UTC) + timedelta(days=1)


@pytest.fixture(scope="module")
def ca(tmp_path_factory):
    return PrivateCa(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def settings(ca, tmp_path):
    pem = tmp_path / "listener.pem"
    pem.write_bytes(ca.issue("listener", "localhost").read_bytes())
    return TlsSettings(certificate=pem, key=pem, client_ca=ca.file)


def shake(client, server, name="localhost"):
    """Shake hands in memory; return the server's side."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    one = client.wrap_bio(to_client, to_server, server_hostname=name)
    other = server.wrap_bio(to_server, to_client, server_side=True)
    for side in (one, other, one, other):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    return other


def test_both_sides_show_who_they_are(ca, settings):
    server = ServerTls(settings)
    client = client_context(ca.file, ca.issue("c", NAME, common_name="cart 7"))
    names = names_in(shake(client, server.context).getpeercert())
    assert names == {NAME, "cart 7"}


def test_a_client_without_certificate_where_none_is_required(ca, settings):
    relaxed = settings.model_copy(update={"require_client_certificate": False})
    secured = shake(client_context(ca.file), ServerTls(relaxed).context)
    assert names_in(secured.getpeercert()) == frozenset()
    assert secured.version() in {"TLSv1.2", "TLSv1.3"}


@pytest.mark.parametrize(
    ("client", "reason"),
    [
        ("none", "tls-certificate-missing"),
        ("expired", "tls-certificate-expired"),
        ("other", "tls-certificate-untrusted"),
        ("early", "tls-certificate-untrusted"),
    ],
)
def test_what_is_wrong_with_a_client_is_told(ca, settings, tmp_path, client, reason):
    past = datetime.now(UTC) - timedelta(days=2)
    own = {
        "none": lambda: None,
        "expired": lambda: ca.issue("expired", NAME, not_after=past),
        "other": lambda: PrivateCa(tmp_path).issue("other", NAME),
        "early": lambda: ca.issue("early", NAME, not_before=TOMORROW),
    }[client]()
    with pytest.raises(ssl.SSLError) as caught:
        shake(client_context(ca.file, own), ServerTls(settings).context)
    assert handshake_fault(caught.value) == reason


def test_any_other_fault_has_one_reason():
    assert handshake_fault(ConnectionResetError()) == "tls-handshake-failed"
    assert handshake_fault(ssl.SSLError("x")) == "tls-handshake-failed"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls_1_2_and_later(ca, settings, version):
    client = client_context(ca.file, ca.issue("c", NAME))
    client.minimum_version = client.maximum_version = version
    secured = shake(client, ServerTls(settings).context)
    assert secured.version() == version.name.replace("_", ".")


def test_nothing_older(settings):
    assert ServerTls(settings).context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert client_context().minimum_version == ssl.TLSVersion.TLSv1_2


def test_a_client_wants_the_listeners_name(ca, settings):
    client = client_context(ca.file, ca.issue("c", NAME))
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        shake(client, ServerTls(settings).context, "elsewhere.example")


def test_new_files_are_for_new_connections(ca, settings):
    server = ServerTls(settings)
    before = server.context
    server.reload()
    assert server.context is before
    settings.certificate.write_bytes(ca.issue("new", "localhost", "renewed").read_bytes())
    server.reload()
    assert server.context is not before
    client = client_context(ca.file, ca.issue("c", NAME))
    shake(client, server.context, "renewed")


@pytest.mark.parametrize("broken", ["text", "missing", "half", "stranger"])
def test_a_bad_new_certificate_leaves_the_old_in_force(ca, settings, broken, caplog, tmp_path):
    server = ServerTls(settings)
    before, good = server.context, settings.certificate.read_bytes()
    if broken == "text":
        settings.certificate.write_text("no certificate")
    elif broken == "missing":
        settings.certificate.unlink()
    elif broken == "half":
        settings.certificate.write_bytes(good[: len(good) // 2])
    else:  # key and certificate of different pairs
        key, other = good.split(b"-----BEGIN CERT", 1)[0], ca.issue("o", "x").read_bytes()
        settings.certificate.write_bytes(key + b"-----BEGIN CERT" + other.split(b"N CERT", 1)[1])
    for _ in range(2):
        server.reload()
    assert server.context is before
    told = [record for record in caplog.records if "not reloaded" in record.message]
    assert len(told) == 1
    assert told[0].levelname == "ERROR"
    assert str(settings.certificate) in told[0].message
    settings.certificate.write_bytes(good + b"\n")
    server.reload()
    assert server.context is not before


@pytest.mark.parametrize(
    "change", [{"certificate": "/none"}, {"key": "/none"}, {"client_ca": "/none"}]
)
def test_without_its_files_a_listener_does_not_start(settings, change):
    with pytest.raises(ConfigError) as caught:
        ServerTls(TlsSettings(**(settings.model_dump() | change)))
    assert caught.value.reason == "tls-unusable"
    assert "/none" in caught.value.detail


def test_a_key_with_a_passphrase_is_refused_and_nobody_is_asked(ca, tmp_path):
    pem = ca.issue("c", NAME).read_bytes()
    key = load_pem_private_key(pem, None).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret12")
    )
    locked = tmp_path / "locked.pem"
    locked.write_bytes(key + pem[pem.index(b"-----BEGIN CERT") :])
    with pytest.raises(ConfigError, match=r"locked\.pem"):
        client_context(ca.file, locked)
