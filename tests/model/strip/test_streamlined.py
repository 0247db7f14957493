import torch
from torch import nn

from model.strip.release import ensemble_of
from model.strip.streamlined import streamlined


def test_the_same_function_without_batch_norms(strip_bundle):
    ensemble = ensemble_of(strip_bundle)
    torch.manual_seed(0)
    dims = strip_bundle.card.preprocessing
    beats = (
        torch.randn(9, 2, dims.window_samples),
        torch.randn(9, 2 * dims.n_traits),
        torch.randn(9, dims.n_rhythm),
        torch.arange(-1, 31).clamp(max=8)[None],
    )
    fast = streamlined(ensemble)
    for one, two in zip(ensemble(*beats), fast(*beats), strict=True):
        torch.testing.assert_close(one, two)
    assert not any(isinstance(layer, nn.BatchNorm1d) for layer in fast.modules())
    assert any(isinstance(layer, nn.BatchNorm1d) for layer in ensemble.modules())  # left as it was
