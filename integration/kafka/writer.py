"""Writes records: an idempotent producer, believed when every replica in sync has the record."""

import threading
from collections.abc import Callable
from typing import Any

from kafka import KafkaProducer
from kafka.errors import KafkaError, MessageSizeTooLargeError

from integration.kafka.envelope import Headers

_FITS = 100 * 2**20  # bytes of a record; the broker's own limit is the one that counts


class Writer:
    """Connects with the first record; thread-safe."""

    def __init__(self, arguments: dict[str, Any], timeout_s: float) -> None:
        """Take what the client library needs.

        Args:
            arguments: that all clients have.
            timeout_s: half of it to find the topic's broker, half to be believed.
        """
        half_ms = int(timeout_s * 500)
        self._timeout_s = timeout_s
        self._connect: Callable[[], KafkaProducer] = lambda: KafkaProducer(
            **arguments,
            acks="all",
            enable_idempotence=True,
            max_request_size=_FITS,
            max_block_ms=half_ms,
            delivery_timeout_ms=half_ms,
            request_timeout_ms=half_ms // 2,
        )
        self._producer: KafkaProducer | None = None
        self._lock = threading.Lock()

    def write(self, topic: str, key: bytes | None, value: bytes | None, headers: Headers) -> str:
        """Return where a record stands, once the broker has it.

        Raises:
            KafkaError: the broker may have it, or not; of a MessageSizeTooLargeError it has not.
        """
        with self._lock:
            producer = self._producer = self._producer or self._connect()
        try:
            sent = producer.send(topic, key=key, value=value, headers=list(headers))
            place = sent.get(timeout=self._timeout_s)
        except MessageSizeTooLargeError:
            raise
        except KafkaError:
            self._leave(producer)
            raise
        return f"{topic} {place.partition}:{place.offset}"

    def close(self) -> None:
        """Leave the broker."""
        producer = self._producer
        if producer is not None:
            self._leave(producer)

    def _leave(self, producer: KafkaProducer) -> None:
        """Let the next record connect anew, unless another thread's failure has seen to that."""
        with self._lock:
            ours = self._producer is producer
            if ours:
                self._producer = None
        if ours:
            producer.close(timeout=1)
