"""Shape A: waveforms as chapter 7 has them (HL7 v2.3, 7.16 to 7.20; data type CD, 2A.2.5).

A group is the OBX segments of one OBX-4: CHN defines its channels, TIM gives the time of the first
sample, WAV carries samples (NA channel by channel, MA time by time), ANO annotates. Several WAV
continue each other; a new TIM starts a new epoch after a gap.

Amplitude = sensitivity * correction * (sample - baseline). Without a baseline it is 0, but
2^(n-1) where the declared range is that of unsigned n-bit words.

The lead stands in CD.1 or CD.2, or in OBX-3 of a group that has one channel; where it stands more
than once, all must agree. A channel that is none of the twelve leads is passed over.
"""

import re
from dataclasses import dataclass, field

import numpy as np

from integration.errors import Refused
from integration.hl7v2.leads import OTHER, lead_of
from integration.hl7v2.message import Message, Segment, part
from integration.hl7v2.samples import Samples, parse_multiplexed, parse_samples
from integration.hl7v2.signals import Order, Signal, refuse_withdrawn, to_millivolts
from integration.hl7v2.units import Location, decimal, mv_per_step

SUFFIXES = ("TIM", "CHN", "WAV", "ANO")
_MAX_CHANNELS = 64
# What OBX-3.2 says of a segment, where it says nothing of its lead.
_DESCRIPTION = re.compile(
    r"(?:channel|definition|waveform|wave|samples?|ecg|data|\s)*", re.IGNORECASE
)


@dataclass(frozen=True)
class Channel:
    """One repetition of CD."""

    lead: str
    mv_per_step: float
    baseline: float
    rate_hz: float
    declared: tuple[float, float] | None


@dataclass
class _Epoch:
    """What one TIM covers; None: a channel that is passed over."""

    channels: list[Channel | None]
    start: bytes
    start_at: Location
    blocks: list[list[Samples]] = field(default_factory=list)
    location: Location = ("OBX", 1, 5)


def suffix_of(message: Message, obx: Segment) -> str:
    """Return TIM, CHN, WAV or ANO where OBX-3.1 carries it, as `5&WAV` or plainly, else ""."""
    parts = message.subcomponents(obx.field(3).split(message.delimiters.component, 1)[0])
    last = parts[1] if len(parts) > 1 else parts[0]
    return last.upper() if last.upper() in SUFFIXES else ""


def generic_signals(message: Message, order: Order) -> list[Signal]:
    """Return the leads in an order's waveform groups.

    Raises:
        Refused: with the reason and the place.
    """
    groups: dict[bytes, list[_Epoch]] = {}
    for obx in order.observations:
        if suffix := suffix_of(message, obx):
            epochs = groups.setdefault(obx.field(4), [_Epoch([], *order.start())])
            _take(message, order, obx, suffix, epochs)
    return [signal for epochs in groups.values() for epoch in epochs for signal in _signals(epoch)]


def _take(message: Message, order: Order, obx: Segment, suffix: str, epochs: list[_Epoch]) -> None:
    if suffix in ("CHN", "TIM") and epochs[-1].blocks:
        last = epochs[-1]
        epochs.append(_Epoch(last.channels, last.start, last.start_at))
    epoch = epochs[-1]
    if suffix == "CHN":
        epoch.channels = _channels(message, order, obx)
    elif suffix == "TIM":
        epoch.start, epoch.start_at = obx.field(5), obx.at(5)
    elif suffix == "WAV":
        refuse_withdrawn(message, obx)
        _check_lead(message, obx, epoch.channels)
        epoch.blocks.append(_block(message, obx, len(epoch.channels)))
        epoch.location = obx.at(5)


def _signals(epoch: _Epoch) -> list[Signal]:
    if epoch.channels and not epoch.blocks:
        raise Refused("samples-missing", "channels without samples", epoch.start_at)
    signals = []
    for index, channel in enumerate(epoch.channels):
        if channel is None:
            continue
        parts = [block[index] for block in epoch.blocks]
        whole = Samples(
            np.concatenate([p.values for p in parts]), any(p.decimal_point for p in parts)
        )
        scale = (channel.mv_per_step, channel.baseline, channel.declared)
        signals.append(
            Signal(
                lead=channel.lead,
                mv=to_millivolts(whole, *scale, epoch.location),
                resolution_mv=abs(channel.mv_per_step) if whole.integral else None,
                rate_hz=channel.rate_hz,
                start=epoch.start,
                start_at=epoch.start_at,
                location=epoch.location,
            )
        )
    return signals


def _block(message: Message, obx: Segment, n_channels: int) -> list[Samples]:
    if not n_channels:
        raise Refused("leads-malformed", "samples before their channel definition", obx.at(3))
    value, place, delimiters = obx.field(5), obx.at(5), message.delimiters
    kind = message.text(obx.field(2))
    if kind == "MA":
        return parse_multiplexed(
            value, delimiters.component, delimiters.repetition, n_channels, place
        )
    if kind != "NA":
        raise Refused("waveform-unsupported", "samples come as NA or MA", obx.at(2))
    rows = value.strip().removesuffix(delimiters.repetition)
    if rows.count(delimiters.repetition) + 1 != n_channels:
        raise Refused("leads-malformed", f"not one row for each of {n_channels} channels", place)
    block = [
        parse_samples(row, delimiters.component, place) for row in rows.split(delimiters.repetition)
    ]
    if len({len(samples.values) for samples in block}) > 1:
        raise Refused("lengths-differ", "leads differ in length", place)
    return block


def _channels(message: Message, order: Order, obx: Segment) -> list[Channel | None]:
    """Read CHN; components 3 to 6 stay in force until a later repetition states them anew."""
    repetitions = obx.field(5).strip().split(message.delimiters.repetition, _MAX_CHANNELS)
    if len(repetitions) > _MAX_CHANNELS:
        raise Refused("leads-malformed", "too many channels", obx.at(5))
    outside = _group_lead(message, obx) if len(repetitions) == 1 else None
    sticky: list[bytes] = [b""] * 6
    channels: list[Channel | None] = []
    for repetition in repetitions:
        own = (repetition.split(message.delimiters.component, 6) + [b""] * 6)[:6]
        sticky = own[:2] + [new or old for new, old in zip(own[2:], sticky[2:], strict=True)]
        parts = [message.subcomponents(component) for component in sticky]
        name, source = (message.in_our_words(part) for part in parts[:2])
        lead = _lead(name, source, outside, obx.at(5))
        if isinstance(lead, Refused):
            order.passed_over.append(lead)
        channels.append(None if isinstance(lead, Refused) else _channel(lead, parts, obx.at(5)))
    return channels


def _channel(lead: str, parts: list[list[str]], place: Location) -> Channel:
    _, _, sensitivity, calibration, rate, bounds = parts
    if not rate[0]:
        raise Refused("rate-missing", "no sampling frequency in CD.5", place)
    if not sensitivity[0]:
        raise Refused("resolution-missing", "no sensitivity in CD.3", place)
    rate_hz = decimal(rate[0], "field-malformed", place)
    mv_a_step = decimal(sensitivity[0], "resolution-malformed", place)
    mv_a_step *= mv_per_step(sensitivity[1:3], place)
    if correction := part(calibration, 1):
        mv_a_step *= decimal(correction, "resolution-malformed", place)
    _check_skew(part(calibration, 3), rate_hz, place)
    declared = _range(bounds, place)
    return Channel(
        lead=lead,
        mv_per_step=mv_a_step,
        baseline=_baseline(part(calibration, 2), declared, place),
        rate_hz=rate_hz,
        declared=declared,
    )


def _group_lead(message: Message, obx: Segment) -> str | None:
    """Return the lead that OBX-3 of a group names, as `131329&CHN^MDC_ECG_ELEC_POTL_I^MDC`."""
    components = message.components(obx.field(3))
    first = message.subcomponents(obx.field(3).split(message.delimiters.component, 1)[0])
    code = "" if first[0].upper() in SUFFIXES else first[0]
    name = "" if _DESCRIPTION.fullmatch(part(components, 2)) else part(components, 2)
    lead = lead_of(message.in_our_words([code, name, *components[2:]]), obx.at(3))
    return None if lead == OTHER else lead


def _check_lead(message: Message, obx: Segment, channels: list[Channel | None]) -> None:
    if len(channels) != 1 or channels[0] is None:
        return
    if _group_lead(message, obx) not in (None, channels[0].lead):
        raise Refused("lead-mismatch", "samples of another lead than their channel", obx.at(3))


def _lead(
    name: list[str], sources: list[str], outside: str | None, place: Location
) -> str | Refused:
    """Return the lead of a channel; many senders put it in CD.2, beside a bare number in CD.1.

    Returns:
        The lead, or why the channel is to be passed over.
    """
    named = lead_of(name[:2], place)
    source = lead_of(["", sources[0]], place)
    labelled = part(name, 2) or (name[0] if not name[0].isdecimal() else "")
    if labelled and named is None:
        source = None
        outside = None
    found = {lead for lead in (named, source, outside) if lead is not None}
    if not found or OTHER in found:
        return Refused("lead-unknown", f"channel {(labelled or sources[0])[:16]!r}", place)
    if len(found) > 1:
        raise Refused("lead-mismatch", "channel and source name different leads", place)
    return found.pop()


def _range(bounds: list[str], place: Location) -> tuple[float, float] | None:
    if not part(bounds, 1) or not part(bounds, 2) or bounds[0] == bounds[1]:
        return None
    low, high = (decimal(bound, "field-malformed", place) for bound in bounds[:2])
    if low > high:
        raise Refused("field-malformed", "the range in CD.6 is upside down", place)
    return low, high


def _baseline(text: str, declared: tuple[float, float] | None, place: Location) -> float:
    if text:
        return decimal(text, "field-malformed", place)
    if declared is None or declared[0] < 0:
        return 0.0
    words = int(declared[1]) + 1
    if words & (words - 1) or words != declared[1] + 1:
        raise Refused("resolution-missing", "no baseline for an odd unsigned range", place)
    return words / 2


def _check_skew(text: str, rate_hz: float, place: Location) -> None:
    """Channels sampled one after the other inside one period (CCP.3) count as simultaneous."""
    if text and abs(decimal(text, "field-malformed", place)) * rate_hz > 1:
        raise Refused("waveform-unsupported", "channels are skewed by more than a sample", place)
