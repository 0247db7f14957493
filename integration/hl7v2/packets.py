"""Whether a packet of IHE's profile WCM fits the period that it says it covers (OBR-7, OBR-8)."""

import re
from datetime import UTC, datetime

from integration.errors import Refused
from integration.hl7v2.message import Message
from integration.hl7v2.signals import Order, Signal
from integration.hl7v2.times import parse_time

_ENOUGH_SAMPLES = 50  # to tell half a packet from one with a gap


def check_period(message: Message, order: Order, signals: list[Signal]) -> None:
    """Hold the rate against the packet's start and end, OBR-7 and OBR-8.

    A packet may be shorter than its period, since senders cut it at a gap; it cannot be longer, and
    just a half or a quarter means that the rate is not the one it was sampled at.

    Raises:
        Refused: `rate-conflict`.
    """
    period_s, slack_s = _period_s(message, order)
    if period_s <= 0:
        return
    for signal in signals:
        lasts_s = len(signal.mv) / signal.rate_hz
        fraction = period_s / lasts_s
        halved = len(signal.mv) >= _ENOUGH_SAMPLES and any(
            abs(fraction / n - 1) < 0.01 and slack_s < 0.01 * period_s for n in (2, 4)
        )
        if halved or lasts_s > 1.05 * period_s + slack_s + 2 / signal.rate_hz:
            detail = "the packet's start and end do not fit its rate"
            raise Refused("rate-conflict", detail, signal.location)


def _period_s(message: Message, order: Order) -> tuple[float, float]:
    """Return (seconds from OBR-7 to OBR-8, seconds by which that may be wrong); 0: not told."""
    if order.obr is None:
        return 0.0, 0.0
    texts = [message.components(order.obr.field(number))[0] for number in (7, 8)]
    try:
        start, end = (parse_time(text, UTC, order.obr.at(7)) for text in texts)
    except Refused:  # not every sender fills these two; a start that is used is read elsewhere
        return 0.0, 0.0
    if not isinstance(start, datetime) or not isinstance(end, datetime):
        return 0.0, 0.0
    exact = all(len(re.split("[+-]", text)[0]) > len("20260101000000") for text in texts)
    return (end - start).total_seconds(), 0.0 if exact else 1.0
