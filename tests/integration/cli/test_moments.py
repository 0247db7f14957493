from datetime import UTC, datetime, timedelta, timezone

import click
import pytest

from integration.cli.moments import Moment


@pytest.mark.parametrize(
    ("written", "zone", "hour"),
    [
        ("2026-03-01", UTC, 0),
        ("2026-03-01T12:00:00", UTC, 12),
        ("2026-03-01T12:00:00+0100", timezone(timedelta(hours=1)), 12),
    ],
)
def test_a_moment_without_a_zone_is_utc(written, zone, hour):
    assert Moment().convert(written, None, None) == datetime(2026, 3, 1, hour, tzinfo=zone)


def test_what_is_no_moment_is_refused():
    with pytest.raises(click.BadParameter):
        Moment().convert("yesterday", None, None)
