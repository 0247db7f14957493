"""Continuous recordings are read on with: chunks to windows, windows to episodes.

Any number of workers may do it at once: the store hands each stream to one of them at a time, and
takes each step of a stream once. The rules of windows are in `model.stitch`, those of episodes in
`model.alarms`.
"""

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from itertools import takewhile
from typing import Protocol
from uuid import UUID

from db.chunks import Chunk
from db.errors import Corrupt
from db.store import Store
from db.streaming import Claim, Progress, StreamState, Window, episode_id
from integration.critical import CriticalSettings, critical_rhythms
from model.alarms import Course, Rule, follow, lost, stretches_of
from model.assessor import RHYTHM_LEADS
from model.ecg import Ecg
from model.errors import HisbundleError
from model.findings import ModelIdentity, Quality, StripFindings
from model.stitch import (
    IDLE_S,
    STRIDE_S,
    WINDOW_S,
    Stitched,
    core_of,
    is_closed,
    stitch,
    whole_from,
    windows_in,
)

WINDOWS = 6  # of a stream at a time: one that is behind leaves others their turn
PAUSE_S = 0.3  # for a chunk that is missing
ONSET_S = 60.0  # of the beginning of an episode, at most
MAX_ATTEMPTS = 5
CRASHED = "scoring-crashed"

_BEFORE_ONSET = timedelta(seconds=5)
_SAME_BEAT = timedelta(seconds=0.15)  # EC57's match window: closer ones are one beat, seen twice
_WINDOW, _STRIDE = timedelta(seconds=WINDOW_S), timedelta(seconds=STRIDE_S)
# Of a stream at a time: what WINDOWS windows need, wherever in the first one it begins.
_REACH = (WINDOWS + 1) * _STRIDE + _WINDOW
_log = logging.getLogger(__name__)


class Reader(Protocol):
    """What reads strips: model.assessor.StripReader."""

    @property
    def identity(self) -> ModelIdentity:
        """Which model it is."""
        ...

    def read(self, ecg: Ecg) -> tuple[StripFindings | None, Quality]:
        """Return what a strip shows, or None where no stretch of it can be read."""
        ...


def read_on(
    store: Store,
    reader: Reader,
    rules: Mapping[str, Rule],
    stream_id: UUID,
    now: datetime,
    *,
    critical: CriticalSettings,
) -> tuple[UUID, ...]:
    """Read on with a stream, and return the exams that wait for scoring now.

    Args:
        store: of the streams.
        reader: of their windows.
        rules: code -> when a rhythm is told.
        stream_id: of the stream.
        now: aware.
        critical: of which rhythms somebody has to be told at once.
    """
    claim = store.open_claim(stream_id)
    if claim is None:
        return ()
    step = _step(store, _Reading(store, reader, rules, critical, claim), claim, now)
    exams = store.save_progress(step, now, PAUSE_S)
    for course in step.courses:
        if course.raised and course not in claim.courses:
            told = (episode_id(claim.stream.id, course), course.code, course.ended)
            _log.info("episode id=%s code=%s ended=%s", *told)
    return exams


def _step(store: Store, reading: "_Reading", claim: Claim, now: datetime) -> Progress:
    silent_s = (now - claim.heard_at).total_seconds()
    if claim.state is StreamState.IDLE:
        over = lost(claim.courses)
        return Progress(claim, (), claim.last_beat, over, {}, claim.watermark, StreamState.OVER)
    chunks, cut_at = _at_hand(store, claim)
    spans = [chunk.span for chunk in chunks]
    waiting = _windows(claim, chunks, cut_at)
    at_once = WINDOWS if claim.attempts == 1 else 1
    closed = tuple(
        takewhile(lambda w: is_closed(w, spans, claim.watermark, silent_s), waiting[:at_once])
    )
    for window in closed:
        reading.read(window, chunks)
    left = waiting[len(closed) :]
    return Progress(
        claim,
        tuple(reading.windows),
        reading.last_beat,
        (*reading.ended, *reading.courses),
        reading.onsets,
        _due_from(claim, closed, left),
        StreamState.IDLE if silent_s >= IDLE_S and not left and not cut_at else StreamState.LIVE,
    )


def _at_hand(store: Store, claim: Claim) -> tuple[tuple[Chunk, ...], datetime | None]:
    """Return the chunks of the next windows, and from when on others may follow; None: none do.

    They are measured by time: one device sends a chunk a second, another one fifty.
    """
    made_to = claim.made_to
    first = store.next_start(claim.stream, made_to and core_of(made_to)[1])
    end = first and first + _REACH
    chunks = store.chunks_from(claim.stream, made_to and made_to + _STRIDE, end)
    return chunks, end if end and claim.watermark > end else None


def _windows(
    claim: Claim, chunks: Sequence[Chunk], cut_at: datetime | None
) -> tuple[datetime, ...]:
    """Return the windows that are to be made, of which all chunks are at hand."""
    windows = windows_in((c.span for c in chunks), claim.stream.phase, claim.made_to)
    return tuple(window for window in windows if cut_at is None or window + _WINDOW <= cut_at)


def _due_from(claim: Claim, closed: Sequence[datetime], left: Sequence[datetime]) -> datetime:
    """Return the watermark that the next look is worth; where it stands: soon, come what may."""
    if left:
        return max(whole_from(left[0]), claim.watermark)
    last = closed[-1] if closed else claim.made_to
    return claim.watermark if last is None else whole_from(last + _STRIDE)


class _Reading:
    """What comes of a stream's windows, one after the other.

    Attributes:
        windows: that were read.
        last_beat: the last one that was counted.
        courses: the episodes that are open.
        ended: those that are not any more.
        onsets: id of each episode that is raised now -> recording of its beginning.
    """

    def __init__(
        self,
        store: Store,
        reader: Reader,
        rules: Mapping[str, Rule],
        critical: CriticalSettings,
        claim: Claim,
    ) -> None:
        self._store, self._reader, self._claim = store, reader, claim
        self._rules, self._critical = rules, critical
        self._made_to = claim.made_to
        self._crashed = claim.attempts > MAX_ATTEMPTS
        self.windows: list[Window] = []
        self.last_beat = claim.last_beat
        self.courses = claim.courses
        self.ended: list[Course] = []
        self.onsets: dict[UUID, Ecg] = {}

    def read(self, window: datetime, chunks: Sequence[Chunk]) -> None:
        """Read a window; in their order."""
        inside = [c for c in chunks if c.span.start < window + _WINDOW and c.span.end > window]
        stitched = stitch(self._ecgs(inside), window)
        strip, verdict = self._look_at(stitched.ecg)
        core = core_of(window)
        beats = self._counted(strip, stitched.start, core)
        self.windows.append(
            Window(
                start=window,
                verdict=verdict,
                heart_rate_bpm=strip.heart_rate_bpm if strip else None,
                beats=beats,
                rhythms=strip.rhythms if strip else (),
                first_sample=stitched.start,
                model=f"{self._reader.identity.name}@{self._reader.identity.version}",
                share=stitched.share,
                overlapping=stitched.overlapping,
            )
        )
        self._made_to = window
        self.last_beat = beats[-1][0] if beats else self.last_beat
        self._follow(strip, stitched, core)

    def _look_at(self, ecg: Ecg | None) -> tuple[StripFindings | None, str]:
        """Return what a window shows and the gate's verdict, or why it cannot be read."""
        if self._crashed:  # its earlier attempts ended without a word: it kills its worker
            return None, CRASHED
        if ecg is None:
            return None, "incomplete"
        try:
            strip, quality = self._reader.read(_monitoring_leads(ecg))
        except HisbundleError as error:
            return None, error.reason
        return strip, quality.verdict if quality.scorable else quality.reasons[0]

    def _counted(
        self, strip: StripFindings | None, start: datetime, core: tuple[datetime, datetime]
    ) -> tuple[tuple[datetime, str], ...]:
        """Return the beats of the core.

        Two windows may see a beat some milliseconds apart. One at the border counts where it was
        not counted yet, and not where it was.
        """
        if strip is None:
            return ()
        first = core[0]
        if self._made_to is not None and core_of(self._made_to)[1] == core[0]:
            first -= _SAME_BEAT
        if self.last_beat is not None:
            first = max(first, self.last_beat + _SAME_BEAT)
        timed = ((start + timedelta(seconds=b.time_s), b.aami_class) for b in strip.beats)
        return tuple((at, aami_class) for at, aami_class in timed if first <= at < core[1])

    def _follow(
        self, strip: StripFindings | None, stitched: Stitched, core: tuple[datetime, datetime]
    ) -> None:
        urgent = critical_rhythms(strip, self._critical)
        stretches = stretches_of(strip, stitched.start, core, urgent)
        known = {c.begun for c in self.courses if c.raised}
        courses = follow(self.courses, stretches, core, self._rules, readable=strip is not None)
        for course in courses:
            if course.raised and course.begun not in known and stitched.ecg is not None:
                id_ = episode_id(self._claim.stream.id, course)
                self.onsets[id_] = self._onset(course, stitched.ecg)
        self.courses = tuple(c for c in courses if c.ended is None)
        self.ended += [c for c in courses if c.ended is not None]

    def _onset(self, course: Course, seen: Ecg) -> Ecg:
        """Return the recording of an episode's beginning, at least what shows it now."""
        start = course.onset - _BEFORE_ONSET
        end = (seen.start or start) + timedelta(seconds=seen.duration_s)
        duration_s = min((end - start).total_seconds(), ONSET_S)
        chunks = self._store.chunks_between(self._claim.stream, start, end)
        return stitch(self._ecgs(chunks), start, duration_s).ecg or seen

    def _ecgs(self, chunks: Sequence[Chunk]) -> list[Ecg]:
        """Return samples in the order of arrival; what does not decode any more is left out."""
        found = []
        for chunk in sorted(chunks, key=lambda c: c.received_at):
            try:
                found.append(chunk.ecg())
            except Corrupt as error:
                _log.error("chunk left out reason=%s", error.reason)
        return found


def _monitoring_leads(ecg: Ecg) -> Ecg:
    """Return the leads that the strip model learned from, or the first one there is."""
    chosen = tuple(lead for lead in RHYTHM_LEADS if lead in ecg.leads) or ecg.leads[:1]
    rows = [ecg.leads.index(lead) for lead in chosen]
    return Ecg(ecg.voltage_mv[rows], chosen, ecg.sampling_rate_hz, ecg.start)
