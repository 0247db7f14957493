import numpy as np
import pytest

from model.beats import detect_r_peaks
from model.simulate import simulate
from model.strip.af_inputs import (
    AFTER,
    BEFORE,
    N_RHYTHM,
    N_WINDOW,
    stacked,
    window_inputs,
)

REGULAR = np.arange(50, 1000, 80)
R_SAMPLE = BEFORE


def pulses(peaks, n=1000, height_mv=1.0):
    trace_mv = np.zeros(n, np.float32)
    trace_mv[peaks] = height_mv
    return trace_mv


def test_a_window_is_one_row_of_its_beats():
    inputs = window_inputs(pulses(REGULAR), REGULAR)
    assert inputs.segments.shape == (1, len(REGULAR), BEFORE + AFTER)
    assert inputs.rhythm.shape == (1, len(REGULAR), N_RHYTHM)
    assert inputs.window.shape == (1, N_WINDOW)
    assert inputs.present.all()
    assert all(part.dtype == np.float32 for part in inputs[:3])
    assert (inputs.segments[0].argmax(axis=1) == R_SAMPLE).all()


def test_a_window_ends_after_its_last_beat_that_counts():
    many = np.arange(5, 1000, 15)
    assert window_inputs(pulses(many), many).present.shape == (1, 48)


def test_regular_beats_differ_in_nothing():
    rhythm = window_inputs(pulses(REGULAR), REGULAR).rhythm[0]
    differences, alike = rhythm[:, 1:5], rhythm[1:, 5:8]
    np.testing.assert_allclose(differences, 0, atol=1e-6)
    np.testing.assert_allclose(alike, 1)


def test_a_premature_beat_stands_out_by_its_intervals():
    peaks = REGULAR.copy()
    peaks[5] -= 30
    rhythm = window_inputs(pulses(peaks), peaks).rhythm[0]
    assert rhythm[:, 1].argmin() == 5  # the interval before it is the shortest
    assert rhythm[:, 3].argmax() == 5  # and the one after it the longest beside it
    assert rhythm[5, 9] == pytest.approx(0, abs=1e-6)  # the pause compensates
    assert rhythm[5, 5:8].max() == 0  # no other interval resembles it


def test_the_size_of_the_lead_does_not_matter():
    trace_mv = simulate("normal", seed=1, sampling_rate_hz=100.0).voltage_mv[1]
    peaks = np.round(detect_r_peaks(trace_mv[None], 100.0)).astype(np.int64)
    small, large = (window_inputs(trace_mv * k, peaks) for k in (1.0, 3.0))
    np.testing.assert_allclose(small.segments, large.segments, atol=0.1)
    np.testing.assert_allclose(small.rhythm, large.rhythm, atol=0.05)


def test_f_waves_show_in_the_spectrum_of_what_is_left():
    time_s = np.arange(1000) / 100
    quiet = window_inputs(pulses(REGULAR), REGULAR).window[0]
    trace_mv = pulses(REGULAR) + 0.1 * np.sin(2 * np.pi * 7.03 * time_s).astype(np.float32)
    waving = window_inputs(trace_mv, REGULAR).window[0]
    lines = slice(2 * (BEFORE + AFTER), 2 * (BEFORE + AFTER) + 18)
    gained = waving[lines] - quiet[lines]
    assert gained.argmax() == 7  # 7.03 Hz is line 9 of 0.78 Hz; line 2 is the first


def test_a_flat_lead_gives_finite_numbers():
    inputs = window_inputs(np.zeros(1000, np.float32), REGULAR)
    assert all(np.isfinite(part).all() for part in inputs)


@pytest.mark.parametrize("n", [90, 500])
def test_short_windows_are_read_too(n):
    peaks = np.array([5, 40, 85])
    assert np.isfinite(window_inputs(pulses(peaks, n), peaks).window).all()


def test_windows_of_unequal_length_become_one_batch():
    short, long = (
        window_inputs(pulses(REGULAR[:4]), REGULAR[:4]),
        window_inputs(pulses(REGULAR), REGULAR),
    )
    both = stacked([short, long])
    assert both.present.sum(axis=1).tolist() == [4, len(REGULAR)]
    np.testing.assert_array_equal(both.segments[0, :4], short.segments[0])
    assert not both.segments[0, 4:].any()
