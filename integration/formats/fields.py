"""Numbers, dates and times as XML files spell them; nothing that only resembles one is taken."""

import re
from datetime import date, datetime, tzinfo
from datetime import time as wall_time

from integration.formats.decoded import placed
from model.errors import EcgError

_INTEGER = re.compile(r"[+-]?\d{1,12}", re.ASCII)
_DECIMAL = re.compile(r"[+-]?(?:\d{1,18}\.?\d{0,18}|\.\d{1,18})(?:[eE][+-]?\d{1,3})?", re.ASCII)
_ISO_DATE = re.compile(r"(?P<year>\d{4})-(?P<month>\d\d)-(?P<day>\d\d)", re.ASCII)
_US_DATE = re.compile(r"(?P<month>\d\d)-(?P<day>\d\d)-(?P<year>\d{4})", re.ASCII)
_TIME = re.compile(r"(\d\d):(\d\d)(?::(\d\d))?", re.ASCII)


def whole_number(text: str, reason: str) -> int:
    """Return an integer.

    Raises:
        EcgError: with `reason`.
    """
    if not _INTEGER.fullmatch(text):
        raise EcgError(reason, "not a whole number")
    return int(text)


def decimal_number(text: str, reason: str) -> float:
    """Return a number, which may be infinite where its exponent is.

    Raises:
        EcgError: with `reason`.
    """
    if not _DECIMAL.fullmatch(text):
        raise EcgError(reason, "not a number")
    return float(text)


def date_and_time(day: str, time: str, zone: tzinfo | None) -> datetime | date | None:
    """Return when something was, from a date and a time of day without offset.

    Args:
        day: `YYYY-MM-DD` or, as GE writes it, `MM-DD-YYYY`.
        time: `HH:MM` or `HH:MM:SS`; "" where only the day is known.
        zone: of the sender's clock; None: not known, so the date alone counts.

    Returns:
        None where there is no date.

    Raises:
        EcgError: `time-malformed`.
    """
    if not day:
        return None
    calendar = _ISO_DATE.fullmatch(day) or _US_DATE.fullmatch(day)
    clock = _TIME.fullmatch(time)
    if calendar is None or (time and clock is None):
        raise EcgError("time-malformed", "not a date, or not a time of day")
    try:
        known = date(*(int(calendar[part]) for part in ("year", "month", "day")))
        hour, minute, second = map(int, clock.groups("0")) if clock else (0, 0, 0)
        stamp = datetime.combine(known, wall_time(hour, minute, second))
    except ValueError:
        raise EcgError("time-malformed", "no such date or time") from None
    return placed(stamp, zone) if clock else known
