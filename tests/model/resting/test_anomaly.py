import numpy as np
import pytest

from model.calibration import Logistic
from model.errors import BundleError
from model.resting.anomaly import COMPONENTS, NormalCodes, components, share_of_normals_below
from model.resting.card import AnomalyCalibration
from model.resting.reading import Measured


@pytest.fixture
def codes():
    generator = np.random.default_rng(0)
    return NormalCodes.fit((generator.normal(size=(4000, 3)) * [1, 2, 3] + 5).astype(np.float32))


def test_distance_counts_in_the_normals_own_spread(codes):
    points = np.array([[5, 5, 5], [6, 5, 5], [5, 7, 5], [5, 5, 11]], np.float32)
    np.testing.assert_allclose(codes.distance(points), [0, 1, 1, 2], atol=0.15)


def test_codes_survive_the_bundle(codes):
    again = NormalCodes.from_tensors(codes.tensors())
    np.testing.assert_array_equal(again.mean, codes.mean)
    np.testing.assert_array_equal(again.precision, codes.precision)


def test_tensors_without_codes_are_refused():
    with pytest.raises(BundleError, match="bundle-altered"):
        NormalCodes.from_tensors({})


def test_a_number_that_never_moves_does_not_weigh_without_bound():
    codes = NormalCodes.fit(np.zeros((10, 2), np.float32))
    assert codes.distance(np.full((1, 2), 0.1, np.float32))[0] < 10


def test_components_stand_in_their_order(codes):
    measured = Measured(
        type_logits=np.array([[2.0, 0, 0, 0, 0, 0]], np.float32),
        statement_logits=np.zeros((1, 71), np.float32),
        attention=np.zeros((1, 6, 125), np.float32),
        residual_mv=np.zeros((1, 12, 125), np.float32),
        misfit=np.array([0.5], np.float32),
        morphology=np.array([[6, 5, 5]], np.float32),
    )
    views = dict(zip(COMPONENTS, components(measured, codes)[0], strict=True))
    assert views["restoration"] == pytest.approx(np.log(0.5))
    assert views["latent"] == pytest.approx(0, abs=0.1)
    assert views["types"] == -2.0


def test_the_score_is_the_share_of_normals_below():
    calibration = AnomalyCalibration(
        components=("only",),
        fusion=Logistic((2.0,), 1.0),
        normal_quantiles=(1.0, 3.0, 5.0),
        threshold=0.9,
    )
    views = np.array([[-9.0], [0.0], [0.5], [1.0], [2.0], [9.0]])
    np.testing.assert_allclose(
        share_of_normals_below(views, calibration), [0, 0, 0.25, 0.5, 1.0, 1.0]
    )
