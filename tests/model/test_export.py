import math
from dataclasses import replace

import numpy as np
import pytest

from model import export as exporting
from model.bundle import save_bundle
from model.errors import BundleError
from model.export import LIMITS, check, drift, export, with_graphs
from model.resting.card import NETWORK_GRAPH, load_resting
from model.signal import prepare
from model.simulate import simulate

KINDS = ("normal", "inferior-st-elevation", "ventricular-ectopy")


@pytest.fixture(scope="module")
def bundle():
    return load_resting()


@pytest.fixture(scope="module")
def ecgs():
    made = [simulate(kind, seed=4, sampling_rate_hz=100.0) for kind in KINDS]
    return np.stack([prepare(ecg).voltage_mv for ecg in made])


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


def test_export_writes_graphs_and_names_them_in_the_card(bundle, ecgs, tmp_path):
    plain = replace(bundle, card=bundle.card.model_copy(update={"graphs_sha256": {}}), graphs={})
    save_bundle(tmp_path, plain)
    seen = []
    drifts = export(tmp_path, ecgs, lambda: seen.append(1))
    assert len(seen) == len(ecgs)
    assert max(drifts.values()) < 1e-4
    assert load_resting(tmp_path).card == with_graphs(plain).card


def test_a_bundle_that_drifts_is_left_as_it_was(bundle, ecgs, tmp_path, monkeypatch):
    save_bundle(tmp_path, bundle)
    before = (tmp_path / NETWORK_GRAPH).read_bytes()
    other = with_graphs(bundle)
    monkeypatch.setattr(exporting, "with_graphs", lambda _: other)
    monkeypatch.setitem(LIMITS, "type_probability", -1.0)
    with pytest.raises(BundleError, match="graph-drifts"):
        export(tmp_path, ecgs[:1])
    assert (tmp_path / NETWORK_GRAPH).read_bytes() == before
