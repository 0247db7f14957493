"""Packets that wait in the database become windows that can be scored.

Any number of workers may do it at once: a window is made once, by whoever is first.
"""

import logging
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from db.errors import Corrupt
from db.records import NewWindow, Packet, Stream
from db.store import Store
from model.stitch import WINDOW_S, Stitched, closed_windows, stitch

BATCH = 20_000  # packets: 1000 beds, 20 s each
_WINDOW = timedelta(seconds=WINDOW_S)
_log = logging.getLogger(__name__)


def stitch_once(store: Store, now: datetime) -> int:
    """Make the windows that nothing is waited for any more; return how many became exams."""
    streams: dict[Stream, list[Packet]] = defaultdict(list)
    for packet in store.waiting_packets(BATCH):
        streams[packet.stream].append(packet)
    return sum(_stitch_stream(store, stream, known, now) for stream, known in streams.items())


def _stitch_stream(store: Store, stream: Stream, known: Sequence[Packet], now: datetime) -> int:
    silent_s = (now - max(packet.received_at for packet in known)).total_seconds()
    windows = closed_windows(((p.start, p.end) for p in known), silent_s)
    made = store.known_exams([stream.window_id(window) for window in windows])
    count = 0
    for window in windows:
        inside = [p for p in known if p.start < window + _WINDOW and p.end > window]
        done = tuple(p.id for p in inside if p.end <= window + _WINDOW)
        if stream.window_id(window) in made:
            _end_late(store, done)
        elif _make(store, stream, window, inside, done):
            count += 1
    return count


def _make(
    store: Store,
    stream: Stream,
    window: datetime,
    inside: Sequence[Packet],
    done: tuple[UUID, ...],
) -> bool:
    arrived = sorted(inside, key=lambda p: p.received_at)
    try:
        stitched = stitch(store.packet_ecgs([p.id for p in arrived]), window)
    except Corrupt as error:
        _log.error("window not made reason=%s", error.reason)
        stitched = Stitched(window, None, 0.0, overlapping=False)
    first = min(inside, key=lambda p: (p.start < window, p.start))
    saved = store.save_window(NewWindow(stream, window, stitched.ecg, first.id, done))
    told = (stream.window_id(window), len(inside), stitched.share, stitched.overlapping)
    if saved:
        _log.info("window id=%s packets=%d share=%.2f overlapping=%s", *told)
    return saved and stitched.ecg is not None


def _end_late(store: Store, ids: Sequence[UUID]) -> None:
    if ids:
        store.end_late_packets(ids)
        _log.warning("late packets count=%d", len(ids))
