"""From the settings to the arguments of the client library."""

from collections.abc import Mapping
from typing import Any

from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor

from integration.kafka.settings import ClusterSettings, KafkaSettings
from integration.security.tls import client_context

CLIENT_ID = "hisbundle"
_BOOTSTRAP_MS = 10_000
_MAX_RECONNECT_PAUSE_MS = 5_000


def client_arguments(settings: ClusterSettings) -> dict[str, Any]:
    """Return what consumers, producers and administrators have in common.

    Raises:
        ConfigError: `tls-unusable`.
    """
    servers = [server.strip() for server in settings.bootstrap_servers.split(",")]
    arguments: dict[str, Any] = {
        "bootstrap_servers": [server for server in servers if server],
        "client_id": CLIENT_ID,
        "bootstrap_timeout_ms": _BOOTSTRAP_MS,
        "reconnect_backoff_max_ms": _MAX_RECONNECT_PAUSE_MS,
        "security_protocol": _security_protocol(settings),
    }
    if (tls := settings.tls) is not None:
        arguments["ssl_context"] = client_context(tls.ca, tls.certificate, tls.key)
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


def _security_protocol(settings: ClusterSettings) -> str:
    carried = "SSL" if settings.tls else "PLAINTEXT"
    return f"SASL_{carried}" if settings.sasl else carried
