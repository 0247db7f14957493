import numpy as np
import pytest
from scipy.special import expit

from model.calibration import Logistic, fit_logistic, operating_points


def drawn(n, slope, intercept, seed=0):
    generator = np.random.default_rng(seed)
    scores = generator.normal(size=n) * 2
    return generator.random(n) < expit(slope * scores + intercept), scores[:, None]


def test_fit_finds_the_slope_and_intercept_that_made_the_labels():
    labels, scores = drawn(20_000, slope=0.7, intercept=-1.0)
    fitted = fit_logistic(labels, scores)
    assert fitted.weights[0] == pytest.approx(0.7, abs=0.05)
    assert fitted.intercept == pytest.approx(-1.0, abs=0.05)
    assert fitted(scores).mean() == pytest.approx(labels.mean(), abs=0.005)


def test_a_misleading_score_gets_no_weight_rather_than_a_negative_one():
    labels, scores = drawn(2_000, slope=2.0, intercept=0.0)
    fitted = fit_logistic(labels, np.concatenate([scores, -scores], axis=1))
    assert fitted.weights[0] > 1.0
    assert fitted.weights[1] == 0.0


def test_separable_scores_give_finite_weights():
    labels = np.array([False] * 20 + [True] * 20)
    fitted = fit_logistic(labels, labels.astype(float)[:, None])
    assert np.isfinite(fitted.weights).all()
    assert fitted(np.array([[1.0]])) > 0.9
    assert fitted(np.array([[0.0]])) < 0.1


def test_decision_is_the_log_odds():
    logistic = Logistic((2.0, 0.5), -1.0)
    scores = np.array([[1.0, 2.0]])
    assert logistic.decision(scores) == 2.0
    assert logistic(scores) == pytest.approx(1 / (1 + np.exp(-2.0)))


def test_operating_points_keep_their_promises():
    labels, scores = drawn(2_000, slope=1.0, intercept=-1.0)
    points = operating_points(labels, scores[:, 0])
    assert points["screening"].sensitivity >= 0.95
    assert points["specific"].false_positive_rate <= 0.05
    gain = {n: p.sensitivity - p.false_positive_rate for n, p in points.items()}
    assert max(gain, key=gain.get) == "balanced"
    thresholds = [points[name].threshold for name in ("screening", "balanced", "specific")]
    assert thresholds == sorted(thresholds)


def test_operating_points_count_what_lies_at_the_threshold():
    labels = np.array([False, False, False, True, True])
    points = operating_points(labels, np.array([0.1, 0.2, 0.3, 0.3, 0.9]))
    assert points["screening"].threshold == 0.3
    assert points["screening"].sensitivity == 1.0
    assert points["screening"].false_positive_rate == pytest.approx(1 / 3)
    assert points["specific"].threshold == 0.9
    assert points["specific"].sensitivity == 0.5


def test_no_threshold_is_specific_enough_when_a_negative_scores_highest():
    labels = np.array([True, False])
    assert operating_points(labels, np.array([0.2, 0.8]))["specific"].threshold == 0.8
