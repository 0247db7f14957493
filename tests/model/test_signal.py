import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import butter, resample_poly, sosfiltfilt

from model.ecg import LEADS_12, Ecg
from model.signal import (
    Prepared,
    bandpass,
    prepare,
    remove_baseline,
    resample,
    whole_steps,
    windows,
)


def sine(frequency_hz, rate_hz, seconds=10.0):
    time_s = np.arange(round(seconds * rate_hz)) / rate_hz
    return np.sin(2 * np.pi * frequency_hz * time_s).astype(np.float32)


def ecg(rows, leads, rate_hz=100.0):
    return Ecg(np.asarray(rows, np.float32), leads, rate_hz)


@pytest.mark.parametrize(
    "rate_hz", [100.0, 125.0, 240.0, 250.0, 257.0, 360.0, 500.0, 977.0, 1000.0]
)
def test_a_slow_wave_survives_resampling_from_every_rate(rate_hz):
    resampled = resample(sine(5.0, rate_hz)[None], rate_hz)[0]
    expected = sine(5.0, 100.0)
    n = min(len(resampled), len(expected))
    assert abs(len(resampled) - 1000) <= 2
    np.testing.assert_allclose(resampled[50 : n - 50], expected[50 : n - 50], atol=0.02)


def test_what_100_hz_cannot_hold_is_filtered_not_folded():
    assert np.abs(resample(sine(120.0, 500.0)[None], 500.0)[:, 50:-50]).max() < 0.02


def test_an_offset_makes_no_step_at_the_edges():
    resampled = resample(np.full((1, 5000), 3.0, np.float32), 500.0)
    np.testing.assert_allclose(resampled, 3.0, atol=0.01)


def test_samples_at_100_hz_stay_as_they_are():
    voltage = np.random.default_rng(0).normal(size=(2, 300)).astype(np.float32)
    np.testing.assert_array_equal(resample(voltage, 100.0), voltage)


def test_baseline_goes_and_the_heart_stays():
    wander = 2.0 * sine(0.1, 100.0, 20.0) + 1.0
    heart = sine(8.0, 100.0, 20.0)
    filtered = remove_baseline((wander + heart)[None])[0]
    np.testing.assert_allclose(filtered[300:-300], heart[300:-300], atol=0.03)


def test_filtering_keeps_a_peak_where_it_was():
    spike = np.zeros((1, 1000), np.float32)
    spike[0, 400] = 1.0
    assert remove_baseline(spike)[0].argmax() == 400


def test_leads_take_their_places_and_missing_ones_stay_dark():
    v2 = sine(5.0, 100.0)
    prepared = prepare(ecg([v2], ("V2",)))
    assert prepared.voltage_mv.shape == prepared.visible.shape == (12, 1000)
    seen = LEADS_12.index("V2")
    assert prepared.visible.all(axis=1).tolist() == [i == seen for i in range(12)]
    np.testing.assert_allclose(prepared.voltage_mv[seen, 200:-200], v2[200:-200], atol=0.02)
    assert not prepared.voltage_mv[np.arange(12) != seen].any()


@pytest.mark.parametrize("known", [("I", "II"), ("I", "III"), ("II", "III")])
def test_two_limb_leads_give_all_six(known):
    lead_i, lead_ii = sine(5.0, 100.0), 2 * sine(7.0, 100.0)
    limb = {
        "I": lead_i,
        "II": lead_ii,
        "III": lead_ii - lead_i,
        "aVR": -(lead_i + lead_ii) / 2,
        "aVL": lead_i - lead_ii / 2,
        "aVF": lead_ii - lead_i / 2,
    }
    prepared = prepare(ecg([limb[name] for name in known], known))
    assert prepared.visible[:6].all()
    assert not prepared.visible[6:].any()
    for name, samples in limb.items():
        row = prepared.voltage_mv[LEADS_12.index(name)]
        np.testing.assert_allclose(row, remove_baseline(samples[None])[0], atol=1e-4)


def test_one_limb_lead_gives_no_other():
    assert prepare(ecg([sine(5.0, 100.0)], ("I",))).visible.any(axis=1).sum() == 1


def test_a_masked_lead_counts_as_missing_and_may_come_back_by_arithmetic():
    rows = [sine(5.0, 100.0), sine(6.0, 100.0), sine(7.0, 100.0)]
    recording = ecg(rows, ("I", "II", "V1"))
    visible = prepare(recording, frozenset({"V1"})).visible
    assert not visible[LEADS_12.index("V1")].any()
    assert visible[:6].all()


def test_a_gap_is_not_visible_and_does_not_ring():
    rows = np.stack([sine(5.0, 100.0) + 4.0, sine(5.0, 100.0)])
    rows[0, 300:400] = np.nan
    prepared = prepare(ecg(rows, ("V1", "V2")))
    v1 = LEADS_12.index("V1")
    assert prepared.visible[v1].sum() == 900
    assert not prepared.visible[v1, 300:400].any()
    assert np.abs(prepared.voltage_mv[v1]).max() < 1.6
    assert not prepared.voltage_mv[v1, 300:400].any()


def test_a_gap_keeps_its_place_at_another_rate():
    rows = sine(5.0, 500.0)[None].copy()
    rows[0, 1000:2000] = np.nan
    hidden = np.flatnonzero(~prepare(ecg(rows, ("V1",), 500.0)).visible[6])
    assert (hidden[0], hidden[-1]) == (200, 399)


def test_a_lead_without_any_value_is_dark():
    rows = np.stack([np.full(1000, np.nan), sine(5.0, 100.0)])
    prepared = prepare(ecg(rows, ("V1", "V2")))
    assert not prepared.visible[6].any()
    assert np.isfinite(prepared.voltage_mv).all()


def blank(n_steps):
    return Prepared(np.ones((12, n_steps), np.float32), np.ones((12, n_steps), np.bool_))


@pytest.mark.parametrize(
    ("n_steps", "starts"),
    [
        (1000, [0]),
        (600, [0]),
        (1008, [0, 8]),
        (2000, [0, 1000]),
        (2400, [0, 1000, 1400]),
        (3000, [0, 1000, 2000]),
    ],
)
def test_windows_cover_the_ecg_and_end_with_it(n_steps, starts):
    pieces = windows(blank(n_steps), 1000)
    assert [start for start, _ in pieces] == starts
    assert all(piece.voltage_mv.shape == (12, 1000) for _, piece in pieces)


def test_a_short_ecg_is_filled_up_in_the_dark():
    ((_, piece),) = windows(blank(600), 1000)
    assert piece.visible.sum(axis=1).tolist() == [600] * 12
    assert not piece.voltage_mv[:, 600:].any()


@given(st.integers(1, 3000), st.integers(1, 16))
@settings(max_examples=50)
def test_whole_steps_adds_less_than_a_step(n_steps, stride):
    filled = whole_steps(blank(n_steps), stride).visible
    assert filled.shape[1] % stride == 0
    assert 0 <= filled.shape[1] - n_steps < stride
    assert filled.sum() == 12 * n_steps


@pytest.mark.parametrize("rate_hz", [200.0, 400.0, 500.0, 1000.0, 5000.0])
@pytest.mark.parametrize("n", [2, 7, 999, 5003])
def test_resampling_by_a_whole_factor_is_scipys(rate_hz, n):
    samples = np.random.default_rng(n).normal(1, 1, (3, n)).astype(np.float32)
    expected = resample_poly(
        samples.astype(np.float64), 1, round(rate_hz / 100), axis=1, padtype="line"
    )
    np.testing.assert_allclose(resample(samples, rate_hz), expected, atol=5e-6)


@pytest.mark.parametrize("rate_hz", [50.0, 128.0, 250.0, 257.0, 360.0])
@pytest.mark.parametrize("n", [1, 2, 30, 2500])
def test_a_line_stays_a_line_at_every_rate(rate_hz, n):
    line = np.linspace(1, 3, n, dtype=np.float32) if n > 1 else np.ones(1, np.float32)
    resampled = resample(line[None], rate_hz)[0]
    slope = (line[-1] - line[0]) / max(n - 1, 1)
    expected = 1 + slope * np.arange(len(resampled)) * rate_hz / 100
    np.testing.assert_allclose(resampled, expected, atol=1e-5)


@pytest.mark.parametrize("pad", [0, 1, 100])
@pytest.mark.parametrize("shape", [(200,), (3, 200), (2, 3, 101)])
def test_filtering_forth_and_back_is_scipys(shape, pad):
    samples = np.random.default_rng(0).normal(1, 1, shape).astype(np.float32)
    sections = butter(2, (6.0, 25.0), "bandpass", fs=125.0, output="sos")
    expected = sosfiltfilt(sections, samples, axis=-1, padlen=pad)
    np.testing.assert_array_equal(bandpass(2, 6.0, 25.0, 125.0)(samples, pad), expected)
