import numpy as np
import pytest
from scipy.special import log_softmax

from model.strip.calibrating import fit_calibration


@pytest.fixture(scope="module")
def overconfident():
    """Log probabilities three times too sure of themselves, with the classes drawn from them."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 1, (20_000, 5)) + np.array([3, 0.5, 1, -2, -3])
    chance = np.exp(log_softmax(logits, axis=1))
    classes = (chance.cumsum(axis=1) > rng.random((len(chance), 1))).argmax(axis=1)
    return log_softmax(3 * logits, axis=1), classes


def test_confidence_becomes_frequency(overconfident):
    raw, classes = overconfident
    calibration = fit_calibration(raw, classes)
    assert calibration.slope == pytest.approx(1 / 3, rel=0.1)
    chance = np.exp(calibration.log_probabilities(raw))
    np.testing.assert_allclose(chance.sum(axis=1), 1)
    for k in range(3):
        assert chance[:, k].mean() == pytest.approx((classes == k).mean(), abs=0.01)


def test_decisions_are_better_for_ectopy_than_the_likeliest_class(overconfident):
    raw, classes = overconfident
    calibration = fit_calibration(raw, classes)
    calibrated = calibration.log_probabilities(raw)
    told, likeliest = calibration.classes(calibrated), calibrated.argmax(axis=1)

    def f1(said, k):
        hits = ((said == k) & (classes == k)).sum()
        return 2 * hits / ((said == k).sum() + (classes == k).sum())

    assert f1(told, 1) + f1(told, 2) > f1(likeliest, 1) + f1(likeliest, 2)
