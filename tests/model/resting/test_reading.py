import numpy as np
import pytest
import torch

from model.resting.network import RestingNetwork
from model.resting.reading import measure, measure_all
from model.resting.settings import MV_PER_UNIT, Dimensions


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    dims = Dimensions(n_statements=5, channels=(8, 8, 8, 8), lstm_width=8)
    return RestingNetwork(dims).eval()


def noise(n, seed=0):
    voltage = np.random.default_rng(seed).normal(size=(n, 12, 80)).astype(np.float32)
    return MV_PER_UNIT * voltage


def test_residual_and_misfit_are_what_restoration_left(network):
    voltage = noise(2)
    visible = np.ones(voltage.shape, np.bool_)
    measured = measure(network, torch.from_numpy(voltage), torch.from_numpy(visible))
    with torch.inference_mode():
        reading = network(torch.from_numpy(voltage), torch.from_numpy(visible))
        mean_mv = network.restore(reading.code)[0].numpy()
    error = np.abs(voltage - mean_mv)
    np.testing.assert_allclose(
        measured.residual_mv, error.reshape(2, 12, 10, 8).mean(axis=3), rtol=1e-4
    )
    np.testing.assert_allclose(
        measured.misfit, error.sum(axis=(1, 2)) / np.abs(voltage).sum(axis=(1, 2)), rtol=1e-4
    )


def test_unseen_leads_have_no_residual(network):
    voltage = noise(2)
    visible = np.ones(voltage.shape, np.bool_)
    visible[:, 5] = False
    residual = measure_all(network, voltage, visible).residual_mv
    assert not residual[:, 5].any()
    assert residual[:, 4].all()


def test_batches_do_not_change_the_answer(network):
    voltage = noise(7)
    visible = np.ones(voltage.shape, np.bool_)
    whole, parts = (measure_all(network, voltage, visible, batch=b) for b in (7, 3))
    for name in vars(whole):
        np.testing.assert_allclose(getattr(whole, name), getattr(parts, name), atol=1e-5)


def test_a_flat_line_has_a_finite_misfit(network):
    flat = np.zeros((1, 12, 80), np.float32)
    assert np.isfinite(measure_all(network, flat, np.ones(flat.shape, np.bool_)).misfit).all()
    assert np.isfinite(measure_all(network, flat, np.zeros(flat.shape, np.bool_)).misfit).all()
