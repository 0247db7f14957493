import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load, save

from model.anomaly import (
    AFTER,
    BEFORE,
    AnomalyFeatures,
    AnomalyModel,
    NormalLatent,
    anomaly_features,
    beat_positions,
    fit_anomaly,
)
from model.errors import BundleError
from model.simulate import simulate

W = BEFORE + AFTER


def features(n, *, seed=0, error=0.05, away=0.0, abnormal_logit=-3.0):
    """n ECGs: residual is `error` of the beat, latent lies `away` from the centre."""
    rng = np.random.default_rng(seed)
    beat = rng.uniform(0.1, 1.0, (n, 12, W)).astype(np.float32)
    noise = rng.uniform(0.8, 1.2, (n, 12, W)).astype(np.float32)
    logits = rng.normal(abnormal_logit, 0.5, (n, 6)).astype(np.float32)
    logits[:, 0] *= -1
    pooled = (rng.normal(size=(n, 20)) + away).astype(np.float32)
    return AnomalyFeatures(beat * noise * np.float32(error), beat, pooled, logits)


def fused(model, some):
    return model.fused(model.views(some))


@pytest.fixture(scope="module")
def model():
    return fit_anomaly(features(300))


@pytest.mark.parametrize(
    ("change", "view"),
    [({"error": 0.5}, 0), ({"away": 2.0}, 1), ({"abnormal_logit": 2.0}, 2)],
)
def test_each_view_answers_to_its_own_change_only(model, change, view):
    usual, changed = model.views(features(50, seed=1)), model.views(features(50, seed=1, **change))
    moved = (changed - usual).mean(axis=0) / model.scale
    assert moved[view] > 2
    assert np.abs(np.delete(moved, view)).max() < 1e-6


def test_fused_is_the_mean_of_views_standardised_on_normals(model):
    normals = features(300)
    views = model.views(normals)
    assert model.centre == pytest.approx(views.mean(axis=0))
    expected = ((views - views.mean(axis=0)) / views.std(axis=0)).mean(axis=1)
    assert model.fused(views) == pytest.approx(expected, abs=1e-6)


def test_a_head_left_out_has_no_say():
    without_cd = fit_anomaly(features(300), heads=(0, 1, 2, 4, 5))
    usual, loud = features(20, seed=2), features(20, seed=2)
    loud.type_logits[:, 3] = 9.0
    assert fused(without_cd, loud) == pytest.approx(fused(without_cd, usual))


def test_restoration_is_relative_to_the_size_of_the_ecg(model):
    usual = features(20, seed=3)
    larger = usual._replace(residual_mv=usual.residual_mv * 4, beat_mv=usual.beat_mv * 4)
    assert model.views(larger)[:, 0] == pytest.approx(model.views(usual)[:, 0], abs=0.02)


def test_places_that_normals_miss_too_count_less():
    normals = features(300)
    normals.residual_mv[:, :, :10] *= 25
    weight = fit_anomaly(normals).weight
    assert weight[:, :10].mean() / weight[:, 10:].mean() == pytest.approx(1 / 5, rel=0.1)


def test_tensors_without_the_anomaly_model_are_refused(model):
    tensors = model.tensors()
    del tensors["anomaly.axes"]
    with pytest.raises(BundleError, match=r"bundle-altered: no tensor 'anomaly.axes'"):
        AnomalyModel.from_tensors(tensors)


def test_the_model_survives_safetensors(model):
    again = AnomalyModel.from_tensors(load(save(model.tensors())))
    other = features(20, seed=4, error=0.2)
    assert fused(again, other) == pytest.approx(fused(model, other), rel=1e-6)
    assert again.heads == model.heads


def test_latent_distance_of_a_known_gaussian():
    rng = np.random.default_rng(0)
    spread = np.array([3.0, 3.0] + [1.0] * 8, np.float32)
    latent = NormalLatent.fit((rng.normal(size=(20_000, 10)) * spread).astype(np.float32), 2)
    points = np.zeros((2, 10), np.float32)
    points[0, 0], points[1, 9] = 6.0, 2.0  # two standard deviations each
    assert latent.distance(points) == pytest.approx([2.0, 2.0], rel=0.05)
    assert latent.axes.shape == (2, 10)


def test_constant_latent_numbers_do_not_divide_by_zero():
    latent = NormalLatent.fit(np.ones((50, 5), np.float32))
    assert latent.distance(np.ones((1, 5), np.float32)) == pytest.approx([0.0])
    assert np.isfinite(latent.distance(np.zeros((1, 5), np.float32))).all()


def test_beats_of_a_known_rate_are_found():
    voltage = simulate("normal", seed=1, sampling_rate_hz=100.0).voltage_mv
    at = beat_positions(voltage)
    assert 8 <= len(at) <= 12
    assert np.diff(at).min() > 60
    heights = np.abs(voltage).max(axis=0)
    assert all(heights[max(p - 10, 0) : p + 10].max() > 0.5 for p in at)


def test_a_flat_ecg_has_one_beat_in_the_middle():
    assert beat_positions(np.zeros((12, 400), np.float32)).tolist() == [200]


@settings(max_examples=25)
@given(shift=st.integers(-20, 20), seed=st.integers(0, 50))
def test_beats_move_with_the_ecg(shift, seed):
    voltage = simulate("normal", seed=seed, sampling_rate_hz=100.0).voltage_mv
    inside = [p for p in beat_positions(voltage) if 80 < p < voltage.shape[1] - 80]
    moved = set(beat_positions(np.roll(voltage, shift, axis=1)).tolist())
    near = [any(abs(p + shift - q) <= 1 for q in moved) for p in inside]
    assert np.mean(near) > 0.8


def test_noise_cancels_over_beats_but_a_wrong_shape_stays():
    voltage = simulate("normal", seed=5, sampling_rate_hz=100.0).voltage_mv[None]
    noise = np.random.default_rng(0).normal(0, 0.1, voltage.shape).astype(np.float32)
    seen = np.ones(voltage.shape, np.bool_)
    pooled, logits = np.zeros((1, 2, 3), np.float32), np.zeros((1, 6), np.float32)
    noisy = anomaly_features(voltage, voltage + noise, seen, pooled, logits)
    wrong = anomaly_features(voltage, voltage * np.float32(0.5), seen, pooled, logits)
    assert noisy.residual_mv.mean() < 0.05  # 0.08 before averaging
    assert wrong.residual_mv.sum() == pytest.approx(0.5 * wrong.beat_mv.sum(), rel=0.1)
    assert wrong.pooled.shape == (1, 6)


def test_a_lead_not_shown_counts_nowhere():
    voltage = simulate("normal", seed=6, sampling_rate_hz=100.0).voltage_mv[None]
    seen = np.ones(voltage.shape, np.bool_)
    seen[:, 3] = False
    pooled, logits = np.zeros((1, 4), np.float32), np.zeros((1, 6), np.float32)
    found = anomaly_features(voltage, np.zeros_like(voltage), seen, pooled, logits)
    assert not found.residual_mv[0, 3].any()
    assert not found.beat_mv[0, 3].any()
    assert found.residual_mv[0, 4].any()


def test_an_ecg_without_any_voltage_has_a_score(model):
    silent = features(1)
    silent = silent._replace(residual_mv=silent.residual_mv * 0, beat_mv=silent.beat_mv * 0)
    assert np.isfinite(fused(model, silent)).all()


def test_rows_keeps_all_parts_together():
    some = features(10).rows(np.array([2, 5]))
    assert [len(part) for part in some] == [2, 2, 2, 2]
