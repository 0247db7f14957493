"""HL7 time stamps (data types TS and DTM, HL7 v2.5.1, 2.A.77), which may lack their zone."""

import re
from datetime import date, datetime, timedelta, timezone, tzinfo

from db.records import YEARS
from integration.errors import Refused

# The fraction's dot is optional: a monitor that writes `20260124131540000+0800` is in the field.
_STAMP = re.compile(
    r"(\d{4})(?:(\d\d)(?:(\d\d)(?:(\d\d)(\d\d)(?:(\d\d)(?:\.?(\d{1,9}))?)?)?)?)?([+-]\d{4})?",
    re.ASCII,
)
_MAX_OFFSET = timedelta(hours=14)


def parse_time(
    text: str, zone: tzinfo | None, location: tuple[str, int, int]
) -> datetime | date | None:
    """Read a time stamp.

    Args:
        text: TS or DTM; further components of a TS are not looked at.
        zone: of stamps that carry no offset, or None: not known.
        location: of the field, for a refusal.

    Returns:
        An aware time; a date where only that, or no zone, is known; None where even that is not.

    Raises:
        Refused: `time-malformed`.
    """
    if not text:
        return None
    match = _STAMP.fullmatch(text)
    if match is None:
        raise Refused("time-malformed", "not an HL7 time stamp", location)
    year, month, day, hour, minute, second, fraction, offset = match.groups()
    if day is None:
        return None
    if int(year) not in YEARS:
        raise Refused("time-malformed", "a year that nothing here is of", location)
    try:
        if hour is None:
            return date(int(year), int(month), int(day))
        micros = int((fraction or "0").ljust(6, "0")[:6])
        stamp = datetime(  # noqa: DTZ001 - the zone follows
            int(year), int(month), int(day), int(hour), int(minute), int(second or 0), micros
        )
        known = parse_offset(offset) if offset else zone
    except ValueError:
        raise Refused("time-malformed", "no such time", location) from None
    return stamp.date() if known is None else stamp.replace(tzinfo=known)


def parse_offset(offset: str) -> timezone:
    """Read `+HHMM`.

    Converters are in the field that write -0459 for -0500; no zone lies at such a minute, so the
    missing minute is put back.

    Raises:
        ValueError: not an offset that is used on Earth.
    """
    minutes = int(offset[1:3]) * 60 + int(offset[3:5])
    if int(offset[3:5]) > 59:
        raise ValueError(offset)
    delta = timedelta(minutes=minutes + (offset[3:5] == "59"))
    if delta > _MAX_OFFSET:
        raise ValueError(offset)
    return timezone(-delta if offset[0] == "-" else delta)


def zone_of(text: str) -> tzinfo | None:
    """Return the zone that a message's MSH-7 gives to all its stamps (HL7 v2.5.1, 2.15.9.7)."""
    match = _STAMP.fullmatch(text)
    try:
        return parse_offset(match[8]) if match and match[8] else None
    except ValueError:
        return None


def format_time(moment: datetime) -> str:
    """Return a DTM with milliseconds and offset.

    Args:
        moment: aware.
    """
    return moment.strftime("%Y%m%d%H%M%S.") + f"{moment.microsecond // 1000:03d}" + f"{moment:%z}"
