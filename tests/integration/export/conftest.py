from datetime import UTC, datetime
from uuid import UUID

import numpy as np
import pytest

from db.records import Exam, ExamState, PatientRef
from model.ecg import LEADS_12, Ecg
from model.simulate import simulate

ACQUIRED = datetime(2026, 1, 2, 3, 4, 5, 250_000, tzinfo=UTC)


def exam_of(ecg, acquired=ACQUIRED, authority="HOSP"):
    patient = PatientRef("ZZCANARY-4711", authority)
    return Exam(
        id=UUID(int=7),
        message_id=UUID(int=8),
        state=ExamState.SCORED,
        reason=None,
        patient=patient,
        ecg=ecg,
        acquired=acquired,
        placer_order="ORDER-1",
        filler_order=None,
        received_at=ACQUIRED,
        attempts=1,
    )


def with_gap(ecg):
    voltage_mv = ecg.voltage_mv.copy()
    voltage_mv[1, 100:200] = np.nan
    return Ecg(voltage_mv, ecg.leads, ecg.sampling_rate_hz, ecg.start, ecg.resolution_mv)


WHOLE = simulate("normal", seed=1)
CASES = {
    "twelve": WHOLE,
    "a gap": with_gap(WHOLE),
    "no resolution": Ecg(WHOLE.voltage_mv, WHOLE.leads, 500.0),
    "a strip": Ecg(WHOLE.voltage_mv[1:2], ("II",), 250.0, None, (0.0025,)),
    "finer than 16 bits": Ecg(WHOLE.voltage_mv * 3, LEADS_12, 100.0, None, (1e-5,) * 12),
}


@pytest.fixture(params=CASES)
def ecg(request):
    return CASES[request.param]


def assert_same(read, ecg):
    assert (read.leads, read.sampling_rate_hz) == (ecg.leads, ecg.sampling_rate_hz)
    assert np.array_equal(np.isnan(read.voltage_mv), np.isnan(ecg.voltage_mv))
    step_mv = max(np.nanmax(np.abs(ecg.voltage_mv)) / 32_000, 0.001)
    assert np.nanmax(np.abs(read.voltage_mv - ecg.voltage_mv)) < step_mv * 0.51 + 1e-5
