import numpy as np
import pytest
import torch

from model.resting.network import RestingNetwork
from model.resting.reading import lead_influence, measure
from model.resting.settings import Dimensions
from model.streamlined import Influence, Streamlined


@pytest.fixture(scope="module")
def untrained():
    """Random weights, and statistics that a batch norm would have learnt."""
    torch.manual_seed(3)
    network = RestingNetwork(
        Dimensions(n_types=3, n_statements=5, channels=(8, 16, 16, 24), lstm_width=12)
    )
    for norm in (m for m in network.modules() if isinstance(m, torch.nn.BatchNorm1d)):
        norm.running_mean.uniform_(-0.5, 0.5)
        norm.running_var.uniform_(0.5, 2)
        norm.weight.data.uniform_(0.5, 1.5)
        norm.bias.data.uniform_(-0.5, 0.5)
    return network.eval().requires_grad_(requires_grad=False)


@pytest.fixture(scope="module")
def noise():
    torch.manual_seed(4)
    visible = torch.rand(4, 12, 1) > 0.3
    visible = visible.repeat(1, 1, 400)
    visible[0, :, 320:] = False
    return torch.randn(4, 12, 400) * visible, visible


@torch.no_grad()
def test_the_streamlined_network_is_the_same_function(untrained, noise):
    expected = measure(untrained, *noise)
    found = Streamlined(untrained)(*noise)
    for (name, one), two in zip(vars(expected).items(), found, strict=True):
        np.testing.assert_allclose(two.numpy(), one, atol=2e-5, err_msg=name)


@torch.no_grad()
@pytest.mark.parametrize("types", [[0], [2, 0], [0, 1, 2]])
def test_the_written_gradient_is_autograds(untrained, noise, types):
    voltage, visible = noise[0][:1], noise[1][:1]
    found = Influence(untrained)(voltage, visible, torch.tensor(types)).numpy()
    with torch.enable_grad():
        expected = np.stack(
            [lead_influence(untrained, voltage[0].numpy(), visible[0].numpy(), k) for k in types]
        )
    assert expected.max() > 0
    np.testing.assert_allclose(found, expected, atol=1e-5 * expected.max())
