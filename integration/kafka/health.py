"""Whether a cluster is there, whether we may use its topics, and how far we are behind."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

from kafka import KafkaAdminClient, TopicPartition
from kafka.admin import OffsetSpec
from kafka.errors import (
    KafkaError,
    SaslAuthenticationFailedError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    UnsupportedSaslMechanismError,
    for_code,
)

from integration.errors import TryLater
from integration.kafka.connection import client_arguments, tls_fault
from integration.kafka.settings import ClusterSettings, KafkaSettings

_TIMEOUT_MS = 10_000
_DENIALS = (SaslAuthenticationFailedError, UnsupportedSaslMechanismError)


class Use(StrEnum):
    """What we do with a topic; by the name of the right that it takes."""

    READ = "READ"
    WRITE = "WRITE"


@dataclass(frozen=True)
class TopicHealth:
    """How a topic is.

    Attributes:
        name: of the topic.
        use: what we do with it.
        partitions: how many; 0 where that cannot be told.
        problem: in plain words, or None.
    """

    name: str
    use: Use
    partitions: int
    problem: str | None


@dataclass(frozen=True)
class Lag:
    """How far the group is behind in a partition.

    Attributes:
        topic: its name.
        partition: its number.
        committed: the offset that is read next, or None where the group has none yet.
        end: the offset that is written next.
    """

    topic: str
    partition: int
    committed: int | None
    end: int

    @property
    def records(self) -> int:
        """How many are not read yet; without an offset all that were ever written."""
        return max(self.end - (self.committed or 0), 0)


def topics_of(cluster: ClusterSettings, uses: Mapping[str, Use]) -> list[TopicHealth]:
    """Look at topics.

    Args:
        cluster: where.
        uses: topic -> what we do with it.

    Raises:
        TryLater: `kafka-unavailable`, or what is wrong with TLS.
        ConfigError: `tls-unusable`.
    """
    with _administrator(cluster) as admin:
        described = {topic["name"]: topic for topic in admin.describe_topics(list(uses))}
    return [_health(name, use, described.get(name)) for name, use in uses.items()]


def lags_of(settings: KafkaSettings) -> list[Lag]:
    """Return how far the group is behind, of every partition of the topics that are read.

    Raises:
        TryLater: `kafka-unavailable`, or what is wrong with TLS.
        ConfigError: `tls-unusable`.
    """
    with _administrator(settings) as admin:
        places = [
            TopicPartition(topic["name"], partition["partition_index"])
            for topic in admin.describe_topics(list(settings.topics))
            for partition in topic["partitions"]
        ]
        ends = admin.list_partition_offsets(dict.fromkeys(places, OffsetSpec.LATEST))
        committed = admin.list_group_offsets(settings.group)[settings.group]
    offsets = {place: at.offset for place, at in committed.items() if at.offset >= 0}
    return [
        Lag(place.topic, place.partition, offsets.get(place), ends[place].offset)
        for place in sorted(places)
    ]


def uses_of(settings: KafkaSettings) -> dict[str, Use]:
    """Return what the listener does with which topic."""
    return dict.fromkeys(settings.topics, Use.READ) | {settings.dead_letter_topic: Use.WRITE}


@contextmanager
def _administrator(cluster: ClusterSettings) -> Iterator[KafkaAdminClient]:
    overheard = _Overheard()
    try:
        with overheard:
            admin = KafkaAdminClient(**client_arguments(cluster), request_timeout_ms=_TIMEOUT_MS)
        try:
            yield admin
        finally:
            admin.close()
    except KafkaError as error:
        why = overheard.denied or error
        fault = tls_fault(cluster) or ("kafka-unavailable", _in_words(why))
        raise TryLater(*fault) from None


class _Overheard(logging.Handler):
    """Hears why we were not let in: the client library (3.0.12) says so to its log alone.

    Attributes:
        denied: the broker's word against our name, or None.
    """

    _LOG = logging.getLogger("kafka.net.manager")

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.denied: KafkaError | None = None

    def __enter__(self) -> Self:
        self._LOG.addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._LOG.removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        told = record.args if isinstance(record.args, tuple) else ()
        self.denied = next((one for one in told if isinstance(one, _DENIALS)), self.denied)


def _in_words(error: KafkaError) -> str:
    if isinstance(error, SaslAuthenticationFailedError):
        return "the broker does not take our name or password (sasl)"
    if isinstance(error, UnsupportedSaslMechanismError):
        return "the broker does not know our sasl.mechanism"
    if "Authorization" in type(error).__name__:
        return f"we are known, but may not do this ({type(error).__name__}): add an ACL"
    return f"the brokers do not answer, or not in this way ({type(error).__name__})"


def _health(name: str, use: Use, described: Mapping[str, Any] | None) -> TopicHealth:
    if described is None:
        return TopicHealth(name, use, 0, "the broker says nothing of it")
    partitions = described["partitions"]
    error = for_code(described["error_code"])
    rights = described["authorized_operations"]
    problem = None
    if error is UnknownTopicOrPartitionError:
        problem = "it does not exist, or we may not know of it: create it, or add an ACL"
    elif error is TopicAuthorizationFailedError:
        problem = "we may not look at it: add an ACL (DESCRIBE)"
    elif described["error_code"]:
        problem = f"the broker says {error.__name__}"
    elif any(partition["leader_id"] < 0 for partition in partitions):
        problem = "partitions are without a leader: look after the brokers"
    elif rights is not None and use not in rights:
        problem = f"we may not {use.value.lower()} it: add an ACL ({use.value})"
    return TopicHealth(name, use, len(partitions), problem)
