"""Shapes and starting points of the baselines that are networks."""

import numpy as np
import pytest
import torch
from torch import nn

from model.baselines.convolutional import CODE_CHANNELS, ConvolutionalAutoencoder
from model.baselines.recurrent import CODE_WIDTH, LstmAutoencoder
from model.baselines.xresnet import BLOCKS, Bottleneck, XResNet1d101


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.mark.parametrize(
    ("network", "samples"), [(ConvolutionalAutoencoder(), 1000), (LstmAutoencoder(), 70)]
)
def test_autoencoders_give_back_the_shape(network, samples):
    assert network(torch.randn(2, 12, samples)).shape == (2, 12, samples)


def test_the_convolutional_code_is_narrow():
    network = ConvolutionalAutoencoder().eval()
    assert network.encoder(torch.randn(1, 12, 1000)).shape == (1, CODE_CHANNELS, 25)


def test_everything_the_lstm_writes_went_through_its_code():
    network = LstmAutoencoder().eval()
    nn.init.zeros_(network.code.weight)
    nn.init.zeros_(network.code.bias)
    restored = network(torch.randn(2, 12, 70))
    assert torch.equal(restored[0], restored[1])
    assert network.code.out_features == CODE_WIDTH


def test_xresnet_is_the_size_its_paper_gives():
    network = XResNet1d101(77)
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv1d)]
    matched = [b for b in network.blocks if isinstance(b.shortcut[1], nn.Sequential)]
    assert len(matched) == 1
    assert len(convolutions) == 3 + 3 * sum(BLOCKS) + len(matched)
    assert sum(isinstance(b.shortcut[0], nn.AvgPool1d) for b in network.blocks) == 3
    assert 1.7e6 < sum(p.numel() for p in network.parameters()) < 2.0e6


@pytest.mark.parametrize("samples", [250, 251, 1000])
def test_xresnet_takes_any_length(samples):
    assert XResNet1d101(5).eval()(torch.randn(2, 12, samples)).shape == (2, 5)


def test_a_bottleneck_starts_as_its_shortcut():
    block = Bottleneck(256, stride=1).eval()
    x = torch.rand(1, 256, 9)
    assert torch.equal(block(x), x)


def test_a_bottleneck_with_stride_averages_its_shortcut():
    block = Bottleneck(256, stride=2).eval()
    x = torch.rand(1, 256, 4)
    assert block(x).detach().numpy() == pytest.approx(
        np.stack([x[:, :, 0:2].mean(2), x[:, :, 2:4].mean(2)], axis=2), abs=1e-6
    )
