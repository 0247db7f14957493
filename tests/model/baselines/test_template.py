import numpy as np
import pytest

from model.baselines import template
from model.metrics import auroc
from model.simulate import simulate


def ecgs(kind, seeds):
    return np.stack([simulate(kind, seed=s, sampling_rate_hz=100.0).voltage_mv for s in seeds])


@pytest.fixture(scope="module")
def training():
    return ecgs("normal", range(40)), np.ones(40, np.bool_)


@pytest.mark.parametrize(
    ("kind", "method"),
    [
        ("ventricular-ectopy", "deviation from own template"),
        ("left-bundle-branch-block", "distance to the average normal beat"),
        ("left-bundle-branch-block", "median beat, PCA"),
        ("inferior-st-elevation", "features, Mahalanobis"),
        ("sinus-tachycardia", "features, Mahalanobis"),
    ],
)
def test_each_method_finds_what_it_is_for(training, kind, method):
    reported = np.concatenate([ecgs("normal", range(50, 60)), ecgs(kind, range(10))])
    learnt = np.concatenate([training[0], ecgs(kind, range(60, 64))])
    normal = np.concatenate([training[1], np.zeros(4, np.bool_)])
    scores = template.scores(learnt, normal, reported)[method]
    assert scores[0].shape == (44,)
    assert auroc(np.repeat([False, True], 10), scores[1]) > 0.9


def test_only_the_logistic_sees_abnormal_ecgs(training):
    reported = ecgs("normal", range(50, 53))
    learnt = np.concatenate([training[0], ecgs("atrial-fibrillation", range(4))])
    normal = np.concatenate([training[1], np.zeros(4, np.bool_)])
    other = learnt.copy()
    other[40:] = ecgs("left-bundle-branch-block", range(4))
    first, second = (template.scores(each, normal, reported) for each in (learnt, other))
    differing = {name for name in first if not np.allclose(first[name][1], second[name][1])}
    assert differing == {"features, logistic (supervised)"}


@pytest.mark.parametrize(
    ("kind", "rr_s"), [("normal", 0.86), ("sinus-tachycardia", 0.5), ("sinus-bradycardia", 1.3)]
)
def test_the_first_feature_is_the_log_of_the_beat_interval(kind, rr_s):
    numbers = template.features(ecgs(kind, range(3)))
    assert numbers.shape == (3, 15)
    assert np.exp(numbers[:, 0]) == pytest.approx(rr_s, rel=0.1)


def test_fibrillation_is_irregular_and_bundle_branch_block_wide():
    normal = template.features(ecgs("normal", range(6))).mean(axis=0)
    irregular = template.features(ecgs("atrial-fibrillation", range(6))).mean(axis=0)
    wide = template.features(ecgs("left-bundle-branch-block", range(6))).mean(axis=0)
    assert irregular[1] - normal[1] > 1  # log of the variation coefficient
    assert wide[4] > 1.3 * normal[4]


def test_a_flat_ecg_has_finite_features():
    assert np.isfinite(template.features(np.zeros((1, 12, 1000), np.float32))).all()
