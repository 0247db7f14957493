"""One lead's recording, the observations it came in, and how recordings make ECGs."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from integration.errors import Refused, as_refused
from integration.hl7v2.message import Message, Segment
from integration.hl7v2.samples import Samples, without_sentinels
from integration.hl7v2.units import Location
from model.ecg import Ecg
from model.errors import EcgError

_MAX_RECORDINGS = 256
_MAX_FACTOR = 1e12  # keeps the arithmetic finite; `Ecg` is stricter


@dataclass(frozen=True)
class Order:
    """One OBR with its OBX, and the PIDs before it.

    Attributes:
        patient: index of the patient in the message: OBR groups of one patient share it.
        pids: the PID segments of that patient's group; more than one is suspect.
        obr: None where an OBX follows PID directly.
        pv1: of the patient's group, if there is one.
        observations: the OBX segments.
        passed_over: why waveforms of this order were left out.
    """

    patient: int
    pids: tuple[Segment, ...]
    obr: Segment | None
    pv1: Segment | None = None
    observations: list[Segment] = field(default_factory=list)
    passed_over: list[Refused] = field(default_factory=list)

    def start(self) -> tuple[bytes, Location]:
        """Return OBR-7 and its place."""
        return (self.obr.field(7), self.obr.at(7)) if self.obr else (b"", ("OBR", 1, 7))


@dataclass(frozen=True)
class Signal:
    """One lead.

    Attributes:
        lead: canonical name.
        mv: `(n_samples,)` millivolts; NaN where there is no value.
        resolution_mv: millivolts a step, or None where the sender gave millivolts.
        rate_hz: samples a second.
        start: time stamp as sent, or b"".
        start_at: where it stands.
        location: where the samples stand.
    """

    lead: str
    mv: NDArray[np.float64] = field(repr=False)
    resolution_mv: float | None
    rate_hz: float
    start: bytes = field(repr=False)
    start_at: Location
    location: Location


@dataclass(frozen=True)
class Recording:
    """Leads that were recorded together.

    Attributes:
        orders: where they came from; several when each lead has an OBR of its own.
        signals: at least one.
    """

    orders: tuple[Order, ...]
    signals: tuple[Signal, ...]

    @property
    def leads(self) -> set[str]:
        """Names of the leads."""
        return {signal.lead for signal in self.signals}

    def ecg(self) -> Ecg:
        """Return the ECG without its start.

        Raises:
            Refused: `lead-duplicate`, `rate-conflict`, `lengths-differ`, or what `Ecg` refuses.
        """
        first = self.signals[0]
        for signal in self.signals[1:]:
            if signal.rate_hz != first.rate_hz:
                raise Refused("rate-conflict", "leads differ in their rate", signal.location)
            if len(signal.mv) != len(first.mv):
                raise Refused("lengths-differ", "leads differ in length", signal.location)
        steps = [signal.resolution_mv for signal in self.signals]
        try:
            return Ecg(
                np.stack([signal.mv for signal in self.signals]).astype(np.float32),
                tuple(signal.lead for signal in self.signals),
                first.rate_hz,
                resolution_mv=None if None in steps else tuple(s for s in steps if s is not None),
            )
        except EcgError as error:
            raise as_refused(error, first.location) from None


def recordings(found: Iterable[tuple[Order, list[Signal]]]) -> list[Recording]:
    """Put together what was recorded together.

    Leads of one OBR belong together when they start at the same time; so do leads of several OBRs
    of one patient, where the start is told and no lead comes twice (a sender that gives every lead
    an OBR of its own). A second start inside one OBR is another recording: nothing is joined across
    a gap.
    """
    result: list[Recording] = []
    for order, signals in found:
        for start in dict.fromkeys(signal.start for signal in signals):
            together = Recording((order,), tuple(s for s in signals if s.start == start))
            mate = next((i for i, r in enumerate(result) if start and _joins(r, together)), None)
            if mate is None:
                result.append(together)
            else:
                first = result[mate]
                result[mate] = Recording((*first.orders, order), first.signals + together.signals)
        if len(result) > _MAX_RECORDINGS:
            place = result[-1].signals[0].location
            raise Refused("waveform-unsupported", "too many ECGs in one message", place)
    return result


def to_millivolts(
    samples: Samples,
    mv_per_step: float,
    baseline: float,
    declared: tuple[float, float] | None,
    location: Location,
) -> NDArray[np.float64]:
    """Return `(D - baseline) * mv_per_step`, NaN where a sample says "no value".

    Raises:
        Refused: `resolution-out-of-range`, `samples-out-of-range`, `amplitude-implausible`.
    """
    if not (0 < abs(mv_per_step) < _MAX_FACTOR and abs(baseline) < _MAX_FACTOR):
        raise Refused("resolution-out-of-range", "an absurd sensitivity or baseline", location)
    mv = (samples.values - baseline) * mv_per_step
    return without_sentinels(samples.values, mv, declared, location)


def is_withdrawn(message: Message, obx: Segment) -> bool:
    """Tell whether its sender takes an observation back (OBX-11 of table 0085: D, W, X)."""
    return message.free_text(obx.field(11), 2) in ("D", "W", "X")


def refuse_withdrawn(message: Message, obx: Segment) -> None:
    """Refuse a waveform that its sender takes back."""
    if is_withdrawn(message, obx):
        raise Refused("waveform-unsupported", "the observation is withdrawn", obx.at(11))


def _joins(recording: Recording, other: Recording) -> bool:
    return (
        recording.orders[0].patient == other.orders[0].patient
        and recording.signals[0].start == other.signals[0].start
        and not recording.leads & other.leads
    )
