import numpy as np
import pytest
import torch

from model.observing import observe, observe_all
from model.resting.network import RestingNetwork
from model.resting.settings import Dimensions
from model.simulate import simulate

SMALL = Dimensions(n_statements=8, channels=(16, 16, 16, 32), lstm_width=32)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return RestingNetwork(SMALL).eval()


@pytest.fixture(scope="module")
def voltage():
    return np.stack(
        [simulate("normal", seed=s, sampling_rate_hz=100.0).voltage_mv for s in (1, 2, 3)]
    )


def test_shapes_and_logits_are_the_networks(network, voltage):
    observed = observe_all(network, voltage)
    assert observed.pooled.shape == (3, 6 * 64)
    assert observed.beat_mv.shape == observed.residual_mv.shape == (3, 12, 70)
    with torch.inference_mode():
        reading = network(torch.from_numpy(voltage), torch.ones(3, 12, 1000, dtype=torch.bool))
    assert observed.type_logits == pytest.approx(reading.type_logits.numpy(), abs=1e-5)


def test_pooled_features_carry_the_type_logits(network, voltage):
    """In evaluation a type's logit is linear in what its attention map pooled."""
    observed = observe_all(network, voltage)
    pooled = observed.pooled.reshape(3, 6, 64)
    weight, bias = network.type_weight.detach().numpy(), network.type_bias.detach().numpy()
    assert (pooled * weight).sum(axis=2) + bias == pytest.approx(observed.type_logits, abs=1e-5)


def test_batches_change_nothing(network, voltage):
    together, apart = observe_all(network, voltage), observe_all(network, voltage, batch=2)
    for one, other in zip(together, apart, strict=True):
        assert one == pytest.approx(other, abs=1e-5)


def test_hidden_leads_are_hidden_from_the_features_too(network, voltage):
    visible = torch.ones(3, 12, 1000, dtype=torch.bool)
    visible[:, 6:] = False
    changed = torch.from_numpy(voltage.copy())
    changed[:, 6:] += 1.0
    first = observe(network, torch.from_numpy(voltage), visible)
    for one, other in zip(first, observe(network, changed, visible), strict=True):
        assert one == pytest.approx(other, abs=1e-6)


def test_no_hook_stays_behind(network, voltage):
    observe_all(network, voltage)
    assert not network.lstm._forward_hooks
