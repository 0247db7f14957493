from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.ecg import LEADS_12
from model.errors import EcgError
from model.quality import assess_quality
from model.simulate import KINDS, RESOLUTION_MV, simulate

STEP = 2 * RESOLUTION_MV


def qrs_mv(ecg, lead):
    """Tallest R and deepest S of one lead, from its median."""
    samples = ecg.lead(lead) - np.median(ecg.lead(lead))
    return float(samples.max()), float(samples.min())


def beats_s(ecg, lead="V5", share=0.6):
    """Times of the tall R waves of one lead."""
    samples = ecg.lead(lead) - np.median(ecg.lead(lead))
    high = samples > share * np.quantile(samples, 0.998)
    starts = np.flatnonzero(high[1:] & ~high[:-1])
    times = starts / ecg.sampling_rate_hz
    return times[np.diff(times, prepend=-1) > 0.2]


@given(
    kind=st.sampled_from([kind for kind in KINDS if kind != "lead-off"]),
    seed=st.integers(0, 2**32),
    rate_hz=st.sampled_from([100.0, 250.0, 360.0, 500.0, 1000.0]),
)
@settings(max_examples=25)
def test_the_limb_leads_obey_einthoven(kind, seed, rate_hz):
    ecg = simulate(kind, seed=seed, sampling_rate_hz=rate_hz, duration_s=5)
    one, two, three, right, left, foot = ecg.voltage_mv[:6]
    for rest in (
        one + three - two,
        right + (one + two) / 2,
        left - one + two / 2,
        right + left + foot,
    ):
        assert np.abs(rest).max() <= STEP


def test_samples_are_whole_steps_and_the_shape_is_what_was_asked():
    start = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
    ecg = simulate("normal", seed=1, sampling_rate_hz=250, duration_s=8, start=start)
    assert (ecg.leads, ecg.sampling_rate_hz, ecg.n_samples) == (LEADS_12, 250, 2000)
    assert (ecg.start, ecg.resolution_mv) == (start, (RESOLUTION_MV,) * 12)
    steps = ecg.voltage_mv / RESOLUTION_MV
    assert np.abs(steps - np.round(steps)).max() < 1e-3


def test_a_seed_is_a_patient():
    one, again, other = (simulate("normal", seed=seed).voltage_mv for seed in (4, 4, 5))
    assert np.array_equal(one, again)
    assert np.abs(one - other).max() > 0.1


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", KINDS)
def test_only_noise_is_unscorable_and_only_the_loose_lead_is_masked(kind, seed):
    quality = assess_quality(simulate(kind, seed=seed))
    expected = {"noisy": "unscorable", "lead-off": "limited"}.get(kind, "good")
    assert quality.verdict == expected
    if kind == "lead-off":
        assert [(f.lead, f.reason) for f in quality.lead_faults] == [("V3", "flat-line")]


def test_r_grows_and_s_shrinks_from_v1_to_v5():
    ecg = simulate("normal", seed=2)
    tall, deep = zip(*(qrs_mv(ecg, lead) for lead in ("V1", "V2", "V3", "V4")), strict=True)
    assert tall[0] < 0.5 < tall[3]
    assert tall[0] < tall[2] < tall[3]
    assert min(deep[0], deep[1]) < -0.5 < deep[3]
    assert qrs_mv(ecg, "aVR")[1] < -0.4


@pytest.mark.parametrize(
    ("kind", "slowest", "fastest"),
    [
        ("normal", 60, 80),
        ("sinus-tachycardia", 105, 135),
        ("sinus-bradycardia", 40, 52),
        ("atrial-fibrillation", 70, 120),
    ],
)
@pytest.mark.parametrize("seed", range(4))
def test_the_heart_rate_is_what_the_name_says(kind, slowest, fastest, seed):
    rr_s = np.diff(beats_s(simulate(kind, seed=seed, duration_s=30)))
    assert slowest <= 60 / rr_s.mean() <= fastest


def test_fibrillation_is_irregular_and_has_no_p_wave():
    sinus, chaos = (simulate(k, seed=3, duration_s=30) for k in ("normal", "atrial-fibrillation"))
    assert np.diff(beats_s(sinus)).std() < 0.05
    assert np.diff(beats_s(chaos)).std() > 0.08
    assert p_wave_mv(sinus) > 0.06 > p_wave_mv(chaos)


def p_wave_mv(ecg):
    """Height of the median beat of lead II 160 ms before R over its level 70 ms before R."""
    rate, lead = int(ecg.sampling_rate_hz), ecg.lead("II")
    peaks = [int(t * rate) for t in beats_s(ecg, "II") if 0.5 < t < ecg.duration_s - 0.5]
    beat = np.median([lead[p - rate // 4 : p] for p in peaks], axis=0)
    at = lambda before_s: beat[len(beat) - int(before_s * rate)]  # noqa: E731
    return at(0.16) - at(0.07)


def test_premature_beats_are_wide_early_and_followed_by_a_pause():
    ecg = simulate("ventricular-ectopy", seed=1, duration_s=20)
    rr_s = np.diff(beats_s(ecg, "II", share=0.5))
    early = int(np.argmin(rr_s))
    assert rr_s[early] < 0.75 * np.median(rr_s)
    assert rr_s[early + 1] > 1.25 * np.median(rr_s)


def test_bundle_branch_block_is_wide_and_deep_in_v1():
    def width_s(kind):
        ecg = simulate(kind, seed=6)
        samples = np.abs(ecg.lead("V1") - np.median(ecg.lead("V1")))
        return (samples > samples.max() / 2).mean() * ecg.duration_s / len(beats_s(ecg, "V6"))

    assert width_s("left-bundle-branch-block") > 1.8 * width_s("normal")
    assert qrs_mv(simulate("left-bundle-branch-block", seed=6), "V1")[1] < -0.8


def test_inferior_injury_lifts_st_below_and_lowers_it_above():
    def st_mv(lead):
        ecg = simulate("inferior-st-elevation", seed=2)
        rate, samples = int(ecg.sampling_rate_hz), ecg.lead(lead)
        peaks = [int(t * rate) for t in beats_s(ecg) if 0.5 < t < 9.5]
        return np.median([samples[p + rate // 10] - samples[p - rate // 12] for p in peaks])

    assert min(st_mv("II"), st_mv("III"), st_mv("aVF")) > 0.1
    assert st_mv("aVL") < -0.1


def test_hypertrophy_meets_sokolow_lyon():
    ecg = simulate("left-ventricular-hypertrophy", seed=2)
    assert qrs_mv(ecg, "V5")[0] - qrs_mv(ecg, "V1")[1] > 3.5


@pytest.mark.parametrize(
    ("kind", "arguments", "reason"),
    [
        ("asystole", {}, "kind-unknown"),
        ("normal", {"start": datetime(2026, 1, 1)}, "time-naive"),  # noqa: DTZ001
        ("normal", {"sampling_rate_hz": 6_000.0}, "rate-out-of-range"),
        ("normal", {"sampling_rate_hz": 20.0}, "rate-out-of-range"),
        ("normal", {"duration_s": 0.0}, "samples-out-of-range"),
        ("normal", {"duration_s": 1e9}, "samples-out-of-range"),
        ("normal", {"duration_s": float("nan")}, "samples-out-of-range"),
    ],
)
def test_what_is_not_known_or_possible_is_refused(kind, arguments, reason):
    with pytest.raises(EcgError) as refused:
        simulate(kind, seed=1, **arguments)
    assert refused.value.reason == reason
