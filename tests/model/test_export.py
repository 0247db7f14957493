import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from model import export as exporting
from model.bundle import NETWORK_GRAPH, load_bundle, save_bundle
from model.errors import BundleError
from model.export import LIMITS, check, drift, export, with_graphs
from model.resting.network import RestingNetwork
from model.resting.reading import lead_influence, measure
from model.resting.settings import Dimensions
from model.signal import prepare
from model.simulate import simulate
from model.streamlined import Influence, Streamlined, lstm_back

KINDS = ("normal", "inferior-st-elevation", "ventricular-ectopy")


@pytest.fixture(scope="module")
def bundle():
    return load_bundle()


@pytest.fixture(scope="module")
def ecgs():
    made = [simulate(kind, seed=4, sampling_rate_hz=100.0) for kind in KINDS]
    return np.stack([prepare(ecg).voltage_mv for ecg in made])


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


@pytest.mark.parametrize(("steps", "n_in", "width"), [(1, 3, 2), (2, 1, 1), (9, 5, 4)])
def test_backpropagation_through_time_is_autograds(steps, n_in, width):
    torch.manual_seed(steps)
    lstm = torch.nn.LSTM(n_in, width, batch_first=True, bidirectional=True)
    x, upstream = torch.randn(steps, n_in, requires_grad=True), torch.randn(2, steps, 2 * width)
    h = lstm(x[None])[0][0]
    expected = [torch.autograd.grad(h, x, u, retain_graph=True)[0] for u in upstream]
    found = lstm_back(lstm, x.detach(), h.detach(), upstream)
    torch.testing.assert_close(found, torch.stack(expected), atol=1e-5, rtol=1e-4)


def test_the_shipped_graphs_hardly_drift(bundle, ecgs):
    drifts = drift(bundle, ecgs)
    assert set(drifts) == set(LIMITS)
    assert max(drifts.values()) < 1e-4
    check(drifts)


def test_the_gate_sees_graphs_of_other_weights(bundle, ecgs):
    weights = dict(bundle.tensors)
    weights["network.type_bias"] = weights["network.type_bias"] + np.float32(0.05)
    drifts = drift(replace(bundle, tensors=weights), ecgs)
    assert drifts["type_probability"] > 1e-3
    with pytest.raises(BundleError, match=r"graph-drifts.*type_probability"):
        check(drifts)


@pytest.mark.parametrize("name", LIMITS)
@pytest.mark.parametrize("value", [1.01e-3, 0.5, math.inf, math.nan])
def test_any_drift_beyond_its_limit_stops_the_export(name, value):
    with pytest.raises(BundleError, match=f"graph-drifts: .*{name}"):
        check({**dict.fromkeys(LIMITS, 0.0), name: value})


def test_drift_at_the_limit_passes():
    check(dict(LIMITS))


def test_export_writes_the_same_graphs_that_ship(bundle, ecgs, tmp_path):
    plain = replace(bundle, card=bundle.card.model_copy(update={"graphs_sha256": {}}), graphs={})
    save_bundle(tmp_path, plain)
    seen = []
    drifts = export(tmp_path, ecgs, lambda: seen.append(1))
    assert len(seen) == len(ecgs)
    assert max(drifts.values()) < 1e-4
    assert load_bundle(tmp_path).card == bundle.card


def test_a_bundle_that_drifts_is_left_as_it_was(bundle, ecgs, tmp_path, monkeypatch):
    save_bundle(tmp_path, bundle)
    before = (tmp_path / NETWORK_GRAPH).read_bytes()
    other = with_graphs(bundle)
    monkeypatch.setattr(exporting, "with_graphs", lambda _: other)
    monkeypatch.setitem(LIMITS, "type_probability", -1.0)
    with pytest.raises(BundleError, match="graph-drifts"):
        export(tmp_path, ecgs[:1])
    assert (tmp_path / NETWORK_GRAPH).read_bytes() == before
