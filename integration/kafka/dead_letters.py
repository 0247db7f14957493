"""Records that could not be taken go to the dead-letter topic: key, value and headers untouched.

What is added, as headers: `hisbundle-reason`, `hisbundle-detail`, `hisbundle-message-id` (of the
stored message; the same whenever the record is read, so that a letter written twice can be told),
`hisbundle-topic`, `hisbundle-partition`, `hisbundle-offset`. A value that the broker finds too
large goes without it, as `hisbundle-value-left-out`: its size and SHA-256. Two things the client
library cannot write: a header's null becomes empty, and so does the value of a record that has
neither key nor value.
"""

import hashlib
from uuid import UUID

from kafka.errors import KafkaError, MessageSizeTooLargeError

from integration.errors import Refused, TryLater
from integration.kafka.envelope import Record
from integration.kafka.writer import Writer


class DeadLetters:
    """Writes dead letters; thread-safe."""

    def __init__(self, writer: Writer, topic: str) -> None:
        """Take what writes, and the topic's name."""
        self._writer = writer
        self._topic = topic

    def write(self, record: Record, message_id: UUID, refused: Refused) -> None:
        """Return once the broker has the letter.

        Args:
            record: as it was read.
            message_id: of the stored message.
            refused: why.

        Raises:
            TryLater: `kafka-unavailable`.
        """
        added = {
            "reason": refused.reason,
            "detail": refused.detail,
            "message-id": message_id,
            "topic": record.topic,
            "partition": record.partition,
            "offset": record.offset,
        }
        own = [(f"hisbundle-{name}", str(value).encode()) for name, value in added.items()]
        headers = [*((name, value or b"") for name, value in record.headers), *own]
        key, value = record.key, record.value
        if key is None and value is None:
            value = b""
        try:
            try:
                self._writer.write(self._topic, key, value, headers)
            except MessageSizeTooLargeError:
                headers.append(_left_out(value or b""))
                self._writer.write(self._topic, key, b"" if key is None else None, headers)
        except KafkaError as error:
            raise TryLater("kafka-unavailable", type(error).__name__) from None

    def close(self) -> None:
        """Leave the broker."""
        self._writer.close()


def _left_out(value: bytes) -> tuple[str, bytes]:
    digest = hashlib.sha256(value).hexdigest()
    return ("hisbundle-value-left-out", f"{len(value)} {digest}".encode())
