"""The Kafka listener: one consumer of the group, in a thread of its own.

A round is: poll, store what came, write dead letters, commit the offsets. So an offset says that
its record is in the database or on the dead-letter topic; whoever dies before the commit leaves
records that are read again and found stored already. What came is stored in its order, many records
in one transaction: they share its way to the database and its sync to the disk.

While the database or the dead-letter topic is away, the partitions are paused: the listener stays
in its group, holds nothing in memory, and looks again after a wait that doubles.

The group is rebalanced cooperatively (KIP-429): a listener that comes or goes moves partitions, and
does not stop those that stay.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from kafka import ConsumerRebalanceListener, KafkaConsumer, TopicPartition
from kafka.errors import KafkaError
from kafka.structs import OffsetAndMetadata

from db.errors import StoreUnavailable
from integration.errors import Refused, TryLater
from integration.kafka.connection import client_arguments, consumer_arguments
from integration.kafka.dead_letters import DeadLetters
from integration.kafka.envelope import Record
from integration.kafka.settings import KafkaSettings
from integration.kafka.writer import Writer
from integration.kafka_intake import Taken

TOGETHER = 64  # records stored in one transaction: a worker waits for the end of it
_POLL_MS = 250
_COMMIT_MS = _CLOSE_MS = 10_000
_LETTER_S = 30.0
_FIRST_WAIT_S, _MAX_WAIT_S = 0.5, 30.0
_log = logging.getLogger(__name__)

Polled = Mapping[TopicPartition, list[Any]]


class Intake(Protocol):
    """What stores records: integration.kafka_intake.KafkaIntake."""

    def take(self, records: Sequence[Record]) -> list[Taken]:
        """Store records, all or none."""
        ...

    def refuse(self, record: Record, refused: Refused) -> Taken:
        """Keep word of a record that cannot be read."""
        ...


class KafkaListener:
    """Reads topics until it is stopped; survives whatever the broker does."""

    def __init__(
        self,
        connect: Callable[[], KafkaConsumer],
        topics: Iterable[str],
        intake: Intake,
        letters: DeadLetters,
    ) -> None:
        """Take what a consumer needs.

        Args:
            connect: returns a consumer that has no subscription yet and commits nothing by itself.
            topics: to read.
            intake: stores records.
            letters: takes refused ones.
        """
        self._connect = connect
        self._topics = tuple(topics)
        self._intake = intake
        self._letters = letters
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="kafka", daemon=True)
        self._wait_s = _FIRST_WAIT_S
        self._doubted: tuple[TopicPartition, int] | None = None
        self._lag: dict[tuple[str, int], int] | None = None  # None: out of the group

    @classmethod
    def open(cls, settings: KafkaSettings, intake: Intake) -> "KafkaListener":
        """Return a listener as the settings describe it; nothing connects yet.

        Raises:
            ConfigError: `tls-unusable`.
        """
        arguments = client_arguments(settings)
        consuming = consumer_arguments(arguments, settings)
        letters = DeadLetters(Writer(arguments, _LETTER_S), settings.dead_letter_topic)
        return cls(lambda: KafkaConsumer(**consuming), settings.topics, intake, letters)

    @property
    def lag(self) -> Mapping[tuple[str, int], int]:
        """Topic and partition -> records not stored yet, of the partitions held here."""
        return self._lag or {}

    @property
    def reading(self) -> bool:
        """Whether the brokers let us read; a member of the group without partitions does, too."""
        return self._lag is not None

    def start(self) -> None:
        """Begin, without waiting for the broker."""
        self._thread.start()

    def stop(self) -> None:
        """Finish the round, commit, leave the group."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._consume()
            except Exception as error:  # noqa: BLE001 - nothing may end this thread
                self._lag = None
                _log.warning("kafka begins anew error=%s", _named(error))
                self._stopping.wait(self._next_wait())
        self._letters.close()

    def _consume(self) -> None:
        consumer = self._connect()
        try:
            consumer.subscribe(self._topics, listener=_Told())
            while not self._stopping.is_set():
                self._round(consumer)
        finally:
            consumer.close(timeout_ms=_CLOSE_MS)

    def _round(self, consumer: KafkaConsumer) -> None:
        try:
            polled = consumer.poll(timeout_ms=_POLL_MS)
        except Exception as error:
            if (partition := _unreadable(consumer)) is None:
                raise
            self._doubt(consumer, partition, error)
            return
        self._store(consumer, polled)
        self._lag = dict(_lags(consumer)) if _in_touch(consumer) else None

    def _doubt(self, consumer: KafkaConsumer, partition: TopicPartition, error: Exception) -> None:
        """Ask the broker once more, then go on after this offset.

        A batch that cannot be read is so left out record by record.
        """
        offset = consumer.position(partition)
        if self._doubted != (partition, offset):
            self._doubted = (partition, offset)
            return
        record = Record(partition.topic, partition.partition, offset, None, None)
        refused = Refused("record-unreadable", type(error).__name__)
        _log.error("record cannot be read at=%s error=%s", record.place, type(error).__name__)
        taken = self._intake.refuse(record, refused)
        self._letters.write(record, taken.message_id, refused)
        consumer.seek(partition, offset + 1)
        _commit(consumer, {partition: offset + 1})

    def _store(self, consumer: KafkaConsumer, polled: Polled) -> None:
        again: dict[TopicPartition, int] = {}
        for record in self._take([_record(one) for records in polled.values() for one in records]):
            again.setdefault(TopicPartition(record.topic, record.partition), record.offset)
        ends = {p: again.get(p, records[-1].offset + 1) for p, records in polled.items()}
        _commit(consumer, {p: end for p, end in ends.items() if end > polled[p][0].offset})
        if again:
            self._hold(consumer, again)
        elif polled:
            self._wait_s = _FIRST_WAIT_S

    def _take(self, records: list[Record]) -> list[Record]:
        """Store records one after the other; return those that have to come again."""
        for begin in range(0, len(records), TOGETHER):
            batch = records[begin : begin + TOGETHER]
            try:
                for record, taken in zip(batch, self._intake.take(batch), strict=True):
                    if taken.refused is not None:
                        self._letters.write(record, taken.message_id, taken.refused)
            except (StoreUnavailable, TryLater) as error:
                _log.warning("records put off from=%s reason=%s", batch[0].place, error)
                return records[begin:]
        return []

    def _hold(self, consumer: KafkaConsumer, again: Mapping[TopicPartition, int]) -> None:
        """Pause everything for a while; the group is told meanwhile that we live."""
        wait_s = self._next_wait()
        _log.warning("kafka paused wait_s=%g", wait_s)
        _go_back(consumer, again)
        waited_s = 0.0
        while waited_s < wait_s and not self._stopping.is_set():
            # Also those that a rebalance has just brought.
            consumer.pause(*consumer.assignment())
            early = consumer.poll(timeout_ms=0)
            _go_back(consumer, {p: records[0].offset for p, records in early.items()})
            self._stopping.wait(_POLL_MS / 1000)
            waited_s += _POLL_MS / 1000
        consumer.resume(*consumer.paused())

    def _next_wait(self) -> float:
        wait_s, self._wait_s = self._wait_s, min(2 * self._wait_s, _MAX_WAIT_S)
        return wait_s


class _Told(ConsumerRebalanceListener):  # type: ignore[misc]
    """Logs what a rebalance brings and takes; nothing is under way when it does."""

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Tell."""
        _log.info("kafka partitions assigned: %s", _listed(assigned))

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Tell."""
        _log.info("kafka partitions revoked: %s", _listed(revoked))


def _record(one: Any) -> Record:  # noqa: ANN401 - the client library's record
    return Record(one.topic, one.partition, one.offset, one.key, one.value, one.headers)


def _unreadable(consumer: KafkaConsumer) -> TopicPartition | None:
    """Return whose batch has just broken a poll, and have it asked for anew; None: no batch has.

    The client library (3.0.12) tells nobody, and would poll the broken batch for ever.
    """
    batch = consumer._fetcher._next_partition_records  # noqa: SLF001
    if not batch or batch.take(1):
        return None
    batch.drain()
    found: TopicPartition = batch.topic_partition
    return found


def _go_back(consumer: KafkaConsumer, offsets: Mapping[TopicPartition, int]) -> None:
    for partition, offset in offsets.items():
        consumer.seek(partition, offset)


def _commit(consumer: KafkaConsumer, offsets: Mapping[TopicPartition, int]) -> None:
    if not offsets:
        return
    told = {p: OffsetAndMetadata(offset, "", -1) for p, offset in offsets.items()}
    try:
        consumer.commit(told, timeout_ms=_COMMIT_MS)
    except KafkaError as error:
        # Whoever has these partitions now reads the records again, and finds them stored.
        _log.warning("offsets not committed error=%s", _named(error))


def _in_touch(consumer: KafkaConsumer) -> bool:
    """Whether the group's broker is there: the client library (3.0.12) tells nobody, either.

    It goes on looking for one, and has the partitions and their ends as they were.
    """
    return not consumer._coordinator.coordinator_unknown()  # noqa: SLF001


def _lags(consumer: KafkaConsumer) -> Iterable[tuple[tuple[str, int], int]]:
    for partition in consumer.assignment():
        end, position = consumer.highwater(partition), None
        if end is not None:  # fetched from, so its position is known without asking
            position = consumer.position(partition, timeout_ms=0)
        if position is not None:
            yield (partition.topic, partition.partition), max(end - position, 0)


def _listed(partitions: Iterable[TopicPartition]) -> str:
    return " ".join(f"{p.topic}:{p.partition}" for p in sorted(partitions)) or "none"


def _named(error: Exception) -> str:
    """Return what an error is; only the client library's own words, which name no patient."""
    name = type(error).__name__
    return f"{name}: {error}" if isinstance(error, KafkaError) else name
