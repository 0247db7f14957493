"""From Kafka records to committed ECGs: all of what a poll brought or none, in one transaction.

Nobody waits for an answer. What cannot be taken is kept with its reason, as everywhere, and the
listener puts the record on the dead-letter topic; what is taken is committed before the record's
offset is, so a record that is read twice is found there already.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, tzinfo
from uuid import UUID

from db.clinical import Clinical, Incoming
from db.records import MessageState, NewExam, NewMessage, Receipt
from integration.errors import Refused, as_refused
from integration.fhir_body import exams_in
from integration.hl7v2.decode import decode
from integration.inbox import BatchInbox
from integration.kafka.chunk_event import decode_chunk_event
from integration.kafka.ecg_event import decode_ecg_event
from integration.kafka.envelope import Envelope, Format, Headers, Record, open_value
from integration.kafka.settings import KafkaSettings
from model.errors import EcgError

PROTOCOL = "kafka"
_KEPT_OF_TOO_LARGE = 4096
_log = logging.getLogger(__name__)

Clock = Callable[[], datetime]


@dataclass(frozen=True)
class Read:
    """What a payload holds.

    Attributes:
        sender: who says to have sent it, or "".
        name: the sender's own name for it, or "".
        exams: its ECGs.
        clinical: what else it tells.
        device: of the sender, whose continuous recording it is a chunk of, or "".
    """

    sender: str
    name: str
    exams: Sequence[NewExam]
    clinical: Clinical = field(default_factory=Clinical)
    device: str = ""


@dataclass(frozen=True)
class Taken:
    """What became of a record.

    Attributes:
        message_id: of the stored message; the same whenever the record is read.
        refused: why not, or None.
    """

    message_id: UUID
    refused: Refused | None = None


_Judged = tuple[Incoming, Refused | None]


class KafkaIntake:
    """Stores what a consumer reads; thread-safe."""

    def __init__(
        self,
        store: BatchInbox,
        ring: Callable[[Sequence[UUID]], None] | None,
        settings: KafkaSettings,
        *,
        default_charset: str = "ascii",
        zone: tzinfo | None = None,
        clock: Clock = lambda: datetime.now(UTC),
    ) -> None:
        """Take what every record needs.

        Args:
            store: where messages go.
            ring: rings a worker for each exam; None: the workers' sweep looks by itself.
            settings: the usual format of each topic, and the limit of a value.
            default_charset: Python codec of HL7 v2 messages whose MSH-18 is empty.
            zone: of times without one.
            clock: returns the aware time.
        """
        self._store = store
        self._ring = ring
        usual = {name: topic.format for name, topic in settings.topics.items()}
        self._usual = {name: Format(format_) for name, format_ in usual.items() if format_}
        self._max_bytes = settings.max_record_bytes
        self._default_charset = default_charset
        self._zone = zone
        self._clock = clock

    def take(self, records: Sequence[Record]) -> list[Taken]:
        """Store records in one transaction; never raises for their content.

        Raises:
            StoreUnavailable: nothing is stored; they may come again.
        """
        return self._keep([self._judge(record) for record in records])

    def refuse(self, record: Record, refused: Refused) -> Taken:
        """Keep word of what has no bytes that the client library could hand out.

        Raises:
            StoreUnavailable: nothing is stored; it may come again.
        """
        (taken,) = self._keep([self._without_bytes(record, refused)])
        return taken

    def _without_bytes(self, record: Record, refused: Refused) -> _Judged:
        return self._judged(Read(record.topic, record.place, ()), b"", refused)

    def _judge(self, record: Record) -> _Judged:
        if not record.value:
            empty = Refused("record-empty", "a tombstone or an empty value")
            return self._without_bytes(record, empty)
        topic = record.topic
        found = Read(topic, "", ())
        refused: Refused | None = None
        try:
            envelope = self._open(topic, record.value, record.headers)
            found = Read(envelope.source or topic, envelope.id, ())
            read = self._read(envelope)
            sender = envelope.source or read.sender or topic
            if read.device:
                sender = f"{read.device}^{sender}"  # as MSH-3 and MSH-4 stand in others
            found = replace(read, sender=sender, name=envelope.id or read.name)
        except Refused as error:
            refused = error
        except EcgError as error:
            refused = as_refused(error)
        except Exception:  # noqa: BLE001 - whatever a record does to us, the next one is read
            _log.exception("record could not be read at=%s", record.place)
            refused = Refused("internal-error", "this record could not be read")
        return self._judged(found, record.value, refused)

    def _open(self, topic: str, value: bytes, headers: Headers) -> Envelope:
        if len(value) > self._max_bytes:
            raise Refused("message-too-large", "larger than kafka.max_record_bytes")
        return open_value(value, headers, self._usual.get(topic), self._max_bytes)

    def _read(self, envelope: Envelope) -> Read:
        if envelope.format is Format.ECG:
            name, exam = decode_ecg_event(envelope.payload)
            return Read("", name, [exam])
        if envelope.format is Format.CHUNK:
            device, name, chunk = decode_chunk_event(envelope.payload)
            return Read("", name, [chunk], device=device)
        if envelope.format is Format.FHIR:
            name, exams = exams_in(envelope.payload, self._zone)
            return Read("", name, exams)
        decoded = decode(envelope.payload, default_charset=self._default_charset, zone=self._zone)
        header = decoded.header
        return Read(header.sender, header.control_id, decoded.exams, decoded.clinical)

    def _message(self, read: Read, raw: bytes) -> NewMessage:
        message = NewMessage.whole(PROTOCOL, read.sender, read.name, raw, self._clock())
        if len(raw) > self._max_bytes:
            return replace(message, raw=raw[:_KEPT_OF_TOO_LARGE])
        return message

    def _judged(self, read: Read, raw: bytes, refused: Refused | None) -> _Judged:
        state = MessageState.ACCEPTED if read.exams else MessageState.NOT_ECG
        if refused is not None:
            state = MessageState.REFUSED
        reason = refused.reason if refused else None
        message = self._message(read, raw)
        return Incoming(message, state, reason, b"", read.exams, read.clinical), refused

    def _keep(self, judged: Sequence[_Judged]) -> list[Taken]:
        incoming = [one for one, _ in judged]
        receipts = self._store.accept_all(incoming, rung=self._ring is not None)
        if self._ring is not None:
            self._ring([id_ for receipt in receipts for id_ in receipt.exam_ids])
        for one, receipt in zip(incoming, receipts, strict=True):
            _tell(one, receipt)
        return [Taken(one.message.id, refused) for one, refused in judged]


def _tell(one: Incoming, receipt: Receipt) -> None:
    message = one.message
    told = (one.state, message.id, message.original_size, len(receipt.exam_ids), receipt.duplicate)
    _log.info("record %s id=%s bytes=%d new_ecgs=%d duplicate=%s reason=%s", *told, one.reason)
    if receipt.conflict:
        _log.warning("message %s shares its control id with another one", message.id)
