import numpy as np
import pytest

from model.strip.anomaly import VIEWS, beat_views, fit_scale
from model.strip.inputs import N_RHYTHM, N_TRAITS, WINDOW, BeatInputs


@pytest.fixture(scope="module")
def normals():
    return np.random.default_rng(0).normal(0, 1, (5_000, len(VIEWS)))


def test_the_score_is_the_share_of_normals_below(normals):
    scale = fit_scale(normals)
    assert set(scale.views) == set(VIEWS)
    scores = scale.score(normals)
    np.testing.assert_allclose(np.quantile(scores, [0.1, 0.5, 0.9]), [0.1, 0.5, 0.9], atol=0.02)


def test_more_of_any_view_is_never_less_unusual(normals):
    scale = fit_scale(normals)
    base = np.zeros((1, len(VIEWS)))
    for k in range(len(VIEWS)):
        risen = np.repeat(base, 20, axis=0)
        risen[:, k] = np.linspace(-3, 6, 20)
        assert (np.diff(scale.score(risen)) >= 0).all()
    assert scale.score(np.full((1, len(VIEWS)), 4.0))[0] == 1


def test_views_of_beats():
    inputs = BeatInputs(
        np.zeros((3, 2, 2, WINDOW), np.float32),
        np.zeros((3, 2, N_TRAITS), np.float32),
        np.zeros((3, N_RHYTHM), np.float32),
        np.ones((3, 2), bool),
    )
    inputs.shapes[1, :, 1] = 0.5
    inputs.rhythm[:, 0] = [0, -0.3, 0.3]
    errors = np.full((3, 2), 0.1)
    log_p = np.log(np.array([[0.9, 0.1], [0.1, 0.9], [0.5, 0.5]]))
    views = beat_views(inputs, errors, log_p)
    restoration, template, prematurity, network = views.T
    assert np.ptp(restoration) == 0
    assert template[1] == pytest.approx(np.log(0.501))
    assert prematurity.tolist() == pytest.approx([0, 0.3, 0])  # late is not early
    assert network.tolist() == pytest.approx([np.log(1 / 9), np.log(9), 0], abs=1e-6)
