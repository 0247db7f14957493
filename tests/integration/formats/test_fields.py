from datetime import UTC, date, datetime, timedelta, timezone

import pytest

from integration.formats.fields import date_and_time, decimal_number, whole_number
from model.errors import EcgError

WEST = timezone(timedelta(hours=-5))


@pytest.mark.parametrize(("text", "value"), [("0", 0), ("-12", -12), ("+500", 500)])
def test_whole_numbers(text, value):
    assert whole_number(text, "why") == value


@pytest.mark.parametrize(
    ("text", "value"),
    [("4.88", 4.88), (".5", 0.5), ("-1.", -1), ("1e-3", 1e-3), ("1e999", float("inf"))],
)
def test_decimal_numbers(text, value):
    assert decimal_number(text, "why") == value


@pytest.mark.parametrize(
    "text", ["", "x", "1,5", "1_000", " 1", "0x10", "nan", "inf", "\u0661", "9" * 40]
)
def test_nothing_that_only_resembles_a_number(text):
    for read in (whole_number, decimal_number):
        with pytest.raises(EcgError) as refused:
            read(text, "some-reason")
        assert refused.value.reason == "some-reason"


@pytest.mark.parametrize("day", ["2026-01-02", "01-02-2026"])
def test_dates_and_times(day):
    assert date_and_time(day, "", UTC) == date(2026, 1, 2)
    assert date_and_time(day, "03:04:05", None) == date(2026, 1, 2)
    assert date_and_time(day, "03:04:05", WEST) == datetime(2026, 1, 2, 8, 4, 5, tzinfo=UTC)
    assert date_and_time(day, "03:04", UTC) == datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
    assert date_and_time("", "03:04", UTC) is None


@pytest.mark.parametrize(
    ("day", "time"),
    [("02.01.2026", ""), ("13-01-2026", ""), ("2026-02-30", ""), ("2026-01-02", "24:00:00"),
     ("2026-01-02", "3 pm"), ("2026-01-02", "03:04:05.5"), ("0000-01-01", "")],
)  # fmt: skip
def test_no_such_date_or_time(day, time):
    with pytest.raises(EcgError, match="time-malformed"):
        date_and_time(day, time, None)
