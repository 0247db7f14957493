import numpy as np
import pytest

from model.beats import detect_r_peaks
from model.errors import BundleError
from model.simulate import simulate
from model.strip.af import AfModel, Traces, lead_traces, window_bounds
from model.strip.af_inputs import stacked, window_inputs


def read(model, ecg, leads=("II",)):
    rows = [ecg.leads.index(lead) for lead in leads]
    voltage_mv = ecg.voltage_mv[rows]
    beats_s = detect_r_peaks(voltage_mv, ecg.sampling_rate_hz) / ecg.sampling_rate_hz
    traces = lead_traces(voltage_mv, leads, ecg.sampling_rate_hz)
    return model.read(traces, beats_s), beats_s


@pytest.mark.parametrize("rate_hz", [100.0, 360.0, 1000.0])
@pytest.mark.parametrize(("kind", "told"), [("normal", False), ("atrial-fibrillation", True)])
def test_fibrillation_is_told_at_any_rate(af_model, kind, told, rate_hz):
    ecg = simulate(kind, seed=1000, sampling_rate_hz=rate_hz, duration_s=30.0)
    evidence, _ = read(af_model, ecg)
    assert (evidence.probabilities["AF"] >= af_model.threshold) is told


def test_windows_of_ten_seconds_cover_the_strip(af_model):
    ecg = simulate("normal", seed=3, sampling_rate_hz=250.0, duration_s=23.0)
    evidence, beats_s = read(af_model, ecg)
    assert evidence.start_s.tolist() == [0.0, 5.0, 10.0, 13.0]
    assert evidence.end_s.tolist() == [10.0, 15.0, 20.0, 23.0]
    assert evidence.log_odds.shape == (4, 2)
    assert evidence.attention.shape == beats_s.shape
    assert evidence.attention.sum() == pytest.approx(1)
    assert (evidence.attention > 0).all()


def test_attention_goes_where_the_fibrillation_is(af_model):
    sinus = simulate("normal", seed=5, sampling_rate_hz=100.0, duration_s=60.0)
    fibrillation = simulate("atrial-fibrillation", seed=6, sampling_rate_hz=100.0, duration_s=60.0)
    voltage_mv = np.concatenate([sinus.voltage_mv[1:2], fibrillation.voltage_mv[1:2]], axis=1)
    beats_s = detect_r_peaks(voltage_mv, 100.0) / 100.0
    evidence = af_model.read(lead_traces(voltage_mv, ("II",), 100.0), beats_s)
    assert evidence.attention[beats_s > 60].sum() > 0.9


def test_two_leads_are_the_mean_of_each(af_model):
    ecg = simulate("ventricular-ectopy", seed=7, sampling_rate_hz=100.0)
    beats_s = detect_r_peaks(ecg.voltage_mv[:2], 100.0) / 100.0
    first, second, both = (
        af_model.read(lead_traces(ecg.voltage_mv[rows], leads, 100.0), beats_s).log_odds
        for rows, leads in (([0], ("I",)), ([1], ("II",)), ([0, 1], ("I", "II")))
    )
    np.testing.assert_allclose(both, (first + second) / 2, atol=1e-5)


def test_of_many_leads_the_preferred_are_read():
    ecg = simulate("normal", seed=8, sampling_rate_hz=100.0)
    alone = [
        lead_traces(ecg.voltage_mv[[i]], (ecg.leads[i],), 100.0).voltage_mv[0] for i in (1, 0, 6)
    ]
    np.testing.assert_allclose(
        lead_traces(ecg.voltage_mv, ecg.leads, 100.0).voltage_mv, alone, atol=1e-6
    )


def test_a_window_that_no_lead_shows_is_left_out(af_model):
    ecg = simulate("normal", seed=9, sampling_rate_hz=200.0, duration_s=40.0)
    ecg.voltage_mv[1, round(22 * 200.0) : round(24 * 200.0)] = np.nan
    evidence, _ = read(af_model, ecg)
    assert evidence.start_s.tolist() == [0.0, 5.0, 10.0, 25.0, 30.0]
    beside, _ = read(af_model, ecg, ("I", "II"))
    assert beside.start_s.tolist() == [0.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0]
    alone, _ = read(af_model, ecg, ("I",))
    np.testing.assert_allclose(beside.log_odds[3:5], alone.log_odds[3:5], atol=0.5)


def test_a_short_gap_is_bridged(af_model):
    ecg = simulate("normal", seed=9, sampling_rate_hz=200.0)
    ecg.voltage_mv[:, 300:360] = np.nan
    evidence, _ = read(af_model, ecg)
    assert len(evidence.log_odds) == 1
    assert np.isfinite(evidence.log_odds).all()


@pytest.mark.parametrize("beats_s", [[], [1.0], [1.0, 2.0]])
def test_too_few_beats_are_no_evidence(af_model, beats_s):
    evidence = af_model.read(
        Traces(np.zeros((1, 1000), np.float32), np.ones((1, 1000), bool)), np.array(beats_s)
    )
    assert evidence.probabilities == {"AF": 0.0, "other": 0.0}
    assert evidence.attention.tolist() == [0.0] * len(beats_s)


def test_absent_beats_change_nothing(af_model):
    peaks = np.arange(40, 1000, 90)
    trace_mv = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    alone = window_inputs(trace_mv, peaks)
    beside = stacked([alone, window_inputs(trace_mv, np.arange(20, 1000, 30))])
    np.testing.assert_allclose(
        af_model.log_odds(alone).log_odds[0], af_model.log_odds(beside).log_odds[0], atol=1e-5
    )


def test_tensors_come_back(af_model):
    again = AfModel.from_tensors(af_model.tensors() | {"another.part": np.zeros(1, np.float32)})
    inputs = window_inputs(np.zeros(1000, np.float32), np.arange(40, 1000, 90))
    np.testing.assert_allclose(
        af_model.log_odds(inputs).log_odds, again.log_odds(inputs).log_odds, atol=1e-5
    )
    assert again.threshold == pytest.approx(af_model.threshold)
    assert all(t.dtype == np.float32 for t in again.tensors().values())


def test_a_missing_tensor_is_named(af_model):
    tensors = af_model.tensors()
    del tensors["af.heads.bias"]
    with pytest.raises(BundleError, match=r"tensors-missing: af\.heads\.bias"):
        AfModel.from_tensors(tensors)


def test_the_last_window_ends_with_the_strip():
    assert window_bounds(700) == [(0, 700)]
    assert window_bounds(1000) == [(0, 1000)]
    assert window_bounds(1700) == [(0, 1000), (500, 1500), (700, 1700)]
