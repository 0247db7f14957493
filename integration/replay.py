"""Doing a step again for what a filter selects: piece by piece, to be paused, resumed, cancelled.

Running it twice, or again after a kill, does nothing twice: a message that is not refused any more,
an ECG that does not wait, a report that has arrived are not selected again.
"""

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from uuid import UUID, uuid4

from db.errors import NotFound
from db.filters import Filter, parse_filter
from db.records import ExamSummary
from db.replays import RefusedMessage, Replay, ReplayState, Stage
from db.store import Store
from integration.fhir_body import interaction_of
from integration.fhir_decisions import Origin
from integration.fhir_intake import FhirIntake
from integration.hl7v2.framing import Frame
from integration.intake import Hl7Intake
from integration.senders import DENIED, Peer
from model.errors import HisbundleError

PIECE = 100
_PAGE = 500

_POSITIVE = re.compile(rb"\rMSA.[AC]A")

# Reads a refused message again; tells whether the answer is positive.
Reader = Callable[[RefusedMessage], bool]
_LET_IN = Peer("replay", replayed=True)


def hl7_reader(intake: Hl7Intake) -> Reader:
    """Return what reads an HL7 v2 message again; its sender was let in when it came."""

    def read(message: RefusedMessage) -> bool:
        answer = intake.answer(Frame(message.raw), _LET_IN)
        return _POSITIVE.search(answer) is not None

    return read


def fhir_reader(intake: FhirIntake) -> Reader:
    """Return what reads a FHIR body again."""

    def read(message: RefusedMessage) -> bool:
        try:
            interaction = interaction_of(message.raw)
        except HisbundleError:
            return False
        # A right to decide that was lacking then is not had by whoever replays.
        sender = Origin(message.sender, lambda _: message.reason != "decision-not-allowed")
        return intake.answer(message.raw, interaction, sender).status < 400

    return read


def has_texts(store: Store, found: Filter, message_id: UUID) -> bool:
    """Tell whether a message contains the texts of a filter.

    Raises:
        NotFound: its bytes are not there any more.
    """
    raw = store.message_raw(message_id).lower()
    return all(text.lower().encode() in raw for text in found.texts)


def matching_exams(store: Store, found: Filter) -> Iterator[ExamSummary]:
    """Yield the ECGs that a filter selects, newest first, its texts looked for."""
    last: ExamSummary | None = None
    while page := store.find_exams(found, _PAGE, last):
        for exam in page:
            with suppress(NotFound):
                if not found.texts or has_texts(
                    store, found, store.message_of(Stage.SCORE, exam.id)
                ):
                    yield exam
        last = page[-1]


class Replayer:
    """Runs replays; one for a command."""

    def __init__(self, store: Store, readers: Mapping[str, Reader]) -> None:
        """Take the store, and for each protocol what reads its messages again."""
        self._store = store
        self._readers = readers

    def begin(self, source: str, stage: Stage, actor: str) -> Replay:
        """Record a new replay; nothing is done yet.

        Raises:
            FilterError: `filter-malformed`.
        """
        matched = self._store.count_replayable(parse_filter(source), stage)
        new = Replay(
            id=uuid4(),
            created_at=datetime.now(UTC),
            actor=actor,
            filter=source,
            stage=stage,
            state=ReplayState.RUNNING,
            matched=matched,
            succeeded=0,
            failed=0,
            cursor=None,
            finished_at=None,
        )
        self._store.begin_replay(new)
        return new

    def run(
        self,
        started: Replay,
        *,
        rate_per_s: float | None = None,
        told: Callable[[int], None] = lambda _: None,
    ) -> Replay:
        """Go on from where a replay stands until it ends, or somebody pauses or cancels it.

        Args:
            started: as `begin` or the store returned it.
            rate_per_s: subjects a second at most.
            told: hears how many more are done.
        """
        found = parse_filter(started.filter)
        cursor = started.cursor
        size = PIECE if rate_per_s is None else max(1, min(PIECE, int(rate_per_s)))
        state = ReplayState.RUNNING
        while state == ReplayState.RUNNING:
            began = time.monotonic()
            ids = self._store.replayable(found, started.stage, cursor, size)
            if not ids:
                self._store.set_replay_state(started.id, ReplayState.DONE, datetime.now(UTC))
                break
            wanted = [id_ for id_ in ids if self._has_texts(found, started.stage, id_)]
            succeeded = self.act(started.stage, wanted)
            cursor = ids[-1]
            state = self._store.note_progress(
                started.id, cursor, succeeded=succeeded, failed=len(wanted) - succeeded
            )
            told(len(ids))
            if rate_per_s is not None:
                time.sleep(max(0.0, len(ids) / rate_per_s - (time.monotonic() - began)))
        return self._store.replay(started.id)

    def act(self, stage: Stage, ids: Sequence[UUID]) -> int:
        """Do the step for some subjects; return for how many it was of use."""
        match stage:
            case Stage.DECODE:
                return sum(self._read_again(id_) for id_ in ids)
            case Stage.SCORE:
                return len(self._store.score_again(ids))
            case Stage.DELIVER:
                return len(self._store.deliver_again(ids, datetime.now(UTC)))

    def _read_again(self, message_id: UUID) -> bool:
        """Read a message again; those that are not whole, or were denied, have to come again."""
        message = self._store.refused_message(message_id)
        if message is None or not message.whole or message.reason in DENIED:
            return False
        reader = self._readers.get(message.protocol)
        if reader is None:
            return False
        taken = reader(message)
        if self._store.refused_message(message_id) is None:
            return True  # also where its sender wants no answer
        if taken:
            # Its sender or its id is read otherwise now, so it is kept under another name.
            now = datetime.now(UTC)
            self._store.discard(message_id, "taken under another id by a replay", "replay", now)
        return taken

    def _has_texts(self, found: Filter, stage: Stage, id_: UUID) -> bool:
        if not found.texts:
            return True
        return has_texts(self._store, found, self._store.message_of(stage, id_))

    def preview(self, source: str, stage: Stage, limit: int) -> tuple[UUID, ...]:
        """Return the first subjects that a replay would take.

        Raises:
            FilterError: `filter-malformed`.
        """
        found = parse_filter(source)
        kept: list[UUID] = []
        cursor: UUID | None = None
        while len(kept) < limit:
            ids = self._store.replayable(found, stage, cursor, PIECE)
            if not ids:
                break
            kept += [id_ for id_ in ids if self._has_texts(found, stage, id_)]
            cursor = ids[-1]
        return tuple(kept[:limit])
