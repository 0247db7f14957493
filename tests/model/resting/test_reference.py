from dataclasses import replace

import numpy as np
import pytest
import torch

from model.errors import BundleError
from model.resting.card import load_resting
from model.resting.reading import lead_influence, measure_all
from model.resting.reference import TorchRuntime, trained_network


@pytest.fixture(scope="module")
def bundle():
    return load_resting()


def test_the_reference_is_the_trained_network(bundle):
    network = trained_network(bundle)
    assert not network.training
    assert not any(p.requires_grad for p in network.parameters())
    voltage = np.random.default_rng(0).normal(0, 0.3, (2, 12, 400)).astype(np.float32)
    visible = np.ones(voltage.shape, np.bool_)
    runtime = TorchRuntime.of(bundle)
    expected = measure_all(network, voltage, visible)
    np.testing.assert_array_equal(
        runtime.measure(voltage, visible).type_logits, expected.type_logits
    )
    found = runtime.influence(voltage[0], visible[0], [4, 1])
    for k, row in zip((4, 1), found, strict=True):
        np.testing.assert_array_equal(row, lead_influence(network, voltage[0], visible[0], k))
    assert runtime.influence(voltage[0], visible[0], []).shape == (0, 12, 50)


@pytest.mark.parametrize("threads", [2, 1])
def test_torch_gets_the_threads_that_were_asked_for(bundle, threads):
    TorchRuntime.of(bundle, threads)
    assert torch.get_num_threads() == threads


def test_weights_of_other_sizes_are_refused(bundle):
    dims = replace(bundle.card.dimensions, lstm_width=64)
    other = replace(bundle, card=bundle.card.model_copy(update={"dimensions": dims}))
    with pytest.raises(BundleError, match="bundle-altered: the weights do not fit"):
        trained_network(other)
