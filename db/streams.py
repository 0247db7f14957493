"""Continuous recordings: chunks in, windows and episodes out.

Any number of workers read on with streams. A stream is claimed for one task at a time; should
another one read on with it all the same, what is saved last is dropped, because the stream has gone
on without it. So each window is made once, and its episodes go one step for it.
"""

from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import and_, func, insert, or_, select, update
from sqlalchemy.sql.dml import ReturningUpdate

from db.chunks import Chunk, chunk_of, stream_of
from db.episodes import follow_episodes, open_courses
from db.sealed import is_one_of
from db.sessions import Sessions
from db.stream_tables import ChunkRow, StreamRow, WindowRow
from db.streaming import Claim, Progress, Stream, StreamState, Window
from model.alarms import LOST_S
from model.findings import RhythmFinding
from model.stitch import IDLE_S, MAX_PACKET_S

_MAX_CHUNKS = 50_000  # of a stream that are held in memory together: far more than leads and rates
_PACKET = timedelta(seconds=MAX_PACKET_S)


class Streams(Sessions):
    """Streams."""

    def claim_streams(self, now: datetime, limit: int, lease_s: float) -> tuple[UUID, ...]:
        """Return streams that are worth a look, longest due first; for a while nobody else does.

        Args:
            now: aware.
            limit: at most so many.
            lease_s: after so long without a word they are worth a look by others.
        """
        idle, lost = (now - timedelta(seconds=s) for s in (IDLE_S, LOST_S))
        live = StreamRow.state == StreamState.LIVE
        due = (
            select(StreamRow.id)
            .where(
                StreamRow.state != StreamState.OVER,
                or_(StreamRow.claimed_until.is_(None), StreamRow.claimed_until < now),
                or_(
                    and_(live, StreamRow.watermark >= StreamRow.due_from),
                    and_(live, StreamRow.heard_at <= idle),
                    StreamRow.heard_at <= lost,
                ),
            )
            .order_by(StreamRow.due_from)
            .limit(limit)
        )
        until = now + timedelta(seconds=lease_s)
        return self._claim(
            due,
            lambda ids: update(StreamRow).where(StreamRow.id.in_(ids)).values(claimed_until=until),
        )

    def open_claim(self, stream_id: UUID) -> Claim | None:
        """Count one more attempt at a stream and return how it stands; None if it is over."""
        counted = (
            update(StreamRow)
            .where(StreamRow.id == stream_id, StreamRow.state != StreamState.OVER)
            .values(attempts=StreamRow.attempts + 1)
            .returning(StreamRow.id)
        )
        with self._writing() as session:
            if session.scalar(counted) is None:
                return None
            row = session.get_one(StreamRow, stream_id, populate_existing=True)
            courses = open_courses(session, stream_id)
        return Claim(
            stream=stream_of(row),
            state=row.state,
            heard_at=row.heard_at,
            watermark=row.watermark,
            made_to=row.made_to,
            last_beat=row.last_beat,
            attempts=row.attempts,
            courses=courses,
        )

    def next_start(self, stream: Stream, since: datetime | None) -> datetime | None:
        """Return when the first chunk begins that does not begin before `since`, or None."""
        wanted = select(func.min(ChunkRow.start)).where(ChunkRow.stream_id == stream.id)
        if since is not None:
            wanted = wanted.where(ChunkRow.start >= since)
        with self._reading() as session:
            return session.scalar(wanted)

    def chunks_from(
        self, stream: Stream, start: datetime | None, before: datetime | None = None
    ) -> tuple[Chunk, ...]:
        """Return the chunks of a stream that end after `start`, in their order.

        Args:
            stream: whose they are.
            start: None: from its first one on.
            before: none that begins then, or later; None: to its last one.
        """
        wanted = select(ChunkRow).where(ChunkRow.stream_id == stream.id)
        if start is not None:
            wanted = wanted.where(ChunkRow.start > start - _PACKET)
        if before is not None:
            wanted = wanted.where(ChunkRow.start < before)
        wanted = wanted.order_by(ChunkRow.start).limit(_MAX_CHUNKS)
        with self._reading() as session:
            chunks = [chunk_of(r, stream.sampling_rate_hz) for r in session.scalars(wanted)]
        return tuple(chunk for chunk in chunks if start is None or chunk.span.end > start)

    def chunks_between(self, stream: Stream, start: datetime, end: datetime) -> tuple[Chunk, ...]:
        """Return the chunks of a stretch, in the order of their arrival."""
        wanted = (
            select(ChunkRow)
            .where(
                ChunkRow.stream_id == stream.id,
                ChunkRow.start > start - _PACKET,
                ChunkRow.start < end,
            )
            .order_by(ChunkRow.received_at, ChunkRow.start)
        )
        with self._reading() as session:
            return tuple(chunk_of(r, stream.sampling_rate_hz) for r in session.scalars(wanted))

    def save_progress(self, step: Progress, now: datetime, pause_s: float) -> tuple[UUID, ...]:
        """Store what reading on with a stream has given, and let it go.

        Args:
            step: of a claimed stream; if it has gone on without its claim, nothing is done.
            now: aware; when it was read.
            pause_s: how long a stream that has given no window is left alone.

        Returns:
            The exams that wait for scoring now: beginnings of episodes.
        """
        windows = [_window_values(step.claim.stream.id, window, now) for window in step.windows]
        with self._writing() as session:
            message_id = session.scalar(_advance(step, now, pause_s))
            if message_id is None:
                return ()
            if windows:
                session.connection().execute(insert(WindowRow), windows)
            return follow_episodes(session, step, message_id, now)

    def find_windows(
        self,
        *,
        patient: str | None = None,
        flag: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 50,
    ) -> tuple[tuple[UUID, Window], ...]:
        """Return windows with the ids of their streams, the latest first; no patient is read.

        Args:
            patient: identifier.
            flag: code of a rhythm that they show.
            since: none that begins earlier.
            until: none that begins then, or later.
            limit: at most so many.
        """
        wanted = (
            select(StreamRow.id, WindowRow)
            .join(StreamRow, StreamRow.id == WindowRow.stream_id)
            .order_by(WindowRow.start.desc(), WindowRow.stream_id)
            .limit(limit)
        )
        if patient is not None:
            wanted = wanted.where(is_one_of(StreamRow.patient_token, [patient]))
        if flag is not None:
            shown = WindowRow.flagged.contains(f",{flag},", autoescape=True)
            wanted = wanted.where(WindowRow.flagged.is_not(None), shown)
        if since is not None:
            wanted = wanted.where(WindowRow.start >= since)
        if until is not None:
            wanted = wanted.where(WindowRow.start < until)
        with self._reading() as session:
            rows = session.execute(wanted).all()
        return tuple((stream_id, _window(window)) for stream_id, window in rows)


def _advance(step: Progress, now: datetime, pause_s: float) -> ReturningUpdate[UUID]:
    """Set a stream on, if it stands where the claim found it."""
    claim = step.claim
    pause = None if step.windows else now + timedelta(seconds=pause_s)
    stands = [
        StreamRow.id == claim.stream.id,
        StreamRow.state == claim.state,
        StreamRow.made_to.is_not_distinct_from(claim.made_to),
    ]
    if step.state is not StreamState.LIVE:  # for its silence
        stands.append(StreamRow.heard_at == claim.heard_at)
    return (
        update(StreamRow)
        .where(*stands)
        .values(
            state=step.state,
            made_to=step.windows[-1].start if step.windows else claim.made_to,
            last_beat=step.last_beat,
            due_from=step.due_from,
            claimed_until=pause,
            attempts=0,
        )
        .returning(StreamRow.message_id)
    )


def _window_values(stream_id: UUID, window: Window, now: datetime) -> dict[str, object]:
    flags = dict.fromkeys(rhythm.code for rhythm in window.rhythms)
    return {
        "stream_id": stream_id,
        "start": window.start,
        "assessed_at": now,
        "verdict": window.verdict,
        "heart_rate_bpm": window.heart_rate_bpm,
        "flagged": "".join(f",{code}" for code in flags) + "," if flags else None,
        "model": window.model,
        "content": {
            "beats": "".join(aami_class for _, aami_class in window.beats),
            "at_ms": [_ms(at - window.start) for at, _ in window.beats],
            "from_ms": _ms(window.first_sample - window.start),
            "rhythms": [[r.code, r.start_s, r.end_s, r.value, r.threshold] for r in window.rhythms],
            "share": round(window.share, 3),
            "overlapping": window.overlapping,
        },
    }


def _ms(delta: timedelta) -> int:
    return round(delta / timedelta(milliseconds=1))


def _window(row: WindowRow) -> Window:
    content = row.content
    return Window(
        start=row.start,
        verdict=row.verdict,
        heart_rate_bpm=row.heart_rate_bpm,
        beats=tuple(
            (row.start + timedelta(milliseconds=at_ms), aami_class)
            for at_ms, aami_class in zip(content["at_ms"], content["beats"], strict=True)
        ),
        rhythms=tuple(RhythmFinding(*rhythm) for rhythm in content["rhythms"]),
        first_sample=row.start + timedelta(milliseconds=content["from_ms"]),
        model=row.model,
        share=content["share"],
        overlapping=content["overlapping"],
    )
