"""Noise stress: the protocol's periods and SNR by their definitions, and what is counted when."""

import json
from pathlib import Path

import numpy as np
import pytest

from model.annotations import beat_annotations
from model.datasets.mitbih import DS1
from model.strip import robustness
from model.strip.robustness import (
    NOISES,
    SNRS_DB,
    Recording,
    add_noise,
    load_noise,
    load_recordings,
    noise_rms_mv,
    noisy_periods,
    plot,
    qrs_height_mv,
    stress,
)
from tests.model.test_beats import ecg, regular

RATE_HZ = 125.0
DURATION_S = 660


@pytest.fixture(scope="module")
def recording():
    peaks_s = regular(DURATION_S)
    leads = [ecg(peaks_s, DURATION_S, RATE_HZ, gain=gain, seed=k) for k, gain in enumerate((1, -2))]
    beats = np.round(peaks_s * RATE_HZ).astype(np.int64)
    reference = beat_annotations(beats, ["N", "V"] * (len(beats) // 2), RATE_HZ)
    return Recording(np.concatenate(leads), reference)


@pytest.fixture(scope="module")
def noise_mv():
    return np.random.default_rng(5).normal(0.3, 0.1, (2, 20_000)).astype(np.float32)


def test_five_clean_minutes_then_two_noisy_and_two_clean():
    assert (noisy_periods(180_500, 100.0) / 100).tolist() == [
        [300, 420], [540, 660], [780, 900], [1020, 1140], [1260, 1380], [1500, 1620], [1740, 1805],
    ]  # fmt: skip
    assert noisy_periods(29_000, 100.0).tolist() == []


@pytest.mark.parametrize("snr_db", [24.0, 6.0, -6.0])
def test_noise_has_the_snr_asked_for_in_each_lead_and_no_offset(recording, noise_mv, snr_db):
    beats = recording.reference.samples
    added = add_noise(recording.voltage_mv, beats, noise_mv, RATE_HZ, snr_db)
    added -= recording.voltage_mv
    noisy = np.zeros(added.shape[1], bool)
    for first, last in noisy_periods(added.shape[1], RATE_HZ):
        noisy[first:last] = True
    assert not added[:, ~noisy].any()
    for lead in (0, 1):
        signal = qrs_height_mv(recording.voltage_mv[lead], beats, RATE_HZ) ** 2 / 8
        power = noise_rms_mv(added[lead, noisy], RATE_HZ) ** 2
        assert 10 * np.log10(signal / power) == pytest.approx(snr_db, abs=0.1)
        assert abs(added[lead, noisy].mean()) < 0.05 * added[lead, noisy].std()


def test_heights_and_rms_leave_out_the_extreme():
    row = np.zeros(10_000, np.float32)
    peaks = np.arange(100, 10_000, 200)
    row[peaks] = 2
    row[peaks[:2]] = 100
    assert qrs_height_mv(row, peaks, 100.0) == pytest.approx(2)
    noise = np.tile(np.array([1, -1], np.float32), 5_000)
    noise[:400] *= 100
    assert noise_rms_mv(noise, 100.0) == pytest.approx(1)


def test_only_noisy_minutes_count(recording, noise_mv):
    found = stress([recording], "ma", noise_mv, 60.0)
    inside = [
        ((recording.reference.samples >= a) & (recording.reference.samples < b)).sum()
        for a, b in noisy_periods(recording.voltage_mv.shape[1], RATE_HZ)
    ]
    assert found.beats.counts.sum() == sum(inside)
    assert found.beats.qrs[:2] == (1, 1)
    assert found.answered_share == 1
    assert found.beats.accuracy == pytest.approx(0.5, abs=0.01)  # every second beat is V


def test_scorer_is_asked_about_the_noisy_signal_and_its_beats(recording, noise_mv):
    asked = []

    def scorer(voltage_mv, rate_hz, r_peaks):
        asked.append((voltage_mv, rate_hz, len(r_peaks)))
        return ["N" if k % 2 == 0 else "V" for k in range(len(r_peaks))]

    result = stress([recording], "ma", noise_mv, 40.0, scorer=scorer)
    assert result.beats.accuracy == 1
    assert asked[0][1:] == (RATE_HZ, len(recording.reference.samples))
    assert (asked[0][0] != recording.voltage_mv).any()


def test_louder_noise_means_fewer_beats_and_answers(recording, noise_mv):
    soft, loud = (stress([recording], "ma", noise_mv, snr_db) for snr_db in (24.0, -6.0))
    assert loud.answered_share < 0.2
    assert soft.answered_share > 0.9
    assert loud.beats.qrs.positive_predictivity < soft.beats.qrs.positive_predictivity


def test_figures_are_plain_and_drawn(recording, noise_mv, tmp_path):
    def scorer(_voltage_mv, _rate_hz, r_peaks):
        return ["N"] * len(r_peaks)

    rows = [stress([recording], "em", noise_mv, snr_db, scorer=scorer) for snr_db in (24.0, -6.0)]
    plain = json.loads(json.dumps([row.as_json() for row in rows], allow_nan=False))
    assert (plain[0]["noise"], plain[0]["snr_db"]) == ("em", 24.0)
    assert plain[0]["qrs_sensitivity"] == 1.0
    assert plain[0]["sveb_f1"] is None
    assert plain[0]["accuracy"] == pytest.approx(0.5, abs=0.01)
    assert "accuracy" not in stress([recording], "em", noise_mv, 24.0).as_json()
    plot(rows, tmp_path / "out.png")
    assert (tmp_path / "out.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.ecg_data
def test_recordings_and_noise_are_read(mitdb, nstdb):
    (recording,) = load_recordings(mitdb, ["207"])
    assert recording.voltage_mv.shape == (2, 650_000)
    assert (recording.reference.symbols == "[").sum() == 6
    assert load_noise(nstdb, "em").shape == (2, 650_000)


def test_figures_that_ship_are_complete_and_fall_silent_as_noise_grows():
    figures = json.loads((Path(robustness.__file__).parent / "results/robustness.json").read_text())
    assert tuple(figures["records"]) == DS1
    by_noise = {noise: {} for noise in NOISES}
    for row in figures["rows"]:
        by_noise[row["noise"]][row["snr_db"]] = row
    for rows in by_noise.values():
        assert tuple(rows) == SNRS_DB
        shares = [rows[snr_db]["answered_share"] for snr_db in SNRS_DB]
        assert shares[0] > 0.95
        assert shares[-1] < 0.3
        assert rows[24.0]["qrs_sensitivity"] > 0.99
        assert rows[24.0]["qrs_positive_predictivity"] > 0.99
