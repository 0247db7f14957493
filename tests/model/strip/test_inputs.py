import numpy as np
import pytest

from model.simulate import simulate
from model.strip.inputs import N_RHYTHM, N_TRAITS, REACH, WINDOW, beat_inputs, rhythm_inputs

RATE_HZ = 250.0
QRS_LIKENESS, QRS_DISTANCE = 0, 4


def strip(widths_s, times_s, rate_hz=RATE_HZ, gain=1.0):
    """One lead of triangles, one a beat, and a little noise."""
    at = np.arange(round((times_s[-1] + 1) * rate_hz)) / rate_hz
    voltage = np.random.default_rng(0).normal(0, 0.01, len(at))
    for centre, width in zip(times_s, widths_s, strict=True):
        voltage += np.clip(1 - np.abs(at - centre) / width, 0, None)
    return (gain * voltage[None]).astype(np.float32)


@pytest.fixture
def steady():
    return 0.5 + 0.8 * np.arange(20)


def test_shapes(steady):
    inputs = beat_inputs(np.repeat(strip([0.04] * 20, steady), 3, axis=0), RATE_HZ, steady)
    assert inputs.shapes.shape == (20, 3, 2, WINDOW)
    assert inputs.traits.shape == (20, 3, N_TRAITS)
    assert inputs.rhythm.shape == (20, N_RHYTHM)
    assert all(np.isfinite(part).all() for part in inputs)


def test_a_wide_beat_stands_out_from_the_patients_own(steady):
    widths = [0.04] * 20
    widths[7] = 0.12
    inputs = beat_inputs(strip(widths, steady), RATE_HZ, steady)
    distance = np.abs(inputs.shapes[:, 0, 1]).sum(axis=1)
    assert distance.argmax() == 7
    assert inputs.traits[:, 0, QRS_DISTANCE].argmax() == 7
    assert inputs.traits[:, 0, QRS_LIKENESS].argmin() == 7


def test_the_qrs_lies_in_the_middle_also_where_the_detector_was_off(steady):
    off = steady + np.random.default_rng(1).uniform(-0.015, 0.015, 20)
    inputs = beat_inputs(strip([0.04] * 20, steady), RATE_HZ, off)
    peaks = inputs.shapes[:, 0, 0].argmax(axis=1)
    assert np.abs(peaks - peaks[0]).max() <= 1
    assert abs(peaks[0] - REACH) <= 2


@pytest.mark.parametrize("rate_hz", [100.0, 360.0, 1_000.0])
def test_neither_rate_nor_gain_matters(steady, rate_hz):
    usual = beat_inputs(strip([0.06] * 20, steady), RATE_HZ, steady)
    other = beat_inputs(strip([0.06] * 20, steady, rate_hz, gain=2.0), rate_hz, steady)
    assert np.abs(usual.shapes[:, :, 0] - other.shapes[:, :, 0]).max() < 0.15


def test_a_premature_beat_is_early_and_its_pause_late(steady):
    times = steady.copy()
    times[9] -= 0.3
    rhythm = rhythm_inputs(times)
    assert rhythm[:, 0].argmin() == 9
    assert rhythm[:, 1].argmax() == 9
    assert rhythm[9, 0] == pytest.approx(np.log(0.5 / 0.8), abs=1e-3)
    assert np.abs(rhythm_inputs(steady)[:, :10]).max() < 1e-3


def test_a_run_is_fast_against_the_minutes_around_it_all_along():
    rr = np.full(300, 0.9)
    rr[120:170] = 0.5
    rhythm = rhythm_inputs(np.cumsum(rr))
    assert rhythm[145, 0] == pytest.approx(0, abs=1e-3)  # usual for the beats beside it
    assert rhythm[145, 16] == pytest.approx(np.log(0.5 / 0.9), abs=1e-3)
    assert rhythm[140, 18] < -0.5  # it came at once


@pytest.mark.parametrize("n", [0, 1, 2, 3])
def test_few_beats_are_described_too(n):
    times = 0.5 + 0.8 * np.arange(n)
    inputs = beat_inputs(strip([0.04], np.array([0.5])).repeat(4, axis=1), RATE_HZ, times)
    assert inputs.shapes.shape == (n, 1, 2, WINDOW)
    assert all(np.isfinite(part).all() for part in inputs)


def test_gaps_and_empty_leads_give_numbers(steady):
    voltage = np.repeat(strip([0.04] * 20, steady), 2, axis=0)
    voltage[0, 1_000:1_500] = np.nan
    voltage[1] = np.nan
    inputs = beat_inputs(voltage, RATE_HZ, steady)
    assert all(np.isfinite(part).all() for part in inputs)


def test_blocks_do_not_depend_on_what_follows():
    ecg = simulate("normal", seed=3, duration_s=60.0)
    times = 0.5 + 0.8 * np.arange(70)
    short = beat_inputs(ecg.voltage_mv[:2], ecg.sampling_rate_hz, times, block_s=20.0)
    longer = np.concatenate([ecg.voltage_mv[:2]] * 2, axis=1)
    again = beat_inputs(longer, ecg.sampling_rate_hz, times, block_s=20.0)
    np.testing.assert_allclose(short.shapes[:10], again.shapes[:10], atol=1e-4)
