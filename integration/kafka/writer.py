"""Writes records: an idempotent producer, believed when every replica in sync has the record."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from kafka import KafkaProducer
from kafka.errors import KafkaTimeoutError, MessageSizeTooLargeError

from integration.kafka.envelope import Headers

_FITS = 100 * 2**20  # bytes of a record; the broker's own limit is the one that counts


class Writer:
    """Connects with the first record; thread-safe."""

    def __init__(self, arguments: dict[str, Any], timeout_s: float) -> None:
        """Take what the client library needs.

        Args:
            arguments: that all clients have.
            timeout_s: for a record, at most half of it to connect and a quarter to find its broker.
        """
        quarter_ms = int(timeout_s * 250)
        self._timeout_s = timeout_s
        self._connect: Callable[[], KafkaProducer] = lambda: KafkaProducer(
            **arguments | {"bootstrap_timeout_ms": quarter_ms},
            acks="all",
            enable_idempotence=True,
            max_request_size=_FITS,
            max_block_ms=quarter_ms,
            delivery_timeout_ms=2 * quarter_ms,
            request_timeout_ms=quarter_ms,
        )
        self._producer: Future[KafkaProducer] | None = None
        self._lock = threading.Lock()

    def write(self, topic: str, key: bytes | None, value: bytes | None, headers: Headers) -> str:
        """Return where a record stands, once the broker has it.

        Raises:
            KafkaError: the broker may have it, or not; of a MessageSizeTooLargeError it has not.
        """
        end = time.monotonic() + self._timeout_s
        promised = self._promised()
        try:
            producer = promised.result(self._timeout_s / 2)
            sent = producer.send(topic, key=key, value=value, headers=list(headers))
            place = sent.get(timeout=max(end - time.monotonic(), 0.0))
        except MessageSizeTooLargeError:
            raise
        except TimeoutError:
            self._leave(promised)
            raise KafkaTimeoutError("no connection in time") from None
        except Exception:
            self._leave(promised)
            raise
        return f"{topic} {place.partition}:{place.offset}"

    def close(self) -> None:
        """Leave the broker."""
        promised = self._producer
        if promised is not None:
            self._leave(promised)

    def _promised(self) -> Future[KafkaProducer]:
        """Return what connects, in a thread of its own: the library may wait for ever for TLS."""
        with self._lock:
            if self._producer is None:
                self._producer = Future()
                fulfil = threading.Thread(target=self._fulfil, args=[self._producer], daemon=True)
                fulfil.start()
            return self._producer

    def _fulfil(self, promised: Future[KafkaProducer]) -> None:
        try:
            promised.set_result(self._connect())
        except Exception as error:  # noqa: BLE001 - who waits for it is told
            promised.set_exception(error)

    def _leave(self, promised: Future[KafkaProducer]) -> None:
        """Let the next record connect anew, unless another thread's failure has seen to that."""
        with self._lock:
            ours = self._producer is promised
            if ours:
                self._producer = None
        if ours:
            promised.add_done_callback(_close)


def _close(promised: Future[KafkaProducer]) -> None:
    if promised.exception() is None:
        promised.result().close(timeout=1)
