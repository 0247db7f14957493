"""From the bytes of a message to a committed message, its ECGs and its answer, in one transaction.

The answer is stored beside the message before it is sent, so the same message gets the same answer
again. A positive one leaves here only after the commit; the queue is rung after that.
"""

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

from db.clinical import Clinical, Incoming
from db.errors import StoreUnavailable, VersionConflict
from db.records import MessageState, NewExam, NewMessage
from integration.errors import Refused, answer_to, as_refused
from integration.hl7v2.ack import Fault, acknowledge
from integration.hl7v2.batch import encode_batch_answer, is_batch, split_batch
from integration.hl7v2.charsets import narrow
from integration.hl7v2.decode import Kind, decode
from integration.hl7v2.framing import Frame, Junk, Received
from integration.hl7v2.header import Header, parse_batch_header, parse_header
from integration.hl7v2.modes import BETWEEN_ANSWERS, AckMode, answers
from integration.hl7v2.sent_back import SentBack
from integration.inbox import Inbox, tell_ecgs
from integration.review import Reviews
from integration.senders import DENIED, Peer, Sender, Senders
from model.errors import EcgError

_log = logging.getLogger(__name__)

Clock = Callable[[], datetime]


@dataclass(frozen=True)
class _Verdict:
    """What is to be stored and answered."""

    header: Header | None
    state: MessageState
    exams: Sequence[NewExam] = ()
    clinical: Clinical = field(default_factory=Clinical)
    told: str | None = None  # what other traffic was about
    refusal: Refused | None = None
    mode: AckMode = AckMode.AUTO

    @property
    def denied(self) -> bool:
        """Whether it did not come from whom it names."""
        return self.refusal is not None and self.refusal.reason in DENIED


class Hl7Intake:
    """Answers what an MLLP listener received; one for all connections, thread-safe."""

    def __init__(
        self,
        store: Inbox,
        ring: Callable[[Sequence[UUID]], None] | None,
        senders: Senders,
        *,
        reviews: Reviews | None = None,
        clock: Clock = lambda: datetime.now(UTC),
    ) -> None:
        """Take what every answer needs.

        Args:
            store: where messages go.
            ring: rings a worker for each exam; None: the workers' sweep looks by itself.
            senders: who may send, and how their messages are read.
            reviews: takes what is decided on our reports; None: they are kept, and decide nothing.
            clock: returns the aware time.
        """
        self._store = store
        self._ring = ring
        self._senders = senders
        self._reviews = reviews
        self._clock = clock

    def answer(self, received: Received, peer: Peer) -> bytes:
        """Store what was received and return the acknowledgement; never raises for its content.

        Empty when the sender wants none (enhanced mode); several as `modes.BETWEEN_ANSWERS` says.
        """
        if isinstance(received, Frame) and is_batch(received.payload):
            return self._answer_batch(received, peer)
        return self._store_verdict(received, self._judge(received, peer), peer)

    def refuse_connection(self, peer: Peer, reason: str) -> None:
        """Record that a connection was not served: once a day for an address and a reason."""
        now = self._clock()
        event = f"{now:%Y-%m-%d} {peer.address} {reason}".encode()
        message = NewMessage.whole("connection", peer.address, "", event, now)
        try:
            self._store.accept(Incoming(message, MessageState.REFUSED, reason, b""))
        except StoreUnavailable as error:
            _log.warning("refused connection not stored reason=%s", error.reason)

    def _answer_batch(self, received: Frame, peer: Peer) -> bytes:
        """Answer each message of a batch as if it had come alone, or refuse the whole."""
        try:
            batch = split_batch(received.payload)
        except Refused as refusal:
            verdict = _refused(_header_of_batch(received), refusal)
            return self._store_verdict(received, verdict, peer)
        answers = [
            [
                self.answer(Frame(message), peer).replace(BETWEEN_ANSWERS, b"")
                for message in group.messages
            ]
            for group in batch.groups
        ]
        own = hashlib.sha256(received.payload).hexdigest()[:20].upper()
        return encode_batch_answer(batch, answers, control_id=own, now=self._clock())

    def _store_verdict(self, received: Received, verdict: _Verdict, peer: Peer) -> bytes:
        now = self._clock()
        message = _message(received, verdict.header, now)
        answer = _answer(verdict, message, now)
        reason = verdict.refusal.reason if verdict.refusal else verdict.told
        incoming = Incoming(message, verdict.state, reason, answer, verdict.exams, verdict.clinical)
        try:
            receipt = self._store.accept(incoming, rung=self._ring is not None)
        except StoreUnavailable as error:
            _log.warning("message not stored id=%s reason=%s", message.id, error.reason)
            return _acknowledge(
                verdict,
                message,
                now,
                Fault(error.reason, "send this message again later"),
                stored=False,
            )
        if self._ring is not None:
            self._ring(receipt.exam_ids)
        told = (verdict.state, message.id, message.original_size, len(receipt.exam_ids))
        _log.info(
            "message %s id=%s bytes=%d new_ecgs=%d duplicate=%s reason=%s",
            *told,
            receipt.duplicate,
            reason,
        )
        tell_ecgs(receipt)
        if receipt.conflict:
            _log.warning("message %s shares its control id with another one", message.id)
        if verdict.denied and reason:
            _log.warning("message %s denied peer=%s reason=%s", message.id, peer.address, reason)
            if receipt.duplicate:
                # What the true sender was answered is not this peer's to hear.
                self.refuse_connection(peer, reason)
                return answer
        return receipt.answer

    def _judge(self, received: Received, peer: Peer) -> _Verdict:
        if isinstance(received, Junk):
            refusal = Refused(received.reason, received.detail)
            return _refused(self._header_of_junk(received), refusal)
        header, mode = None, AckMode.AUTO
        try:
            header = parse_header(received.payload, self._senders.default.default_charset)
            sender = self._senders.resolve(header, peer)
            charset, mode = sender.default_charset, sender.ack_mode
            if charset != self._senders.default.default_charset:
                header = parse_header(received.payload, charset)
            decoded = decode(
                received.payload, default_charset=charset, zone=sender.zone, dialect=sender.leads
            )
            if decoded.sent_back is not None:
                self._decide(decoded.sent_back, sender, header)
        except EcgError as error:
            return _refused(header, as_refused(error), mode)
        except Refused as error:
            return _refused(header, error, mode)
        except Exception:  # noqa: BLE001 - whatever a message does to us, its sender is answered
            # Our fault: the bytes are kept, and the sender may send them again once it is mended.
            _log.exception("message could not be read bytes=%d", len(received.payload))
            refusal = Refused("internal-error", "this message could not be read")
            return _refused(header, refusal, mode)
        state = MessageState.ACCEPTED if decoded.exams else MessageState.NOT_ECG
        told = None if decoded.kind in (Kind.ECG, Kind.OTHER) else decoded.kind.value
        for note in decoded.notes:
            _log.info("left out of a message reason=%s place=%s", note.reason, note.location)
        return _Verdict(header, state, decoded.exams, decoded.clinical, told, mode=mode)

    def _decide(self, decision: SentBack, sender: Sender, header: Header) -> None:
        """Make a version of a report, before the message is kept: sent again, it makes no other.

        Raises:
            Refused: as `Reviews.amend`; `decision-not-allowed`; `store-unavailable` and
                `overloaded`, whose message may come again.
        """
        if self._reviews is None:
            return
        if not sender.decides:
            detail = "this sender may not decide on reports"
            raise Refused("decision-not-allowed", detail, decision.obr.at(3))
        actor = f"hl7v2:{header.sender}"
        try:
            self._reviews.amend(decision.exam_id, decision.report, actor=actor, at=decision.at)
        except Refused as error:
            raise decision.placed(error) from None
        except StoreUnavailable as error:
            raise Refused(error.reason, "send this message again later") from None
        except VersionConflict:
            raise Refused("overloaded", "others decide on this report now") from None

    def _header_of_junk(self, junk: Junk) -> Header | None:
        """Return the header of a message that was too large or did not end, if it has one."""
        try:
            return parse_header(junk.data, self._senders.default.default_charset)
        except Refused:
            return None


def _header_of_batch(received: Frame) -> Header | None:
    try:
        return parse_batch_header(narrow(received.payload).split(b"\r", 1)[0])
    except Refused:
        return None


def _refused(header: Header | None, refusal: Refused, mode: AckMode = AckMode.AUTO) -> _Verdict:
    return _Verdict(header, MessageState.REFUSED, refusal=refusal, mode=mode)


def _message(received: Received, header: Header | None, now: datetime) -> NewMessage:
    sender = header.sender if header else ""
    control_id = header.control_id if header else ""
    if isinstance(received, Junk):
        size, digest = received.size, received.sha256
        return NewMessage("mllp", sender, control_id, received.data, now, size, digest)
    return NewMessage.whole("mllp", sender, control_id, received.payload, now)


def _answer(verdict: _Verdict, message: NewMessage, now: datetime) -> bytes:
    refusal = verdict.refusal
    faults = [Fault(refusal.reason, refusal.detail, refusal.location)] if refusal else []
    return _acknowledge(verdict, message, now, *faults)


def _acknowledge(
    verdict: _Verdict, message: NewMessage, now: datetime, *faults: Fault, stored: bool = True
) -> bytes:
    """Return the answers as one payload, each with its own MSH-10, made of the message's id.

    Of 20 characters, as old receivers demand.
    """
    outcome = answer_to(faults[0].reason).ack if faults else "AA"
    codes = answers(verdict.header, outcome, verdict.mode, stored=stored)
    ids = (message.id.hex[:20].upper(), message.id.hex[12:].upper())
    return BETWEEN_ANSWERS.join(
        acknowledge(
            verdict.header,
            code,
            faults=faults if code not in ("AA", "CA") else (),
            control_id=id_,
            now=now,
        )
        for code, id_ in zip(codes, ids, strict=False)
    )
