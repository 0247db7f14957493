from datetime import UTC, date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integration.errors import Refused
from integration.hl7v2.times import format_time, parse_time, zone_of

PLACE = ("OBR", 1, 7)
PLUS_ONE = timezone(timedelta(hours=1))
BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("text", "zone", "expected"),
    [
        ("", UTC, None),
        ("2026", UTC, None),
        ("202601", UTC, None),
        ("20260102", UTC, date(2026, 1, 2)),
        ("20260102+0100", None, date(2026, 1, 2)),
        ("202601020304", UTC, datetime(2026, 1, 2, 3, 4, tzinfo=UTC)),
        ("20260102030405", BERLIN, datetime(2026, 1, 2, 3, 4, 5, tzinfo=PLUS_ONE)),
        ("20260102030405", None, date(2026, 1, 2)),
        ("20260102030405+0100", UTC, datetime(2026, 1, 2, 3, 4, 5, tzinfo=PLUS_ONE)),
        ("20260102030405.25Z"[:-1], UTC, datetime(2026, 1, 2, 3, 4, 5, 250_000, tzinfo=UTC)),
        ("20260102030405.1234567", UTC, datetime(2026, 1, 2, 3, 4, 5, 123_456, tzinfo=UTC)),
        # a monitor's stamp without its dot
        ("20260124131540000+0800", None, datetime(2026, 1, 24, 5, 15, 40, tzinfo=UTC)),
        # offsets that miss a minute
        ("20250228155958.138-0459", None, datetime(2025, 2, 28, 20, 59, 58, 138_000, tzinfo=UTC)),
        ("20250228155958-0359", None, datetime(2025, 2, 28, 19, 59, 58, tzinfo=UTC)),
        ("20250228155958+0530", None, datetime(2025, 2, 28, 10, 29, 58, tzinfo=UTC)),
    ],
)
def test_stamps(text, zone, expected):
    parsed = parse_time(text, zone, PLACE)
    assert parsed == expected
    assert type(parsed) is type(expected)


@pytest.mark.parametrize(
    "text",
    ["yesterday", "Aug 15, 1942", "20261301", "20260230", "2026010225", "202601022561", "20260",
     "20260102030460", "2026-01-02T03:04:05Z", "20260102030405+9900", "20260102030405+0175",
     "20260102030405.", "٢٠٢٦٠١٠٢", "00000000",
     "00010101000000+1400", "99991231235959-1400"],
)  # fmt: skip
def test_what_is_no_stamp(text):
    with pytest.raises(Refused, match="time-malformed") as caught:
        parse_time(text, UTC, PLACE)
    assert caught.value.location == PLACE


@pytest.mark.parametrize(
    ("text", "zone"),
    [
        ("20260102030405+0100", PLUS_ONE),
        ("20260102030405", None),
        ("", None),
        ("soon", None),
        ("20260102030405+9900", None),
    ],
)
def test_the_zone_a_message_gives_to_its_stamps(text, zone):
    assert zone_of(text) == zone


@given(
    st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1)),  # noqa: DTZ001 - the zone follows
    st.integers(-13 * 4, 14 * 4),
)
def test_what_is_written_is_read(moment, quarters):
    stamp = moment.replace(
        microsecond=moment.microsecond // 1000 * 1000,
        tzinfo=timezone(timedelta(minutes=15 * quarters)),
    )
    assert parse_time(format_time(stamp), None, PLACE) == stamp
