from datetime import UTC, date, datetime, timedelta, timezone

import numpy as np
import pytest

from db.records import PatientRef
from integration.formats.decoded import (
    MAX_DEVICE,
    DecodedEcg,
    Format,
    device_name,
    mv_per,
    patients_of,
    placed,
    start_of,
)
from model.ecg import Ecg

NAIVE = datetime(2026, 1, 2, 3, 4, 5)  # noqa: DTZ001 - what a file without a zone gives
EAST = timezone(timedelta(hours=1))


def test_a_time_without_a_zone_counts_by_its_date_alone():
    assert placed(NAIVE, None) == date(2026, 1, 2)
    assert placed(NAIVE, EAST) == datetime(2026, 1, 2, 2, 4, 5, tzinfo=UTC)
    assert placed(NAIVE.replace(tzinfo=UTC), EAST).utcoffset() == timedelta(0)


def test_only_a_time_is_a_start():
    assert start_of(datetime(2026, 1, 2, tzinfo=UTC)) == datetime(2026, 1, 2, tzinfo=UTC)
    assert start_of(date(2026, 1, 2)) is None
    assert start_of(None) is None


@pytest.mark.parametrize(
    ("unit", "expected"),
    [
        ("mV", 1),
        ("uV", 1e-3),
        ("\u00b5V", 1e-3),
        ("nV", 1e-6),
        ("V", 1e3),
        ("MV", None),
        ("", None),
    ],
)
def test_units(unit, expected):
    assert mv_per(unit) == expected


def test_a_device_is_named_in_few_words():
    assert device_name(" Maker\n Ltd ", "Maker Ltd", None, "M\u00b51", "") == "Maker Ltd M\u00b51"
    assert device_name("\x1b[2J", "") is None
    assert len(device_name("x" * 1000)) == MAX_DEVICE


def test_patients_are_named_once_and_never_shown():
    one, two = PatientRef("1", "A"), PatientRef("2")
    assert patients_of(one, None, two, one) == (one, two)
    ecg = Ecg(np.zeros((1, 500), np.float32), ("I",), 500.0)
    shown = repr(DecodedEcg(ecg, Format.AECG, (PatientRef("4711", "HOSPITAL"),)))
    assert "4711" not in shown
    assert "HOSPITAL" not in shown
