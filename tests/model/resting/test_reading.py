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


def test_residual_is_what_restoration_left(network):
    voltage = noise(2)
    visible = np.ones(voltage.shape, np.bool_)
    measured = measure(network, torch.from_numpy(voltage), torch.from_numpy(visible))
    with torch.inference_mode():
        reading = network(torch.from_numpy(voltage), torch.from_numpy(visible))
        restored_mv = network.restore(reading.code)[0].numpy()
    np.testing.assert_array_equal(measured.restored_mv, restored_mv)
    error = np.abs(voltage - restored_mv)
    np.testing.assert_allclose(
        measured.residual_mv, error.reshape(2, 12, 10, 8).mean(axis=3), rtol=1e-4
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


@pytest.mark.parametrize("seen", [True, False])
def test_a_flat_line_has_finite_measures(network, seen):
    flat = np.zeros((1, 12, 80), np.float32)
    measured = measure_all(network, flat, np.full(flat.shape, seen))
    assert all(np.isfinite(part).all() for part in vars(measured).values())


def test_pooled_features_carry_the_type_logits(network):
    """In evaluation a type's logit is linear in what its attention map pooled."""
    voltage = noise(3)
    measured = measure_all(network, voltage, np.ones(voltage.shape, np.bool_))
    weight, bias = network.type_weight.detach().numpy(), network.type_bias.detach().numpy()
    logits = (measured.pooled * weight).sum(axis=2) + bias
    np.testing.assert_allclose(logits, measured.type_logits, atol=1e-5)
