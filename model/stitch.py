"""Packets of a continuous recording -> windows that can be scored. No I/O, no clock of its own.

The rules, all in event time, which is the device's:

- Packets of one stream (device, patient, rate) are laid on a grid of samples by their time stamps.
  One that begins within a packet's jitter (`TOLERANCE_S`) of where the last one ended continues it
  without a seam: clocks of monitors and of their gateways differ by milliseconds.
- Anything longer is a gap. Gaps stay gaps (NaN): two stretches are never joined over one.
- What came twice counts once. Where packets overlap with other samples, the first that arrived
  stands, and the window says so. Leads may come in packets of their own; each lies where its own
  time stamp puts it, at most half a sample off. A lead with less than half of the window is left
  out.
- A window is `WINDOW_S` long, and a new one begins every `STRIDE_S`, so windows overlap. Each
  answers for its core, the middle `STRIDE_S`; the margin of `MARGIN_S` on either side gives beats
  and rhythms their context. Cores tile time: each beat is in one of them. A window without a sample
  in its core is not made.
- Windows begin at a phase that follows from the stream's id, so every process cuts the same
  windows, whenever it was started, and a thousand beds are not due in the same second.
- A window is closed once it is whole: every lead that it has is there from its first packet, which
  may come later than the window begins, to its end. If something is missing in between, it is
  closed when the stream's watermark, the latest end of any of its packets, is `LATENESS_S` past its
  end, or when nothing has come for `IDLE_S` by the clock on the wall.
- What comes for windows that are closed is late: it is kept, counted, and changes nothing.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.ecg import LEADS_12, Ecg

WINDOW_S, STRIDE_S = 20.0, 10.0
MARGIN_S = (WINDOW_S - STRIDE_S) / 2
LATENESS_S = 3.0
IDLE_S = 30.0
MAX_PACKET_S = 5.0  # longer recordings are ECGs by themselves
MAX_AHEAD_S = 300.0  # a device's clock may be ahead of ours; beyond it, a time is wrong
TOLERANCE_S = 0.1
MIN_SHARE = 0.5
PHASE_STEP_S = 0.04  # a whole number of samples at every rate that monitors use

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WINDOW, _STRIDE = timedelta(seconds=WINDOW_S), timedelta(seconds=STRIDE_S)
_MARGIN, _LATENESS = timedelta(seconds=MARGIN_S), timedelta(seconds=LATENESS_S)
_TOLERANCE = timedelta(seconds=TOLERANCE_S)


class Span(NamedTuple):
    """When a packet begins and ends, aware, and the leads it has."""

    start: datetime
    end: datetime
    leads: tuple[str, ...]


@dataclass(frozen=True)
class Stitched:
    """One stretch.

    Attributes:
        start: of the first sample, aware, UTC.
        ecg: the leads that have enough samples, or None.
        share: of the samples of those leads that are there, in [0, 1].
        overlapping: whether packets contradicted each other.
    """

    start: datetime
    ecg: Ecg | None = field(repr=False)
    share: float
    overlapping: bool


def is_packet(ecg: Ecg) -> bool:
    """Whether an ECG is a piece of a continuous recording: short, and it says when it began."""
    return ecg.start is not None and ecg.duration_s < MAX_PACKET_S


def phase_of(number: int) -> timedelta:
    """Return how much later than whole strides a stream's windows begin; `number` is its id's."""
    steps = round(STRIDE_S / PHASE_STEP_S)
    return timedelta(seconds=number % steps * PHASE_STEP_S)


def core_of(window: datetime) -> tuple[datetime, datetime]:
    """Return begin and end of what a window answers for."""
    return window + _MARGIN, window + _MARGIN + _STRIDE


def window_for(moment: datetime, phase: timedelta) -> datetime:
    """Return the window whose core a moment lies in, in UTC."""
    since = moment - _MARGIN - phase - _EPOCH
    return _EPOCH + phase + since // _STRIDE * _STRIDE


def whole_from(window: datetime) -> datetime:
    """Return the watermark from which a window may be whole."""
    return window + _WINDOW - _TOLERANCE


def windows_in(
    spans: Iterable[Span], phase: timedelta, after: datetime | None
) -> tuple[datetime, ...]:
    """Return the windows that have something in their core, in order.

    Args:
        spans: of the packets that are there, in any order.
        phase: of the stream.
        after: the last window that was made; earlier ones are closed.
    """
    instant = timedelta(microseconds=1)  # a packet that ends where a core begins is not in it
    ends = {window_for(at, phase) for span in spans for at in (span.start, span.end - instant)}
    return tuple(sorted(window for window in ends if after is None or window > after))


def is_closed(
    window: datetime, spans: Sequence[Span], watermark: datetime, silent_s: float
) -> bool:
    """Whether nothing is waited for any more.

    Args:
        window: where it begins.
        spans: of the packets of its stream.
        watermark: the latest end of any of them.
        silent_s: seconds since a packet of the stream arrived, by the clock on the wall.
    """
    end = window + _WINDOW
    if silent_s >= IDLE_S or watermark >= end + _LATENESS:
        return True
    return watermark >= whole_from(window) and _is_whole(window, end, spans)


def _is_whole(start: datetime, end: datetime, spans: Sequence[Span]) -> bool:
    """Whether every lead that is there is there from where the first one begins."""
    inside = sorted(span for span in spans if span.start < end and span.end > start)
    start = max([start, *(span.start for span in inside[:1])])
    reached: dict[str, datetime] = {}
    for span in inside:
        for lead in span.leads:
            if span.start - reached.get(lead, start) > _TOLERANCE:
                return False
            reached[lead] = max(span.end, reached.get(lead, start))
    return bool(reached) and min(reached.values()) >= end - _TOLERANCE


def stitch(packets: Sequence[Ecg], start: datetime, duration_s: float = WINDOW_S) -> Stitched:
    """Return the stretch that begins at `start`, without the ends where no lead has anything.

    Args:
        packets: with `start`, in the order of their arrival, all at the same rate; those outside
            the stretch do no harm.
        start: aware.
        duration_s: of the stretch.
    """
    if not packets:
        return Stitched(start, None, 0.0, overlapping=False)
    rate_hz = packets[0].sampling_rate_hz
    grid = _Grid(round(duration_s * rate_hz))
    for lead in LEADS_12:
        pieces = [_Piece.of(packet, lead, start) for packet in packets if lead in packet.leads]
        grid.lay(lead, pieces)
    ecg = grid.ecg(rate_hz, start)
    return Stitched(ecg.start if ecg and ecg.start else start, ecg, grid.share, grid.overlapping)


@dataclass(frozen=True)
class _Piece:
    """One lead of one packet; `at` is where it begins on the grid, in samples."""

    at: float
    voltage_mv: NDArray[np.float32]
    resolution_mv: float | None
    tolerance: float

    @classmethod
    def of(cls, packet: Ecg, lead: str, window: datetime) -> "_Piece":
        row = packet.leads.index(lead)
        step = packet.resolution_mv[row] if packet.resolution_mv else None
        offset_s = (packet.start - window).total_seconds() if packet.start else 0.0
        rate_hz = packet.sampling_rate_hz
        return cls(offset_s * rate_hz, packet.voltage_mv[row], step, TOLERANCE_S * rate_hz)


class _Grid:
    """The samples of a window, lead by lead."""

    def __init__(self, n_samples: int) -> None:
        self._n = n_samples
        self._leads: dict[str, NDArray[np.float32]] = {}
        self._steps: dict[str, float | None] = {}
        self.overlapping = False
        self.share = 0.0

    def lay(self, lead: str, pieces: Sequence[_Piece]) -> None:
        """Put a lead's pieces where they belong; those that came first stay."""
        if not pieces:
            return
        row = np.full(self._n, np.nan, np.float32)
        for start, piece in _placed(pieces):
            low, high = max(start, 0), min(start + len(piece.voltage_mv), self._n)
            if low >= high:
                continue
            new, there = piece.voltage_mv[low - start : high - start], row[low:high]
            taken = ~np.isnan(there)
            self.overlapping |= bool((taken & ~np.isnan(new) & (there != new)).any())
            there[~taken] = new[~taken]
        self._leads[lead] = row
        steps = {piece.resolution_mv for piece in pieces}
        self._steps[lead] = steps.pop() if len(steps) == 1 else None

    def ecg(self, rate_hz: float, window: datetime) -> Ecg | None:
        """Return what is there, or None."""
        rows = np.stack(list(self._leads.values()))
        there = np.flatnonzero(np.isfinite(rows).any(axis=0))
        if not len(there):
            return None
        first, last = int(there[0]), int(there[-1]) + 1
        rows = rows[:, first:last]
        enough = np.isfinite(rows).mean(axis=1) >= MIN_SHARE
        if not enough.any():
            return None
        leads = tuple(lead for lead, keep in zip(self._leads, enough, strict=True) if keep)
        voltage_mv = np.ascontiguousarray(rows[enough])
        self.share = float(np.isfinite(voltage_mv).mean())
        steps = tuple(self._steps[lead] for lead in leads)
        known = tuple(step for step in steps if step is not None)
        return Ecg(
            voltage_mv,
            leads,
            rate_hz,
            start=window + timedelta(seconds=first / rate_hz),
            resolution_mv=known if len(known) == len(steps) else None,
        )


def _placed(pieces: Sequence[_Piece]) -> Iterator[tuple[int, _Piece]]:
    """Yield the pieces in the order of arrival, each with its first sample on the grid.

    One that begins near the end of the piece before it in time begins right there; pieces of the
    same time lie in the same place.
    """
    first_of = {piece.at: piece for piece in reversed(pieces)}
    places: dict[float, int] = {}
    end: int | None = None
    for at in sorted(first_of):
        piece = first_of[at]
        follows = end is not None and abs(at - end) <= piece.tolerance
        places[at] = end if follows and end is not None else round(at)
        end = max(places[at] + len(piece.voltage_mv), end or places[at])
    for piece in pieces:
        yield places[piece.at], piece
