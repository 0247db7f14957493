"""From the bytes of a message to a committed message, its ECGs and its answer, in one transaction.

The answer is stored beside the message before it is sent, so the same message always gets the same
answer. A positive one leaves here only after the commit; the queue is rung after that.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from uuid import UUID

from db.errors import StoreUnavailable
from db.records import MessageState, NewExam, NewMessage
from db.store import Store
from integration.errors import Refused, answer_to, as_refused
from integration.hl7v2.ack import Fault, acknowledge
from integration.hl7v2.decode import decode
from integration.hl7v2.framing import Junk, Received
from integration.hl7v2.header import Header, parse_header
from model.errors import EcgError

_log = logging.getLogger(__name__)

Clock = Callable[[], datetime]


@dataclass(frozen=True)
class _Verdict:
    """What is to be stored and answered."""

    header: Header | None
    state: MessageState
    exams: Sequence[NewExam] = ()
    refusal: Refused | None = None


class Hl7Intake:
    """Answers what an MLLP listener received; one for all connections, thread-safe."""

    def __init__(
        self,
        store: Store,
        ring: Callable[[Sequence[UUID]], None],
        *,
        default_charset: str,
        zone: tzinfo | None,
        clock: Clock = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._ring = ring
        self._default_charset = default_charset
        self._zone = zone
        self._clock = clock

    def answer(self, received: Received) -> bytes:
        """Store what was received and return the acknowledgement; never raises for its content."""
        now = self._clock()
        verdict = self._judge(received)
        message = _message(received, verdict.header, now)
        answer = _answer(verdict, message, now)
        try:
            receipt = self._store.accept(
                message,
                verdict.state,
                verdict.refusal.reason if verdict.refusal else None,
                answer,
                verdict.exams,
            )
        except StoreUnavailable as error:
            _log.warning("message not stored id=%s reason=%s", message.id, error.reason)
            fault = Fault("store-unavailable", "send this message again later")
            return acknowledge(
                verdict.header, "AE", errors=[fault], control_id=_control_id(message), now=now
            )
        _log.info(
            "message %s id=%s bytes=%d ecgs=%d duplicate=%s reason=%s",
            verdict.state,
            message.id,
            message.original_size,
            len(verdict.exams),
            receipt.duplicate,
            verdict.refusal.reason if verdict.refusal else None,
        )
        self._ring(receipt.exam_ids)
        return receipt.answer

    def _judge(self, received: Received) -> _Verdict:
        header = None
        try:
            if isinstance(received, Junk):
                raise Refused(received.reason, received.detail)
            header = parse_header(received.payload, self._default_charset)
            decoded = decode(
                received.payload, default_charset=self._default_charset, zone=self._zone
            )
        except EcgError as error:
            return _Verdict(header, MessageState.REFUSED, refusal=as_refused(error))
        except Refused as error:
            return _Verdict(header, MessageState.REFUSED, refusal=error)
        state = MessageState.ACCEPTED if decoded.exams else MessageState.NOT_ECG
        return _Verdict(header, state, decoded.exams)


def _message(received: Received, header: Header | None, now: datetime) -> NewMessage:
    sender = header.sender if header else ""
    control_id = header.control_id if header else ""
    if isinstance(received, Junk):
        size, digest = received.size, received.sha256
        return NewMessage("mllp", sender, control_id, received.data, now, size, digest)
    return NewMessage.whole("mllp", sender, control_id, received.payload, now)


def _answer(verdict: _Verdict, message: NewMessage, now: datetime) -> bytes:
    control_id = _control_id(message)
    refusal = verdict.refusal
    if refusal is None:
        return acknowledge(verdict.header, "AA", errors=(), control_id=control_id, now=now)
    code = answer_to(refusal.reason).ack
    fault = Fault(refusal.reason, refusal.detail, refusal.location)
    return acknowledge(verdict.header, code, errors=[fault], control_id=control_id, now=now)


def _control_id(message: NewMessage) -> str:
    """Our MSH-10, 20 characters as old receivers demand; the first of the message's own id."""
    return message.id.hex[:20].upper()
