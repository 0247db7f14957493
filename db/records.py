"""What the store takes and gives, as frozen values; nothing here knows SQL.

A message is what arrived, byte for byte. An exam is one ECG in it. An assessment is what the model
found in an exam. A report is the FHIR Bundle made of an assessment. A delivery is the way of one
report to one destination.
"""

import hashlib
import re
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from typing import Any
from uuid import NAMESPACE_OID, UUID, uuid5

from db.reviews import ReportStatus, Review
from model.ecg import Ecg
from model.errors import EcgError
from model.findings import Findings

# A message's own ECGs are numbered from 0; beginnings of episodes from here on, by their ids, since
# one message may open several streams.
FIRST_EPISODE = 1_000_000
YEARS = range(1900, 3000)  # of ECGs; those of some public records are moved into the future
MAX_IDENTIFIER = 250  # characters; a pair of them fits an index entry of PostgreSQL

_NAMESPACE = uuid5(NAMESPACE_OID, "hisbundle")
_NOT_TEXT = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")


def keepable(text: str) -> bool:
    """Whether an identifier can be stored and found on every database, letter for letter."""
    return len(text) <= MAX_IDENTIFIER and _NOT_TEXT.search(text) is None


def check_keepable(*texts: str | None) -> None:
    """Refuse identifiers where they are decoded: sending them again to the store mends nothing.

    Raises:
        EcgError: `field-malformed`.
    """
    if not all(text is None or keepable(text) for text in texts):
        raise EcgError("field-malformed", "an identifier is too long or has control characters")


class MessageState(StrEnum):
    """What became of a message at the door."""

    ACCEPTED = "accepted"  # its ECGs are exams now
    NOT_ECG = "not-ecg"  # ordinary traffic: acknowledged, recorded, nothing to do
    REFUSED = "refused"  # answered negatively, with `reason`; its bytes are kept


class ExamState(StrEnum):
    """Where an exam stands. The last three can be replayed once their cause is mended."""

    UNASSOCIATED = "unassociated"  # known by its bed alone; waits for word of who lay there
    PACKET = "packet"  # a piece of a continuous recording; waits for the rest of its window
    STITCHED = "stitched"  # a packet that its stream has; its windows are read with the stream's
    RECEIVED = "received"  # committed and acknowledged; waits for a worker
    SCORED = "scored"  # assessed; its report waits for delivery
    DELIVERED = "delivered"  # every destination has the report
    UNSCORABLE = "unscorable"  # the quality gate refused it, with `reason`; that is reported too
    UNDELIVERABLE = "undeliverable"  # a destination refused the report for good
    FAILED = "failed"  # scoring broke on it again and again; `reason` says how


class DeliveryState(StrEnum):
    """Where one delivery stands."""

    PENDING = "pending"  # to be tried at `next_attempt_at`
    DELIVERED = "delivered"  # the destination said yes
    UNDELIVERABLE = "undeliverable"  # the destination said never, or too many tries failed
    SUPERSEDED = "superseded"  # a later version of the report went, or goes, in its place


@dataclass(frozen=True)
class NewMessage:
    """A message as it arrived.

    Attributes:
        protocol: `mllp`, `fhir` or `kafka`.
        sender: who the message says sent it (`MSH-3^MSH-4` in HL7 v2), or "".
        control_id: the sender's own id (MSH-10), or "".
        raw: every byte, unless `original_size` says that more came than is kept.
        received_at: aware.
        original_size: bytes that arrived.
        sha256: hex digest over what arrived.
    """

    protocol: str
    sender: str
    control_id: str
    raw: bytes = field(repr=False)
    received_at: datetime
    original_size: int
    sha256: str

    @classmethod
    def whole(
        cls, protocol: str, sender: str, control_id: str, raw: bytes, received_at: datetime
    ) -> "NewMessage":
        """Return a message of which every byte is kept."""
        digest = hashlib.sha256(raw).hexdigest()
        return cls(protocol, sender, control_id, raw, received_at, len(raw), digest)

    @property
    def id(self) -> UUID:
        """The same message has the same id, in every database, for ever."""
        key = f"{self.protocol}\x1f{self.sender}\x1f{self.control_id}\x1f{self.sha256}"
        return uuid5(_NAMESPACE, key)

    def exam_id(self, ordinal: int) -> UUID:
        """Return the id of this message's ECG number `ordinal`, from 0; the same for ever."""
        return uuid5(self.id, str(ordinal))


@dataclass(frozen=True)
class PatientRef:
    """Whom the ECG belongs to, in the sender's own terms; no name, no birth date.

    Attributes:
        identifier: PID-3.1 or Patient.identifier.value; never empty.
        authority: assigning authority as text, or None.

    Raises:
        EcgError: `field-malformed`: not keepable.
    """

    identifier: str = field(repr=False)
    authority: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        check_keepable(self.identifier, self.authority)


@dataclass(frozen=True)
class Bed:
    """A bed as senders name it (HL7 v2 data type PL).

    Attributes:
        name: point of care, room and bed in one; never empty.
        facility: or None where the sender leaves it out.

    Raises:
        EcgError: `field-malformed`: not keepable.
    """

    name: str = field(repr=False)
    facility: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        check_keepable(self.name, self.facility)


@dataclass(frozen=True)
class NewExam:
    """One ECG of a message.

    Attributes:
        patient: whose it is; None: known by its bed alone.
        ecg: the recording.
        acquired: aware time; a date alone where the sender gave no zone and none is configured;
            or None.
        placer_order: OBR-2, or None.
        filler_order: OBR-3, or None.
        bed: where it was recorded, where that is told.

    Raises:
        EcgError: `field-malformed`: an order number is not keepable; `time-malformed`: a year
            that no ECG is of, and no database and no calendar may take.
    """

    patient: PatientRef | None
    ecg: Ecg = field(repr=False)
    acquired: datetime | date | None = None
    placer_order: str | None = field(default=None, repr=False)
    filler_order: str | None = field(default=None, repr=False)
    bed: Bed | None = None

    def __post_init__(self) -> None:
        check_keepable(self.placer_order, self.filler_order)
        times = (self.acquired, self.ecg.start)
        if not all(time is None or time.year in YEARS for time in times):
            raise EcgError("time-malformed", f"not in {YEARS[0]} to {YEARS[-1]}")


@dataclass(frozen=True)
class Lane:
    """How urgent an ECG is, and whether anybody is to be told.

    Attributes:
        priority: 0 for live traffic, BACKLOG for what waits until nothing live does.
        silent: whether its report stays here.
    """

    priority: int = 0
    silent: bool = False


LIVE = Lane()
BACKLOG = 1  # priority of what an archive brings


@dataclass(frozen=True)
class Receipt:
    """The store's word that a message is kept.

    Attributes:
        message_id: of the stored message.
        answer: the bytes to answer with; of the first time, when this is a duplicate.
        exam_ids: the exams that wait for scoring now: its own, and earlier ones whose patient it
            told; empty when it is a duplicate.
        duplicate: whether the same message was there already.
        conflict: whether the sender has used this control id for another message, both of them
            accepted; both are kept and marked.
    """

    message_id: UUID
    answer: bytes = field(repr=False)
    exam_ids: tuple[UUID, ...]
    duplicate: bool
    conflict: bool = False


@dataclass(frozen=True)
class ExamFacts:
    """What is stored of an exam besides its samples.

    `of_stream`: it is the beginning of an episode, see `streams.Episode`.
    """

    id: UUID
    message_id: UUID
    state: ExamState
    reason: str | None
    patient: PatientRef
    acquired: datetime | date | None
    placer_order: str | None = field(repr=False)
    filler_order: str | None = field(repr=False)
    received_at: datetime
    attempts: int
    silent: bool = False
    of_stream: bool = False


@dataclass(frozen=True, kw_only=True)
class Exam(ExamFacts):
    """An exam as stored."""

    ecg: Ecg = field(repr=False)


@dataclass(frozen=True)
class NewAssessment:
    """What a worker stores of an exam, at once or not at all.

    Attributes:
        findings: the detector's word.
        assessed_at: aware.
        report: FHIR transaction Bundle (JSON object).
        destinations: names of where the report has to go; empty: it is only kept and served here.
        silent: whether nobody is told; it is marked so.
        critical: codes of findings that somebody has to be told of at once.
        answer_by: until when a clinician has to decide because of them, or None.
    """

    findings: Findings
    assessed_at: datetime
    report: dict[str, Any] = field(repr=False)
    destinations: tuple[str, ...] = ()
    silent: bool = False
    critical: tuple[str, ...] = ()
    answer_by: datetime | None = None


@dataclass(frozen=True)
class Assessed:
    """An exam, what was found in it, and what a version of its report makes of that.

    Attributes:
        version: of the report, from 1.
        issued_at: when that version was made.
        review: the decision it rests on, or None.
    """

    exam: Exam
    findings: Findings
    assessed_at: datetime
    version: int
    status: ReportStatus
    issued_at: datetime
    review: Review | None = None


@dataclass(frozen=True)
class Delivery:
    """One version of a report on its way to one destination."""

    id: UUID
    exam_id: UUID
    version: int
    destination: str
    state: DeliveryState
    attempts: int
    next_attempt_at: datetime
    last_answer: str | None
    report: dict[str, Any] = field(repr=False)


@dataclass(frozen=True)
class DeliveryEnd:
    """Where a version went, and how that stands; `answer` is what the other side said last."""

    destination: str
    version: int
    state: DeliveryState
    attempts: int
    answer: str | None = field(repr=False)


@dataclass(frozen=True)
class StoredReport:
    """A version of a report, as the FHIR interface serves it; `actor`: who made it."""

    exam_id: UUID
    issued_at: datetime
    bundle: dict[str, Any] = field(repr=False)
    version: int = 1
    status: ReportStatus = ReportStatus.PRELIMINARY
    actor: str = "worker"
    review: Review | None = None


@dataclass(frozen=True)
class ExamSummary:
    """One line of `hisbundle status`: no patient data."""

    id: UUID
    sender: str
    control_id: str
    state: ExamState
    reason: str | None
    received_at: datetime
    findings: Findings | None


@dataclass(frozen=True)
class Status:
    """Counts for `hisbundle status`.

    Attributes:
        messages: state -> count.
        exams: state -> count.
        deliveries: state -> count.
        refusals: reason -> count over refused messages.
        conflicts: messages that share a control id with another one of their sender.
        oldest_waiting_s: age of the oldest exam that waits for a worker, or None.
    """

    messages: dict[str, int]
    exams: dict[str, int]
    deliveries: dict[str, int]
    refusals: dict[str, int]
    conflicts: int
    oldest_waiting_s: float | None
