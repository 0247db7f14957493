import numpy as np
import pytest
import torch

from model.resting.network import Code, RestingNetwork
from model.resting.settings import STRIDE, Dimensions

SMALL = Dimensions(n_statements=7, channels=(8, 8, 16, 16), lstm_width=8)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return RestingNetwork(SMALL).eval()


def noise(n=2, length=400, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, 12, length, generator=generator)


def shown(voltage):
    return torch.ones_like(voltage, dtype=torch.bool)


def test_the_shipped_size_is_between_one_and_two_million():
    network = RestingNetwork(Dimensions())
    assert 1_000_000 < sum(p.numel() for p in network.parameters()) < 2_000_000


@pytest.mark.parametrize("length", [STRIDE, 512, 1000, 1600])
def test_shapes_follow_the_length(network, length):
    voltage = noise(3, length)
    reading = network(voltage, shown(voltage))
    steps = length // STRIDE
    assert reading.type_logits.shape == (3, 6)
    assert reading.statement_logits.shape == (3, 7)
    assert reading.attention.shape == (3, 6, steps)
    assert reading.code.rhythm.shape == (3, 2, steps)
    assert reading.code.morphology.shape == (3, 32)
    mean_mv, log_scale = network.restore(reading.code)
    assert mean_mv.shape == log_scale.shape == (3, 12, length)


def test_attention_sums_to_one_and_skips_what_nobody_saw(network):
    voltage = noise()
    visible = shown(voltage)
    visible[:, :, 200:] = False
    attention = network(voltage, visible).attention
    torch.testing.assert_close(attention.sum(dim=2), torch.ones(2, 6))
    assert not attention[:, :, 25:].any()


def test_what_is_hidden_does_not_matter(network):
    voltage, other = noise(seed=0), noise(seed=1)
    visible = shown(voltage)
    visible[:, 4:] = False
    mixed = torch.where(visible, voltage, other)
    for one, two in zip(network(voltage, visible), network(mixed, visible), strict=True):
        torch.testing.assert_close(one, two)


def test_hidden_and_flat_are_not_the_same(network):
    voltage = noise()
    voltage[:, 4:] = 0
    visible = shown(voltage)
    visible[:, 4:] = False
    logits = [network(voltage, v).type_logits for v in (visible, shown(voltage))]
    assert (logits[0] - logits[1]).abs().max() > 1e-4


def test_nothing_visible_is_still_finite(network):
    voltage = noise()
    reading = network(voltage, torch.zeros_like(voltage, dtype=torch.bool))
    assert all(torch.isfinite(part).all() for part in (reading.type_logits, reading.attention))


def test_rows_do_not_see_each_other(network):
    voltage = noise(4)
    together = network(voltage, shown(voltage)).type_logits
    alone = torch.cat([network(v[None], shown(v[None])).type_logits for v in voltage])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)


def test_the_code_is_bounded_and_noisy_only_in_training(network):
    voltage = 100 * noise()
    code = network(voltage, shown(voltage)).code
    assert max(code.rhythm.abs().max(), code.morphology.abs().max()) <= 1
    torch.testing.assert_close(network(voltage, shown(voltage)).code, code)
    network.train()
    try:
        one, two = (network(voltage, shown(voltage)).code.morphology for _ in range(2))
    finally:
        network.eval()
    assert (one - two).abs().max() > 0.01


def test_the_decoder_sees_only_the_code(network):
    code = Code(torch.zeros(2, 2, 50), torch.zeros(2, 32))
    mean_mv, log_scale = network.restore(code)
    torch.testing.assert_close(mean_mv[0], mean_mv[1])
    assert -3 <= log_scale.min() <= log_scale.max() <= 2


def test_every_parameter_learns():
    torch.manual_seed(0)
    network = RestingNetwork(SMALL)
    voltage = noise(4)
    reading = network(voltage, shown(voltage))
    mean_mv, log_scale = network.restore(reading.code)
    parts = (reading.type_logits, reading.statement_logits, mean_mv, log_scale)
    torch.autograd.backward(sum(part.square().mean() for part in parts))
    missing = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    # A constant added to every score leaves the softmax of the attention as it was.
    assert [n for n in missing if n != "attention.maps.bias"] == []


def test_the_same_seed_makes_the_same_network():
    states = []
    for _ in range(2):
        torch.manual_seed(3)
        states.append(RestingNetwork(SMALL).state_dict())
    for name, value in states[0].items():
        np.testing.assert_array_equal(value, states[1][name])
