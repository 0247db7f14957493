import numpy as np
import pytest

from model.beats import detect_r_peaks
from model.simulate import simulate
from model.strip.rhythm import read_rhythm

RATE_HZ = 250.0


def strip(intervals_s, *, duration_s=None, noise_mv=0.005):
    """One lead of narrow R waves at these intervals, and their times."""
    times_s = 0.5 + np.append(0.0, np.cumsum(intervals_s))
    duration_s = duration_s or float(times_s[-1]) + 0.5
    at_s = np.arange(round(duration_s * RATE_HZ)) / RATE_HZ
    noise = np.random.default_rng(0).normal(0, noise_mv, len(at_s))
    waves = sum(np.exp(-0.5 * ((at_s - t) / 0.012) ** 2) for t in times_s)
    return (waves + noise).astype(np.float32)[None], times_s


def read(model, voltage_mv, times_s, classes=None):
    return read_rhythm(
        model,
        voltage_mv,
        ("II",),
        RATE_HZ,
        beat_times_s=times_s,
        aami_classes=classes or ("N",) * len(times_s),
    )


def codes(reading):
    return [r.code for r in reading.rhythms]


def test_a_sinus_rhythm_has_no_findings_and_an_attention(af_model):
    ecg = simulate("normal", seed=2000, sampling_rate_hz=RATE_HZ)
    times_s = detect_r_peaks(ecg.voltage_mv[1:2], RATE_HZ) / RATE_HZ
    reading = read(af_model, ecg.voltage_mv[1:2], times_s)
    assert codes(reading) == []
    assert reading.heart_rate_bpm == pytest.approx(60 / np.median(np.diff(times_s)))
    assert len(reading.attention) == len(times_s)
    assert sum(reading.attention) == pytest.approx(1)


def test_fibrillation_hides_supraventricular_runs_but_no_ventricular_ones(af_model):
    ecg = simulate("atrial-fibrillation", seed=2001, sampling_rate_hz=RATE_HZ, duration_s=30.0)
    times_s = detect_r_peaks(ecg.voltage_mv[1:2], RATE_HZ) / RATE_HZ
    classes = tuple("SSSVVVV" + "N" * (len(times_s) - 7))
    found = codes(read(af_model, ecg.voltage_mv[1:2], times_s, classes))
    assert "AF" in found
    assert "ventricular-run" in found
    assert "supraventricular-run" not in found


def test_findings_come_in_order_of_time(af_model):
    voltage_mv, times_s = strip([0.8] * 10 + [4.0] + [0.8] * 20)
    classes = ("N",) * 20 + ("V",) * 4 + ("N",) * (len(times_s) - 24)
    reading = read(af_model, voltage_mv, times_s, classes)
    assert [c for c in codes(reading) if c != "AF"] == ["pause", "ventricular-run"]
    starts = [r.start_s for r in reading.rhythms]
    assert starts == sorted(starts)


def test_attention_rests_on_the_beats_of_the_findings(af_model):
    voltage_mv, times_s = strip([0.8] * 30)
    classes = ("N",) * 10 + ("V",) * 4 + ("N",) * (len(times_s) - 14)
    reading = read(af_model, voltage_mv, times_s, classes)
    assert codes(reading) == ["ventricular-run"]
    assert reading.attention[10:14] == pytest.approx([0.25] * 4)


def test_a_gap_is_a_pause_only_where_it_was_recorded(af_model):
    voltage_mv, times_s = strip([0.8] * 10 + [4.0] + [0.8] * 10)
    inside = slice(round(9.2 * RATE_HZ), round(12.2 * RATE_HZ))
    assert "pause" in codes(read(af_model, voltage_mv, times_s))
    for value in (np.nan, 0.0, -0.3):
        lost = voltage_mv.copy()
        lost[:, inside] = value
        assert "pause" not in codes(read(af_model, lost, times_s))


def test_a_gap_with_something_steep_in_it_is_no_pause(af_model):
    voltage_mv, times_s = strip([0.8] * 10 + [2.0, 2.0] + [0.8] * 10)
    missed = np.delete(times_s, 11)
    assert "pause" not in codes(read(af_model, voltage_mv, missed))


def test_a_pause_at_the_end_counts(af_model):
    voltage_mv, times_s = strip([0.8] * 10, duration_s=14.0)
    (pause,) = [r for r in read(af_model, voltage_mv, times_s).rhythms if r.code == "pause"]
    assert pause.end_s == 14.0
    assert pause.value == pytest.approx(5.5)


@pytest.mark.parametrize("times_s", [[], [1.0]])
def test_hardly_any_beats(af_model, times_s):
    voltage_mv, _ = strip([0.8] * 3)
    reading = read(af_model, voltage_mv, np.array(times_s))
    assert reading.heart_rate_bpm is None
    assert sum(reading.attention) == pytest.approx(len(times_s))
    assert reading.af_probability == 0.0


def test_many_leads_and_minutes_are_read(af_model):
    ecg = simulate("atrial-fibrillation", seed=4, sampling_rate_hz=100.0, duration_s=600.0)
    times_s = detect_r_peaks(ecg.voltage_mv[:2], 100.0) / 100.0
    reading = read_rhythm(
        af_model,
        ecg.voltage_mv,
        ecg.leads,
        100.0,
        beat_times_s=times_s,
        aami_classes=("N",) * len(times_s),
    )
    assert sum(r.end_s - r.start_s for r in reading.rhythms if r.code == "AF") > 500
