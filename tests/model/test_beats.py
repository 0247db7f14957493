"""R peaks where they were put: any rate, lead, polarity, length, gap; and on MIT-BIH DS1."""

import time
import tracemalloc

import numpy as np
import pytest

from model.beats import (
    MIN_RR_S,
    detect_each_and_all,
    detect_r_peaks,
)
from model.errors import EcgError

QRS, T, P = (0.0, 1.0, 0.011), (0.27, 0.25, 0.045), (-0.17, 0.12, 0.022)  # at, height_mv, spread_s


def ecg(peaks_s, duration_s, rate_hz, *, gain=1.0, waves=(P, QRS, T), noise_mv=0.01, seed=0):
    """One lead `(1, n)` of Gaussian waves around each peak."""
    t = np.arange(round(duration_s * rate_hz)) / rate_hz
    lead = np.random.default_rng(seed).normal(0, noise_mv, len(t))
    for peak in peaks_s:
        near = slice(*np.searchsorted(t, [peak - 0.6, peak + 0.8]))
        for at, height, spread in waves:
            lead[near] += height * np.exp(-(((t[near] - peak - at) / spread) ** 2) / 2)
    return (gain * lead[None]).astype(np.float32)


def regular(duration_s, rr_s=0.8, first_s=0.5):
    return np.arange(first_s, duration_s - 0.3, rr_s)


def assert_found(found, peaks_s, rate_hz, within_s=0.02):
    assert found.dtype == np.int64
    assert len(found) == len(peaks_s), (found / rate_hz, peaks_s)
    assert np.abs(found / rate_hz - peaks_s).max() <= within_s


@pytest.mark.parametrize(
    "rate_hz", [100.0, 125.0, 128.0, 200.0, 257.3, 360.0, 500.0, 999.0, 1000.0]
)
def test_rate_does_not_matter(rate_hz):
    peaks_s = regular(30)
    assert_found(detect_r_peaks(ecg(peaks_s, 30, rate_hz), rate_hz), peaks_s, rate_hz, 0.006)


@pytest.mark.parametrize("gain", [1.0, -1.0, 0.1, -5.0])
def test_gain_and_polarity_do_not_matter(gain):
    peaks_s = regular(20)
    assert_found(detect_r_peaks(ecg(peaks_s, 20, 250.0, gain=gain), 250.0), peaks_s, 250.0)


@pytest.mark.parametrize("duration_s", [3.0, 4.0, 5.0, 10.0, 61.0])
def test_short_strips(duration_s):
    peaks_s = regular(duration_s)
    assert_found(detect_r_peaks(ecg(peaks_s, duration_s, 360.0), 360.0), peaks_s, 360.0)


@pytest.mark.parametrize("rr_s", [0.3, 0.5, 1.0, 1.5, 2.0])
def test_slow_and_fast_hearts(rr_s):
    peaks_s = regular(60, rr_s)
    waves = (QRS,) if rr_s < 0.4 else (P, QRS, T)
    assert_found(detect_r_peaks(ecg(peaks_s, 60, 250.0, waves=waves), 250.0), peaks_s, 250.0)


def test_irregular_beats_of_two_sizes():
    rng = np.random.default_rng(3)
    peaks_s = np.cumsum(rng.uniform(0.45, 1.3, 80)) + 0.3
    small, large = peaks_s[::2], peaks_s[1::2]
    duration_s = float(peaks_s[-1]) + 1
    wide = ((0.0, -2.0, 0.035),)
    lead = ecg(small, duration_s, 250.0) + ecg(large, duration_s, 250.0, waves=wide, noise_mv=0)
    assert_found(detect_r_peaks(lead, 250.0), peaks_s, 250.0, 0.03)


def test_tall_t_waves_are_no_beats():
    peaks_s = regular(60)
    waves = (QRS, (0.27, 1.2, 0.05))
    assert_found(detect_r_peaks(ecg(peaks_s, 60, 250.0, waves=waves), 250.0), peaks_s, 250.0)


def test_pause_holds_no_beats():
    peaks_s = np.concatenate([regular(60), regular(60) + 70])
    assert_found(detect_r_peaks(ecg(peaks_s, 130, 250.0), 250.0), peaks_s, 250.0)


def test_the_better_lead_decides():
    peaks_s = regular(60)
    good = ecg(peaks_s, 60, 250.0)
    noise = np.random.default_rng(1).normal(0, 2, good.shape).astype(np.float32)
    flat = np.zeros_like(good)
    for leads in ([good, noise], [noise, good, flat], [flat, flat, good]):
        assert_found(detect_r_peaks(np.concatenate(leads), 250.0), peaks_s, 250.0)


def test_twelve_leads():
    peaks_s = regular(10)
    leads = [ecg(peaks_s, 10, 500.0, gain=g, seed=i) for i, g in enumerate(np.linspace(-1, 1, 12))]
    assert_found(detect_r_peaks(np.concatenate(leads), 500.0), peaks_s, 500.0)


@pytest.mark.parametrize("n_leads", [1, 3])
def test_each_lead_and_all_are_what_they_are_apart(n_leads):
    peaks_s = regular(700)  # two pieces
    rows = [ecg(peaks_s, 700, 250.0, noise_mv=0.3 * k, seed=k) for k in range(n_leads)]
    leads = np.concatenate(rows)
    leads[0, 5 * 250 : 30 * 250] = np.nan
    each, together = detect_each_and_all(leads, 250.0)
    np.testing.assert_array_equal(together, detect_r_peaks(leads, 250.0))
    assert len(each) == n_leads
    for row, found in zip(leads, each, strict=True):
        np.testing.assert_array_equal(found, detect_r_peaks(row[None], 250.0))


def test_wander_and_steps_are_no_beats():
    peaks_s = regular(60)
    lead = ecg(peaks_s, 60, 250.0)
    t = np.arange(lead.shape[1]) / 250.0
    lead += (2 * np.sin(2 * np.pi * 0.3 * t)).astype(np.float32)
    assert_found(detect_r_peaks(lead, 250.0), peaks_s, 250.0)


def test_gaps_are_bridged_and_hold_no_beats():
    peaks_s = regular(60)
    lead = ecg(peaks_s, 60, 250.0)
    lead[:, 20 * 250 : 25 * 250] = np.nan
    found = detect_r_peaks(lead, 250.0)
    outside = peaks_s[(peaks_s < 20) | (peaks_s >= 25)]
    assert_found(found, outside, 250.0)


def test_a_gap_in_one_lead_is_bridged_by_the_other():
    peaks_s = regular(60)
    leads = np.concatenate([ecg(peaks_s, 60, 250.0), ecg(peaks_s, 60, 250.0, seed=1)])
    leads[0, 5 * 250 : 30 * 250] = np.nan
    leads[1, 35 * 250 : 50 * 250] = np.nan
    assert_found(detect_r_peaks(leads, 250.0), peaks_s, 250.0)


@pytest.mark.parametrize("value", [0.0, 1.5, np.nan])
def test_nothing_to_find(value):
    assert len(detect_r_peaks(np.full((2, 5000), value, np.float32), 250.0)) == 0


def test_one_sample_and_few():
    for n in (1, 2, 10, 60):
        assert len(detect_r_peaks(np.zeros((1, n), np.float32), 250.0)) == 0


def test_pieces_join_without_seam():
    peaks_s = regular(2000, 0.83)
    lead = ecg(peaks_s, 2000, 128.0)
    found = detect_r_peaks(lead, 128.0)
    assert_found(found, peaks_s, 128.0)
    assert np.diff(found).min() > MIN_RR_S * 128


def test_an_hour_is_quick_and_memory_flat():
    rate_hz = 360.0
    lead = np.tile(ecg(regular(60.2), 60, rate_hz), 60)
    begin = time.process_time()
    found = detect_r_peaks(lead, rate_hz)
    assert time.process_time() - begin < 5
    assert 4400 <= len(found) <= 4600
    tracemalloc.start()
    detect_r_peaks(lead, rate_hz)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 4 * lead.nbytes


@pytest.mark.parametrize(
    ("voltage_mv", "rate_hz", "reason"),
    [
        (np.zeros(500, np.float32), 250.0, "samples-malformed"),
        (np.zeros((0, 500), np.float32), 250.0, "samples-malformed"),
        (np.zeros((1, 0), np.float32), 250.0, "samples-malformed"),
        (np.zeros((1, 500), np.float32), 99.0, "rate-out-of-range"),
        (np.zeros((1, 500), np.float32), 1001.0, "rate-out-of-range"),
        (np.zeros((1, 500), np.float32), float("nan"), "rate-out-of-range"),
    ],
)
def test_refusals(voltage_mv, rate_hz, reason):
    with pytest.raises(EcgError) as refused:
        detect_r_peaks(voltage_mv, rate_hz)
    assert refused.value.reason == reason
