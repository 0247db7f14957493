"""What is kept of continuous recordings, as frozen values; nothing here knows SQL."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cached_property
from uuid import NAMESPACE_OID, UUID, uuid5

from db.records import PatientRef
from model.alarms import Course
from model.ecg import Ecg
from model.findings import RhythmFinding
from model.stitch import phase_of

_NAMESPACE = uuid5(NAMESPACE_OID, "hisbundle stream")


class StreamState(StrEnum):
    """Where a stream stands."""

    LIVE = "live"  # chunks come
    IDLE = "idle"  # none came for stitch.IDLE_S; its windows are made
    OVER = "over"  # none came for alarms.LOST_S; its episodes are ended


@dataclass(frozen=True)
class Stream:
    """Whose chunks belong together.

    Attributes:
        sender: who sent them.
        patient: whose heart it is.
        sampling_rate_hz: another rate is another stream.
    """

    sender: str
    patient: PatientRef
    sampling_rate_hz: float

    @cached_property
    def id(self) -> UUID:
        """The same stream has the same id, in every database, for ever."""
        who = f"{self.patient.identifier}\x1f{self.patient.authority}"
        key = f"{self.sender}\x1f{who}\x1f{self.sampling_rate_hz:g}"
        return uuid5(_NAMESPACE, key)

    @property
    def phase(self) -> timedelta:
        """How much later than whole strides its windows begin."""
        return phase_of(self.id.int)


@dataclass(frozen=True)
class Claim:
    """A stream that a worker reads on with.

    Attributes:
        stream: whose it is.
        state: when it was claimed.
        heard_at: when its last chunk arrived.
        watermark: the latest end of any chunk, by the device's clock.
        made_to: the last window that was made, or None.
        last_beat: the last one that was counted, or None.
        attempts: how often it was opened since something was saved.
        courses: its open episodes.
    """

    stream: Stream
    state: StreamState
    heard_at: datetime
    watermark: datetime
    made_to: datetime | None
    last_beat: datetime | None
    attempts: int
    courses: tuple[Course, ...]


@dataclass(frozen=True)
class Window:
    """What a window shows of its core.

    Attributes:
        start: of the window, aware; see model.stitch.
        verdict: `good`, `limited`, or why nothing could be read.
        heart_rate_bpm: of the window, or None.
        beats: (when, AAMI class) of each beat that this window counts.
        rhythms: of the whole window, times from its first sample.
        first_sample: when that was; after `start` where the window begins with a gap.
        model: name@version.
        share: of the samples that are there.
        overlapping: whether chunks contradicted each other.
    """

    start: datetime
    verdict: str
    heart_rate_bpm: float | None
    beats: tuple[tuple[datetime, str], ...]
    rhythms: tuple[RhythmFinding, ...]
    first_sample: datetime
    model: str
    share: float
    overlapping: bool


@dataclass(frozen=True)
class Progress:
    """What reading on with a stream has given; saved as a whole or not at all.

    Attributes:
        claim: what it started from.
        windows: in order; may be empty.
        last_beat: the last one that was counted, or None.
        courses: the episodes that were open, and new ones.
        onsets: id of each episode that is raised now -> recording of its beginning.
        due_from: watermark that the next look is worth.
        state: of the stream from now on, if nothing has come since.
    """

    claim: Claim
    windows: tuple[Window, ...]
    last_beat: datetime | None
    courses: tuple[Course, ...]
    onsets: dict[UUID, Ecg] = field(repr=False)
    due_from: datetime
    state: StreamState


@dataclass(frozen=True)
class Episode:
    """An episode that was raised.

    Attributes:
        id: the same in every database.
        stream: whose it is.
        course: how it goes.
        exam_id: of the ECG of its beginning, whose report tells of it.
    """

    id: UUID
    stream: Stream
    course: Course
    exam_id: UUID | None


def episode_id(stream_id: UUID, course: Course) -> UUID:
    """Return the id of an episode."""
    return uuid5(stream_id, f"{course.code} {course.begun.timestamp():.6f}")
