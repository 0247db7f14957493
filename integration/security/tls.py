"""TLS 1.2 and later on both sides of a connection, with the certificates of a hospital's own CA.

| what a client did                     | reason                      |
|---------------------------------------|-----------------------------|
| spoke plain text                      | `tls-plain-text`            |
| showed no certificate                 | `tls-certificate-missing`   |
| showed one that has expired           | `tls-certificate-expired`   |
| showed one that nobody here trusts    | `tls-certificate-untrusted` |
| did not finish in time                | `tls-handshake-timeout`     |
| spoke another TLS, or went away again | `tls-handshake-failed`      |
"""

import logging
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from integration.errors import ConfigError
from integration.hl7v2.settings import TlsSettings

HANDSHAKE_RECORD = b"\x16"  # the first byte of a TLS connection (RFC 8446, 5.1: handshake)
_EXPIRED = 10  # X509_V_ERR_CERT_HAS_EXPIRED
_log = logging.getLogger(__name__)

_Stamp = tuple[tuple[int, int, int], ...]


class ServerTls:
    """The listener's context for new connections; connections that stand keep the one they have.

    Attributes:
        context: in force.
        handshake_timeout_s: until a connection has to be secured.
    """

    def __init__(self, settings: TlsSettings) -> None:
        """Read the files.

        Raises:
            ConfigError: `tls-unusable`.
        """
        self._settings = settings
        self._stamp = self._stamped()
        self.handshake_timeout_s = settings.handshake_timeout_s
        self.context = _server_context(settings)

    def reload(self) -> None:
        """Read the files again if one has changed; what cannot be used leaves the old in force."""
        stamp = self._stamped()
        if stamp == self._stamp:
            return
        self._stamp = stamp  # a fault is told once, and tried again when a file changes again
        try:
            self.context = _server_context(self._settings)
        except ConfigError as error:
            _log.error("tls certificate not reloaded, the old one stays: %s", error)
        else:
            _log.info("tls certificate reloaded")

    def _stamped(self) -> _Stamp:
        """Return what changes when a file is written or replaced."""
        settings = self._settings
        paths = (settings.certificate, settings.key, settings.client_ca)
        return tuple(_stamp(path) for path in paths if path is not None)


def client_context(
    ca: Path | None = None, certificate: Path | None = None, key: Path | None = None
) -> ssl.SSLContext:
    """Return a client's context: it verifies the server's certificate and name.

    Args:
        ca: PEM: who may sign the server's certificate; None: whom this machine trusts.
        certificate: PEM: the client's own, with its chain.
        key: PEM: its private key; None: in the same file.

    Raises:
        ConfigError: `tls-unusable`.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca is None:
        context.load_default_certs()
    else:
        _trust(context, ca)
    if certificate is not None:
        _load_own(context, certificate, key or certificate)
    return context


def names_in(certificate: Mapping[str, Any] | None) -> frozenset[str]:
    """Return CN and SAN of a verified certificate, as `SSLSocket.getpeercert` gives it."""
    if not certificate:
        return frozenset()
    subject = [pair for rdn in certificate.get("subject", ()) for pair in rdn]
    names = [value for key, value in subject if key == "commonName"]
    return frozenset([*names, *(value for _, value in certificate.get("subjectAltName", ()))])


def handshake_fault(error: Exception) -> str:
    """Return the reason code of a handshake that failed; see the table above."""
    if isinstance(error, ssl.SSLCertVerificationError):
        expired = error.verify_code == _EXPIRED
        return "tls-certificate-expired" if expired else "tls-certificate-untrusted"
    if getattr(error, "reason", None) == "PEER_DID_NOT_RETURN_A_CERTIFICATE":
        return "tls-certificate-missing"
    return "tls-handshake-failed"


def _server_context(settings: TlsSettings) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # A resumed session would skip the look at the client's certificate until its ticket expires.
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION
    context.num_tickets = 0
    _load_own(context, settings.certificate, settings.key)
    if settings.client_ca is not None:
        _trust(context, settings.client_ca)
        required = settings.require_client_certificate
        context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
    return context


def _load_own(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    with _reading(certificate, key):
        # Without a password OpenSSL would ask for one at the terminal.
        context.load_cert_chain(certificate, key, password="")


def _trust(context: ssl.SSLContext, ca: Path) -> None:
    with _reading(ca):
        context.load_verify_locations(ca)


@contextmanager
def _reading(*paths: Path) -> Iterator[None]:
    """Tell a file that cannot be used; OpenSSL itself names none."""
    try:
        yield
    except (OSError, ValueError) as error:
        files = " or ".join(dict.fromkeys(map(str, paths)))
        why = getattr(error, "reason", None) or getattr(error, "strerror", None) or "not usable"
        raise ConfigError("tls-unusable", f"{files}: {why}") from None


def _stamp(path: Path) -> tuple[int, int, int]:
    try:
        status = path.stat()
    except OSError:
        return (0, 0, 0)
    return (status.st_mtime_ns, status.st_size, status.st_ino)
