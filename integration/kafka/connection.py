"""From the settings to the arguments of the client library."""

import socket
import ssl
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor

from integration.kafka.settings import ClusterSettings, KafkaSettings
from integration.sections import ClientTlsSettings
from integration.security.tls import client_context, handshake_fault

CLIENT_ID = "hisbundle"
_BOOTSTRAP_MS = 10_000
_MAX_RECONNECT_PAUSE_MS = 5_000
_LOOK_S = 2.0


def client_arguments(settings: ClusterSettings) -> dict[str, Any]:
    """Return what consumers, producers and administrators have in common.

    Raises:
        ConfigError: `tls-unusable`.
    """
    arguments: dict[str, Any] = {
        "bootstrap_servers": list(settings.servers),
        "client_id": CLIENT_ID,
        "bootstrap_timeout_ms": _BOOTSTRAP_MS,
        "reconnect_backoff_max_ms": _MAX_RECONNECT_PAUSE_MS,
        "security_protocol": _security_protocol(settings),
    }
    if settings.tls is not None:
        arguments["ssl_context"] = _context(settings.tls)
    if (sasl := settings.sasl) is not None:
        arguments |= {
            "sasl_mechanism": sasl.mechanism,
            "sasl_plain_username": sasl.username,
            "sasl_plain_password": sasl.password.get_secret_value(),
        }
    return arguments


def consumer_arguments(arguments: Mapping[str, Any], settings: KafkaSettings) -> dict[str, Any]:
    """Return the arguments of a consumer as the listener needs it.

    Args:
        arguments: that all clients have.
        settings: group, where it begins, limits; a single record beyond `fetch_bytes` still comes.
    """
    session_ms = int(settings.session_timeout_s * 1000)
    return {
        **arguments,
        "group_id": settings.group,
        "enable_auto_commit": False,
        "auto_offset_reset": settings.start,
        "allow_auto_create_topics": False,
        "isolation_level": "read_committed",
        "partition_assignment_strategy": [CooperativeStickyAssignor],
        "max_poll_records": settings.max_poll_records,
        "fetch_max_bytes": settings.fetch_bytes,
        "max_partition_fetch_bytes": settings.fetch_bytes,
        "session_timeout_ms": session_ms,
        "heartbeat_interval_ms": session_ms // 6,
    }


def tls_fault(settings: ClusterSettings) -> tuple[str, str] | None:
    """Look why TLS with the brokers to begin with fails: the client library does not say.

    Returns:
        Reason and detail; None where there is no TLS, or it is not at fault:

        | reason                                                 | what is wrong              |
        |--------------------------------------------------------|----------------------------|
        | `tls-certificate-untrusted`, `tls-certificate-expired` | the broker's certificate   |
        | `tls-refused`                                          | ours, as the broker says   |
        | `tls-handshake-failed`, `tls-handshake-timeout`        | it speaks no TLS, or other |

    Raises:
        ConfigError: `tls-unusable`.
    """
    if settings.tls is None:
        return None
    context = _context(settings.tls)
    for server, host in zip(settings.servers, settings.hosts, strict=True):
        try:
            plain = socket.create_connection((host, int(server.rpartition(":")[2])), _LOOK_S)
        except (OSError, ValueError):
            continue
        with plain:
            fault = _fault_of(plain, context, host)
        if fault is not None:
            return fault[0], f"{server}: {fault[1]}"
    return None


def _fault_of(plain: socket.socket, context: ssl.SSLContext, host: str) -> tuple[str, str] | None:
    try:
        with context.wrap_socket(plain, server_hostname=host) as secured, suppress(TimeoutError):
            # In TLS 1.3 our certificate is judged when the handshake is over for us.
            secured.recv(1)
    except ssl.SSLCertVerificationError as error:
        return handshake_fault(error), error.verify_message
    except ssl.SSLError as error:
        why = error.reason or "no TLS"
        return ("tls-refused" if "ALERT" in why else "tls-handshake-failed"), why
    except TimeoutError:
        return "tls-handshake-timeout", "it does not answer to TLS"
    except OSError as error:
        return "tls-handshake-failed", type(error).__name__
    return None


def _context(tls: ClientTlsSettings) -> ssl.SSLContext:
    return client_context(tls.ca, tls.certificate, tls.key)


def _security_protocol(settings: ClusterSettings) -> str:
    carried = "SSL" if settings.tls else "PLAINTEXT"
    return f"SASL_{carried}" if settings.sasl else carried
