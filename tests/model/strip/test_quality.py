"""The strip's gate: each fault by its own reason, in its own window and lead, and nothing else."""

import numpy as np
import pytest

from model.beats import detect_r_peaks
from model.strip.quality import LEAD_FAULTS, WINDOW_S, assess_strip
from tests.model.test_beats import QRS, ecg, regular

RATE_HZ = 250.0
TEN_S = round(WINDOW_S * RATE_HZ)
FAST_T = (0.14, 0.25, 0.045)  # of a heart that beats three times a second and more


@pytest.fixture
def strip():
    """Two leads of one minute, `(2, n)`."""
    peaks_s = regular(60)
    leads = [ecg(peaks_s, 60, RATE_HZ, seed=1), ecg(peaks_s, 60, RATE_HZ, gain=-0.7, seed=2)]
    return np.concatenate(leads)


def spoilt(strip, fault, window=2, lead=0):
    """Give one lead one fault in one window."""
    part = strip[lead, window * TEN_S : (window + 1) * TEN_S]
    rng = np.random.default_rng(0)
    t = np.arange(TEN_S) / RATE_HZ
    if fault == "lead-missing-samples":
        part[100:400] = np.nan
    elif fault == "flat-line":
        part[500:1800] = 0.2
    elif fault == "saturated":
        part[:] = np.minimum(part * 8, 3.0)
    elif fault == "lead-off":
        part += 8
    elif fault == "baseline":
        part += 4 * np.sin(2 * np.pi * 0.2 * t)
    elif fault == "noise":
        part += rng.normal(0, 0.5, TEN_S)
    return strip


def test_clean_strip_is_readable_everywhere(strip):
    quality = assess_strip(strip, RATE_HZ)
    assert quality.starts.tolist() == [0, 2500, 5000, 7500, 10000, 12500]
    assert (quality.lead_faults == "").all()
    assert quality.answered.all()
    assert (quality.agreement > 0.9).all()
    np.testing.assert_array_equal(quality.readable(strip), strip)


@pytest.mark.parametrize("fault", LEAD_FAULTS[:-1])
def test_a_fault_is_named_where_it_is(strip, fault):
    voltage_mv = spoilt(strip, fault)
    quality = assess_strip(voltage_mv, RATE_HZ)
    expected = np.full((6, 2), "", "<U32")
    expected[2, 0] = fault
    assert quality.lead_faults.tolist() == expected.tolist()
    assert quality.answered.all()  # by the other lead
    shown = quality.readable(voltage_mv)
    assert np.isnan(shown[0, 2 * TEN_S : 3 * TEN_S]).all()
    assert not np.isnan(shown[1]).any()
    assert len(detect_r_peaks(shown, RATE_HZ)) == len(regular(60))


def test_both_leads_lost_is_no_answer(strip):
    quality = assess_strip(spoilt(spoilt(strip, "noise"), "flat-line", lead=1), RATE_HZ)
    assert quality.window_faults.tolist() == ["", "", "no-readable-lead", "", "", ""]
    assert quality.answered.tolist() == [True, True, False, True, True, True]


def test_detectors_that_disagree_are_heard():
    """Every second wave is a quarter high: a small beat to one detector, no beat to the other."""
    peaks_s = regular(30)
    small = ecg(peaks_s[1::2], 30, RATE_HZ, waves=(QRS,), gain=0.25, noise_mv=0)
    quality = assess_strip(ecg(peaks_s[::2], 30, RATE_HZ, waves=(QRS,)) + small, RATE_HZ)
    assert quality.lead_faults.ravel().tolist() == ["detectors-disagree"] * 3
    assert not quality.answered.any()
    np.testing.assert_allclose(quality.agreement, 0.5, atol=0.05)


@pytest.mark.parametrize("bpm", [180, 200, 215, 230, 245, 260])
def test_fast_hearts_are_answered(bpm):
    """From 195 a minute on the second detector takes each beat for the end of the one before."""
    peaks_s = regular(30, 60 / bpm)
    voltage_mv = ecg(peaks_s, 30, RATE_HZ, waves=(QRS, FAST_T))
    quality = assess_strip(voltage_mv, RATE_HZ)
    assert quality.answered.all()
    assert abs(len(quality.beats) - len(peaks_s)) <= 1


@pytest.mark.parametrize("hz", [3.5, 4.0, 4.4, 7.0])
def test_a_steady_tremor_is_no_fast_heart(hz):
    t = np.arange(3 * TEN_S) / RATE_HZ
    noise = np.random.default_rng(0).normal(0, 0.01, len(t))
    tremor = 0.5 * np.sin(2 * np.pi * hz * t) + noise
    quality = assess_strip(tremor[None].astype(np.float32), RATE_HZ)
    assert quality.lead_faults.ravel().tolist() == ["detectors-disagree"] * 3


@pytest.mark.parametrize("rr_s", [0.33, 0.8])
def test_spikes_are_noise(rr_s):
    spikes = ecg(regular(30, rr_s), 30, RATE_HZ, waves=((0.0, 1.0, 0.002),))
    assert (assess_strip(spikes, RATE_HZ).lead_faults == "noise").all()


def test_a_heart_that_does_not_beat_gets_no_answer(strip):
    rng = np.random.default_rng(4)
    silent = rng.normal(0, 0.02, TEN_S).astype(np.float32)
    t = np.arange(TEN_S) / RATE_HZ
    for lead in (0, 1):
        strip[lead, 3 * TEN_S : 4 * TEN_S] = silent + 0.2 * np.sin(2 * np.pi * 0.9 * t)
    quality = assess_strip(strip, RATE_HZ)
    assert not quality.answered[3]
    assert quality.answered[[0, 1, 5]].all()


@pytest.mark.parametrize("duration_s", [3.0, 9.0, 10.0, 19.0])
def test_short_strips_are_one_window(duration_s):
    quality = assess_strip(ecg(regular(duration_s), duration_s, RATE_HZ), RATE_HZ)
    assert quality.starts.tolist() == [0]
    assert quality.answered.all()


def test_all_missing_is_no_answer():
    quality = assess_strip(np.full((1, 5000), np.nan, np.float32), RATE_HZ)
    assert set(quality.lead_faults.ravel()) == {"lead-missing-samples"}
    assert not quality.answered.any()


def test_samples_know_their_window(strip):
    quality = assess_strip(strip, RATE_HZ)
    assert quality.at(np.array([0, 2499, 2500, 14999])).tolist() == [0, 0, 1, 5]


@pytest.mark.ecg_data
@pytest.mark.parametrize(("kind", "most_answered"), [("ma", 0.1), ("em", 0.3)])
def test_recorded_noise_silences_the_gate(mitdb, nstdb, kind, most_answered):
    import wfdb  # noqa: PLC0415 - slow, and only here

    clean = wfdb.rdrecord(str(mitdb / "119"), sampto=43_200).p_signal.T.astype(np.float32)
    noise = wfdb.rdrecord(str(nstdb / kind), sampto=43_200).p_signal.T.astype(np.float32)
    assert assess_strip(clean, 360.0).answered.all()
    noise -= noise.mean(axis=1, keepdims=True)
    loud = clean + 4 * noise * clean.std() / noise.std()
    assert assess_strip(loud, 360.0).answered.mean() <= most_answered
