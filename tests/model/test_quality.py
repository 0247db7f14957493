from dataclasses import replace

import numpy as np
import pytest
import wfdb
from scipy.signal import resample_poly

from model.ecg import LEADS_12, Ecg
from model.findings import Quality
from model.quality import assess_quality
from model.simulate import simulate

NORMAL = simulate("normal", seed=3)
N = NORMAL.n_samples


def spoilt(lead, samples):
    """The normal ECG with one lead's samples replaced."""
    voltage_mv = NORMAL.voltage_mv.copy()
    voltage_mv[LEADS_12.index(lead)] = samples
    return replace(NORMAL, voltage_mv=voltage_mv)


def noise(sigma_mv, shape=N):
    return np.random.default_rng(5).normal(0, sigma_mv, shape).astype(np.float32)


def with_gap(seconds):
    samples = NORMAL.lead("V3").copy()
    samples[: round(seconds * NORMAL.sampling_rate_hz)] = np.nan
    return samples


def clipped(level_mv):
    return np.clip(NORMAL.lead("V3") * 3, -level_mv, level_mv)


WANDER = 2.0 * np.sin(2 * np.pi * 0.2 * np.arange(N) / NORMAL.sampling_rate_hz)


def test_a_clean_ecg_is_good_at_every_rate():
    for rate_hz in (100.0, 250.0, 360.0, 500.0, 1000.0):
        quality = assess_quality(simulate("normal", seed=1, sampling_rate_hz=rate_hz))
        assert (quality.verdict, quality.reasons, quality.lead_faults) == ("good", (), ())


@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        (np.zeros(N), "flat-line"),
        (np.full(N, 1.25), "flat-line"),
        (np.full(N, np.nan), "lead-missing-samples"),
        (with_gap(1.0), "lead-missing-samples"),
        (clipped(0.8), "saturated"),
        (NORMAL.lead("V3") + 6.0, "lead-off"),
        (noise(0.03), "lead-off"),
        (noise(0.4), "noise"),
        (NORMAL.lead("V3") + noise(0.4), "noise"),
        (NORMAL.lead("V3") + WANDER, "baseline"),
    ],
)
def test_one_bad_lead_is_masked_with_its_reason(samples, reason):
    quality = assess_quality(spoilt("V3", samples))
    assert quality.verdict == "limited"
    assert [(f.lead, f.reason) for f in quality.lead_faults] == [("V3", reason)]


@pytest.mark.parametrize("samples", [with_gap(0.2), NORMAL.lead("V3") + noise(0.01)])
def test_small_blemishes_are_let_through(samples):
    assert assess_quality(spoilt("V3", samples)).verdict == "good"


@pytest.mark.parametrize("gain", [0.5, 1.0, 2.0])
@pytest.mark.parametrize(
    "kind",
    [
        "sinus-tachycardia",
        "sinus-bradycardia",
        "atrial-fibrillation",
        "ventricular-ectopy",
        "left-bundle-branch-block",
        "inferior-st-elevation",
        "left-ventricular-hypertrophy",
    ],
)
def test_disease_is_not_taken_for_noise(kind, gain):
    ecg = simulate(kind, seed=11)
    louder = replace(ecg, voltage_mv=ecg.voltage_mv * np.float32(gain))
    assert assess_quality(louder).verdict == "good"


def test_a_short_ecg_is_unscorable():
    quality = assess_quality(simulate("normal", seed=1, duration_s=4.9))
    assert (quality.verdict, quality.reasons) == ("unscorable", ("too-short",))
    assert assess_quality(simulate("normal", seed=1, duration_s=5.1)).scorable


def test_too_few_readable_leads_are_unscorable():
    voltage_mv = NORMAL.voltage_mv.copy()
    voltage_mv[5:] = 0
    quality = assess_quality(replace(NORMAL, voltage_mv=voltage_mv))
    assert (quality.verdict, quality.reasons) == ("unscorable", ("too-few-leads",))
    assert len(quality.lead_faults) == 7


@pytest.mark.parametrize("samples", [np.zeros((12, N)), np.full((12, N), np.nan)])
def test_nothing_at_all_is_unscorable(samples):
    quality = assess_quality(replace(NORMAL, voltage_mv=samples.astype(np.float32)))
    assert quality.verdict == "unscorable"
    assert len(quality.lead_faults) == 12


def test_noise_everywhere_is_unscorable_and_never_normal():
    assert not assess_quality(simulate("noisy", seed=1)).scorable
    quality = assess_quality(replace(NORMAL, voltage_mv=noise(0.3, (12, N))))
    assert "no-qrs" in quality.reasons or "too-few-leads" in quality.reasons


@pytest.mark.parametrize(("one", "two"), [("I", "II"), ("I", "III"), ("aVR", "aVL"), ("II", "aVR")])
def test_swapped_limb_labels_contradict_each_other(one, two):
    leads = [{one: two, two: one}.get(name, name) for name in LEADS_12]
    quality = assess_quality(replace(NORMAL, leads=tuple(leads)))
    assert quality.reasons == ("limb-leads-inconsistent",)


def test_more_noise_never_passes_where_less_failed():
    verdicts = []
    for sigma_mv in (0.0, 0.05, 0.1, 0.2, 0.4, 0.8):
        louder = NORMAL.voltage_mv + noise(sigma_mv, (12, N))
        quality = assess_quality(replace(NORMAL, voltage_mv=louder))
        verdicts.append(0 if not quality.scorable else 12 - len(quality.lead_faults))
    assert verdicts == sorted(verdicts, reverse=True)
    assert (verdicts[0], verdicts[-1]) == (12, 0)


def test_a_heart_that_does_not_beat_is_unscorable():
    drift_mv = np.random.default_rng(1).normal(0, 0.2, (12, 1)) * np.sin(np.arange(N) / 400)
    quality = assess_quality(replace(NORMAL, voltage_mv=drift_mv.astype(np.float32)))
    assert quality.verdict == "unscorable"


@pytest.mark.parametrize("lead", ["I", "II", "V1", "V6"])
def test_a_single_clean_lead_can_be_read(lead):
    strip = Ecg(NORMAL.lead(lead)[None].copy(), (lead,), NORMAL.sampling_rate_hz)
    assert assess_quality(strip) == Quality("good")
    noisy = replace(strip, voltage_mv=strip.voltage_mv + noise(0.4, (1, N)))
    assert not assess_quality(noisy).scorable


def test_half_of_the_leads_that_were_sent_must_be_readable():
    for n_flat, scorable in ((1, True), (2, False)):
        voltage_mv = NORMAL.voltage_mv[[0, 1, 7]].copy()
        voltage_mv[3 - n_flat :] = 0
        ecg = Ecg(voltage_mv, ("I", "II", "V2"), NORMAL.sampling_rate_hz)
        assert assess_quality(ecg).scorable == scorable


def ptbxl_ecg(header):
    samples, fields = wfdb.rdsamp(str(header.with_suffix("")))
    return Ecg(samples.T.astype(np.float32), LEADS_12, float(fields["fs"]))


@pytest.mark.ecg_data
def test_real_ecgs_stay_scorable(ptbxl_headers):
    headers = ptbxl_headers[:: len(ptbxl_headers) // 400]
    verdicts = [assess_quality(ptbxl_ecg(header)).verdict for header in headers]
    assert verdicts.count("unscorable") <= 0.03 * len(verdicts)
    assert verdicts.count("good") >= 0.92 * len(verdicts)


def at_the_leads(noise_mv, rng):
    """Let nine stretches of a noise recording arise at nine electrodes, `(12, 1000)`."""
    starts = rng.integers(0, noise_mv.shape[1] - 1000, 9)
    at = np.stack([noise_mv[k % 2, n : n + 1000] for k, n in enumerate(starts)])
    right, left, foot = at[:3] - at[:3].mean(axis=1, keepdims=True)
    one, two = left - right, foot - right
    chest = at[3:] - at[3:].mean(axis=1, keepdims=True) - (right + left + foot) / 3
    limb = [one, two, two - one, -(one + two) / 2, one - two / 2, two - one / 2]
    return np.vstack([limb, chest])


@pytest.mark.ecg_data
@pytest.mark.parametrize(
    ("kind", "masked_at_worst"),
    [("ma", 0.9), ("em", 0.5), ("bw", 0.25)],
)
def test_recorded_noise_is_caught_the_more_the_louder(ptbxl_headers, nstdb, kind, masked_at_worst):
    recorded = wfdb.rdrecord(str(nstdb / kind)).p_signal.T
    noise_mv, rng = resample_poly(recorded, 5, 18, axis=1), np.random.default_rng(1)
    ecgs = [ptbxl_ecg(header) for header in ptbxl_headers[:: len(ptbxl_headers) // 60]]
    masked, refused = [], []
    for snr_db in (24, 12, 6, 0, -6):
        qualities = []
        for ecg in ecgs:
            added = at_the_leads(noise_mv, rng)
            beats = np.median(np.ptp(ecg.voltage_mv.reshape(12, -1, 100), axis=2), axis=1)
            power = np.mean(beats**2) / 8  # of QRS, as the WFDB program nst reckons
            added *= np.sqrt(power / np.mean(added**2) / 10 ** (snr_db / 10))
            noisy = np.clip(ecg.voltage_mv + added, -20, 20).astype(np.float32)
            qualities.append(assess_quality(replace(ecg, voltage_mv=noisy)))
        masked.append(np.mean([len(q.lead_faults) / 12 for q in qualities]))
        refused.append(np.mean([not q.scorable for q in qualities]))
    assert masked[0] < 0.03
    assert refused[0] == 0
    assert masked[1:] == sorted(masked[1:])
    assert refused == sorted(refused)
    assert masked[-1] > masked_at_worst
