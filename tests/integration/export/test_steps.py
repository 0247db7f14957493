import numpy as np
import pytest

from integration.export.steps import steps_of
from model.ecg import Ecg
from tests.integration.export.conftest import WHOLE, with_gap


def test_the_senders_own_steps_come_back_exactly():
    steps = steps_of(WHOLE)
    assert steps.step_mv == pytest.approx(WHOLE.resolution_mv)
    assert np.array_equal((steps.counts * 0.0025).astype(np.float32), WHOLE.voltage_mv)
    assert not steps.missing.any()


def test_what_is_missing_is_told():
    steps = steps_of(with_gap(WHOLE))
    assert steps.missing.sum() == 100
    assert not steps.counts[steps.missing].any()


def test_large_voltages_get_coarser_steps():
    ecg = Ecg(np.array([[-19.0, 19.0] * 100], np.float32), ("II",), 100.0, None, (1e-4,))
    steps = steps_of(ecg)
    assert abs(steps.counts).max() == 32_767
    assert steps.counts[0] * steps.step_mv[0] == pytest.approx(ecg.voltage_mv[0], abs=0.002)
