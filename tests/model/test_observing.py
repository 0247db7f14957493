import numpy as np
import pytest
import torch

from model import observing
from model.datasets import ptbxl
from model.observing import observe, observe_dataset
from model.resting.network import RestingNetwork
from model.resting.settings import Dimensions
from model.signal import remove_baseline
from model.simulate import simulate
from tests.ptbxl_folder import write_ptbxl

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


@pytest.fixture(scope="module")
def seen(voltage):
    return np.ones(voltage.shape, np.bool_)


def test_shapes_and_logits_are_the_networks(network, voltage, seen):
    observed = observe(network, voltage, seen)
    assert observed.pooled.shape == (3, 6 * 64)
    assert observed.beat_mv.shape == observed.residual_mv.shape == (3, 12, 70)
    with torch.inference_mode():
        reading = network(torch.from_numpy(voltage), torch.from_numpy(seen))
    assert observed.type_logits == pytest.approx(reading.type_logits.numpy(), abs=1e-5)


def test_batches_change_nothing(network, voltage, seen, monkeypatch):
    together = observe(network, voltage, seen)
    monkeypatch.setattr(observing, "_BATCH", 2)
    for one, other in zip(together, observe(network, voltage, seen), strict=True):
        assert one == pytest.approx(other, abs=1e-5)


def test_hidden_leads_are_hidden_from_the_features_too(network, voltage, seen):
    limb = seen.copy()
    limb[:, 6:] = False
    changed = voltage.copy()
    changed[:, 6:] += 1.0
    one, other = (observe(network, v, limb) for v in (voltage, changed))
    for part, same in zip(one, other, strict=True):
        assert part == pytest.approx(same, abs=1e-6)


def test_a_data_set_is_observed_without_its_baseline(network, tmp_path):
    data = ptbxl.load(write_ptbxl(tmp_path / "ptbxl", 4, folds=(1,)), (1,))
    voltage_mv = remove_baseline(ptbxl.millivolts(data.voltage_uv))
    expected = observe(network, voltage_mv, np.ones(voltage_mv.shape, np.bool_))
    for one, other in zip(observe_dataset(network, data), expected, strict=True):
        np.testing.assert_array_equal(one, other)
