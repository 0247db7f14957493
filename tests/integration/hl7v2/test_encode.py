from datetime import UTC, date, datetime, timedelta, timezone

import numpy as np
import pytest
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.parser import parse_message
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from db.records import NewExam, PatientRef
from integration.errors import Refused
from integration.hl7v2.decode import decode
from integration.hl7v2.encode import encode_ecg
from model.ecg import LEADS_12, Ecg

NOW = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=timezone(timedelta(hours=1)))
PATIENT = PatientRef("12|3^4", "HOSP&A")


def encoded(exam, **changes):
    envelope = {
        "control_id": "C1",
        "sender_application": "CART",
        "sender_facility": "WARD",
        "now": NOW,
    }
    return encode_ecg(exam, **(envelope | changes))


def exam_of(counts, step=0.005, leads=LEADS_12, rate=500.0, **about):
    resolution = None if step is None else (step,) * len(leads)
    mv = (np.asarray(counts) * (step or 1.0)).astype(np.float32)
    return NewExam(PATIENT, Ecg(mv, leads, rate, about.pop("start", None), resolution), **about)


def back(exam):
    decoded = decode(encoded(exam))
    assert len(decoded.exams) == 1
    return decoded.exams[0]


def test_everything_comes_back():
    counts = np.arange(-60, 60).reshape(12, 10)
    start = datetime(2026, 1, 1, 12, 0, 0, 250000, tzinfo=UTC)
    exam = exam_of(counts, start=start, acquired=start, placer_order="P1", filler_order="F&1")
    again = back(exam)
    assert again.patient == PATIENT
    assert (again.placer_order, again.filler_order, again.acquired) == ("P1", "F&1", start)
    assert again.ecg.leads == LEADS_12
    assert again.ecg.resolution_mv == exam.ecg.resolution_mv
    assert again.ecg.start == start
    np.testing.assert_array_equal(again.ecg.voltage_mv, exam.ecg.voltage_mv)


@pytest.mark.parametrize("acquired", [None, date(2026, 1, 1), NOW])
def test_times_that_are_known_in_part_come_back(acquired):
    again = back(exam_of([[1, 2]], leads=("II",), acquired=acquired))
    assert again.acquired == acquired
    assert again.ecg.start == (acquired if isinstance(acquired, datetime) else None)


def test_an_ecg_with_a_start_alone_is_acquired_then():
    assert back(exam_of([[1, 2]], leads=("II",), start=NOW)).acquired == NOW


COUNTS = arrays(np.int64, (2, 40), elements=st.integers(-3999, 3999))
STEPS = st.sampled_from([0.005, 0.00488, 0.001, 0.0025, 0.001221])
HOLES = arrays(np.bool_, (2, 40))


@given(COUNTS, STEPS, st.sampled_from([100.0, 257.5, 500.0, 1000.0]))
def test_counts_come_back_exactly(counts, step, rate):
    again = back(exam_of(counts, step, ("I", "aVR"), rate)).ecg
    np.testing.assert_array_equal(np.rint(again.voltage_mv.astype(np.float64) / step), counts)
    assert again.sampling_rate_hz == rate


@given(COUNTS, HOLES, st.sampled_from([0.005, 0.0001, None]))
def test_missing_values_come_back_and_hide_no_other(counts, holes, step):
    mv = np.where(holes, np.nan, counts * (step or 0.001))
    exam = exam_of(mv / (step or 1.0), step, ("V1", "V6"))
    np.testing.assert_array_equal(back(exam).ecg.voltage_mv, exam.ecg.voltage_mv)


@given(arrays(np.float32, (1, 30), elements=st.floats(-20, 20, width=32)))
def test_millivolts_without_a_resolution_come_back_exactly(mv):
    exam = NewExam(PATIENT, Ecg(mv, ("V2",), 250.0))
    again = back(exam).ecg
    np.testing.assert_array_equal(again.voltage_mv, mv)
    assert again.resolution_mv is None


def test_a_missing_value_among_counts_beyond_16_bits_is_refused():
    exam = exam_of([[40_000.0, np.nan]], 0.0001, ("I",))
    with pytest.raises(Refused, match="samples-out-of-range"):
        encoded(exam)


@pytest.mark.parametrize("version", ["2.5.1", "2.6"])
def test_hl7apy_takes_the_message(version):
    raw = encoded(exam_of(np.zeros((12, 3))), version=version)
    message = parse_message(raw.decode(), validation_level=VALIDATION_LEVEL.STRICT)
    assert message.validate()
    assert message.msh.msh_10.value == "C1"
