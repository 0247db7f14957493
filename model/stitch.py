"""Packets of a continuous recording -> windows that can be scored. No I/O, no clock of its own.

A monitor sends a packet a second. Packets of one stream (device, patient, rate) are laid on a grid
of samples by their time stamps; a window is 10 s of that grid, and begins at whole tens of seconds
since 1970, so that every process cuts the same windows, whenever it was started.

- A packet that begins within half a packet's jitter (`TOLERANCE_S`) of where the last one ended
  continues it without a seam: clocks of monitors and of their gateways differ by milliseconds.
- Anything longer is a gap. Gaps stay gaps (NaN): two stretches are never joined over one.
- What came twice counts once. Where packets overlap with other samples, the first that arrived
  stands, and the window says so.
- Leads may come in packets of their own; each lies on the grid where its own time stamp puts it,
  at most half a sample off.
- A lead with less than half of the window is left out.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from model.ecg import LEADS_12, Ecg

WINDOW_S = 10
LATENESS_S = 3.0  # how long after a window's end its packets may still come
IDLE_S = 30.0  # a stream silent for longer has ended; what is there is scored as it is
MAX_PACKET_S = 5.0  # longer recordings are ECGs by themselves
TOLERANCE_S = 0.1
MIN_SHARE = 0.5
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Stitched:
    """One window.

    Attributes:
        start: of the window, aware, UTC.
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


def window_start(moment: datetime) -> datetime:
    """Return the beginning of the window that a moment lies in, in UTC."""
    since = moment - _EPOCH
    return _EPOCH + since // timedelta(seconds=WINDOW_S) * timedelta(seconds=WINDOW_S)


def closed_windows(
    spans: Iterable[tuple[datetime, datetime]], silent_s: float
) -> tuple[datetime, ...]:
    """Return the windows that packets lie in and that nothing is waited for any more, in order.

    Args:
        spans: start and end of the packets that are there, in any order.
        silent_s: seconds since a packet of the stream arrived, by the clock on the wall.
    """
    known = list(spans)
    until = max((end for _, end in known), default=_EPOCH)
    if silent_s < IDLE_S:
        until -= timedelta(seconds=LATENESS_S + WINDOW_S)
    last = timedelta(microseconds=1)  # a packet that ends where a window begins is not in it
    touched = {window_start(moment) for start, end in known for moment in (start, end - last)}
    return tuple(sorted(window for window in touched if window <= until))


def stitch(packets: Sequence[Ecg], window: datetime) -> Stitched:
    """Return the window that begins at `window`.

    Args:
        packets: with `start`, in the order of their arrival, all at the same rate; those outside
            the window do no harm.
        window: aware.
    """
    if not packets:
        return Stitched(window, None, 0.0, overlapping=False)
    rate_hz = packets[0].sampling_rate_hz
    grid = _Grid(round(WINDOW_S * rate_hz))
    for lead in LEADS_12:
        pieces = [_Piece.of(packet, lead, window) for packet in packets if lead in packet.leads]
        grid.lay(lead, pieces)
    return Stitched(window, grid.ecg(rate_hz, window), grid.share, grid.overlapping)


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
        row = np.full(self._n, np.nan, np.float32)
        for start, piece in _placed(pieces):
            low, high = max(start, 0), min(start + len(piece.voltage_mv), self._n)
            if low >= high:
                continue
            new, there = piece.voltage_mv[low - start : high - start], row[low:high]
            taken = ~np.isnan(there)
            self.overlapping |= bool((taken & ~np.isnan(new) & (there != new)).any())
            there[~taken] = new[~taken]
        if np.isfinite(row).mean() >= MIN_SHARE:
            self._leads[lead] = row
            steps = {piece.resolution_mv for piece in pieces}
            self._steps[lead] = steps.pop() if len(steps) == 1 else None

    def ecg(self, rate_hz: float, window: datetime) -> Ecg | None:
        """Return what is there, or None."""
        if not self._leads:
            return None
        voltage_mv = np.stack(list(self._leads.values()))
        self.share = float(np.isfinite(voltage_mv).mean())
        steps = tuple(self._steps[lead] for lead in self._leads)
        known = tuple(step for step in steps if step is not None)
        return Ecg(
            voltage_mv,
            tuple(self._leads),
            rate_hz,
            start=window,
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
