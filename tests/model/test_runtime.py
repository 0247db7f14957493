import hashlib
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from subprocess import run

import numpy as np
import pytest

from model.bundle import save_bundle
from model.detector import Detector
from model.errors import BundleError
from model.resting.card import INFLUENCE_GRAPH, NETWORK_GRAPH, load_resting
from model.resting.measured import Measured
from model.resting.reference import TorchRuntime
from model.runtime import MAX_BATCH, OnnxRuntime, open_runtime
from model.signal import prepare
from model.simulate import simulate

KINDS = ("normal", "inferior-st-elevation", "atrial-fibrillation", "left-bundle-branch-block")


@pytest.fixture(scope="module")
def bundle():
    return load_resting()


@pytest.fixture(scope="module")
def onnx(bundle):
    return OnnxRuntime(bundle)


@pytest.fixture(scope="module")
def reference(bundle):
    return TorchRuntime.of(bundle)


@pytest.fixture(scope="module")
def ecgs():
    pieces = [prepare(simulate(kind, seed=2, sampling_rate_hz=100.0)) for kind in KINDS]
    return np.stack([p.voltage_mv for p in pieces]), np.stack([p.visible for p in pieces])


def visible_leads(shape, leads):
    visible = np.zeros(shape, np.bool_)
    visible[:, leads] = True
    return visible


@pytest.mark.parametrize("leads", [range(12), range(6), [1], [0, 1, 7]])
def test_what_ships_measures_what_torch_measures(onnx, reference, ecgs, leads):
    visible = visible_leads(ecgs[0].shape, list(leads))
    visible[1, :, :300] = False
    ours = reference.measure(ecgs[0] * visible, visible)
    theirs = onnx.measure(ecgs[0] * visible, visible)
    for name in Measured.__dataclass_fields__:
        one, two = getattr(ours, name), getattr(theirs, name)
        assert one.shape == two.shape
        assert two.dtype == np.float32
        np.testing.assert_allclose(two, one, atol=2e-5, err_msg=name)


def test_an_ecg_without_any_visible_sample_breaks_neither(onnx, reference):
    nothing = np.zeros((1, 12, 1_000), np.float32)
    for runtime in (onnx, reference):
        measured = runtime.measure(nothing, nothing > 0)
        assert all(np.isfinite(part).all() for part in vars(measured).values())
        assert not measured.residual_mv.any()


@pytest.mark.parametrize("types", [[], [4], [0, 2, 5]])
def test_what_ships_explains_as_autograd_does(onnx, reference, ecgs, types):
    voltage, visible = ecgs[0][1], ecgs[1][1].copy()
    visible[3] = False
    ours, theirs = (r.influence(voltage * visible, visible, types) for r in (reference, onnx))
    assert theirs.shape == (len(types), 12, 125)
    assert theirs.dtype == np.float64
    assert not theirs[:, 3].any()
    if types:
        np.testing.assert_allclose(theirs, ours, atol=1e-4 * ours.max())


def test_a_long_ecg_is_measured_in_parts(onnx, ecgs):
    many = np.tile(ecgs[0], (MAX_BATCH // 4 + 1, 1, 1))
    measured = onnx.measure(many, np.ones(many.shape, np.bool_))
    assert len(measured.type_logits) == MAX_BATCH + 4
    np.testing.assert_allclose(measured.type_logits[-4:], measured.type_logits[:4], atol=1e-5)


def test_threads_share_a_session(onnx, ecgs):
    alone = [onnx.measure(v[None], s[None]).type_logits for v, s in zip(*ecgs, strict=True)]
    with ThreadPoolExecutor(4) as pool:
        asked = [
            pool.submit(onnx.measure, ecgs[0][i % 4, None], ecgs[1][i % 4, None]) for i in range(40)
        ]
        found = [each.result().type_logits for each in asked]
    for i, logits in enumerate(found):
        np.testing.assert_array_equal(logits, alone[i % 4])


def test_findings_do_not_depend_on_the_runtime(bundle, onnx, reference):
    ecg = simulate("left-bundle-branch-block", seed=3)
    one, two = (Detector(bundle, runtime).score(ecg) for runtime in (onnx, reference))
    assert one.anomaly_score == pytest.approx(two.anomaly_score, abs=1e-3)
    assert [t.flagged for t in one.types] == [t.flagged for t in two.types]
    places = [
        [(i.start_s, i.end_s, i.lead, i.type_code) for i in f.explanation.intervals]
        for f in (one, two)
    ]
    assert places[0] == places[1]


def test_a_bundle_without_graphs_is_read_by_torch(bundle):
    card = bundle.card.model_copy(update={"graphs_sha256": {}})
    plain = replace(bundle, card=card, graphs={})
    assert isinstance(open_runtime(bundle), OnnxRuntime)
    assert isinstance(open_runtime(plain), TorchRuntime)
    with pytest.raises(BundleError, match="graph-missing"):
        OnnxRuntime(plain)


@pytest.mark.parametrize("name", [NETWORK_GRAPH, INFLUENCE_GRAPH])
def test_an_altered_graph_is_refused(bundle, tmp_path, name):
    save_bundle(tmp_path, bundle)
    content = bytearray((tmp_path / name).read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BundleError, match="bundle-altered: the graphs"):
        load_resting(tmp_path)


def test_a_bundle_is_not_saved_with_graphs_that_its_card_does_not_name(bundle, tmp_path):
    with pytest.raises(BundleError, match="bundle-altered"):
        save_bundle(tmp_path, replace(bundle, graphs={NETWORK_GRAPH: b"other"}))
    assert not list(tmp_path.iterdir())


def test_a_missing_graph_is_said_plainly(bundle, tmp_path):
    save_bundle(tmp_path, bundle)
    (tmp_path / INFLUENCE_GRAPH).unlink()
    with pytest.raises(BundleError, match="bundle-missing"):
        load_resting(tmp_path)


def test_a_graph_that_is_none_is_refused(bundle):
    graphs = {**bundle.graphs, NETWORK_GRAPH: b"no graph"}
    with pytest.raises(BundleError, match=r"graph-malformed: network.onnx"):
        OnnxRuntime(replace(bundle, graphs=graphs))


def test_the_card_vouches_for_the_graphs(bundle):
    assert set(bundle.graphs) == {NETWORK_GRAPH, INFLUENCE_GRAPH}
    for name, graph in bundle.graphs.items():
        assert bundle.card.graphs_sha256[name] == hashlib.sha256(graph).hexdigest()
    assert sum(map(len, bundle.graphs.values())) < 10_000_000


def test_scoring_and_explaining_need_no_torch():
    program = (
        "import sys; from model.detector import Detector; from model.simulate import simulate; "
        "found = Detector.load().score(simulate('left-bundle-branch-block', seed=1)); "
        "assert found.explanation.intervals; assert 'torch' not in sys.modules"
    )
    assert run([sys.executable, "-c", program], check=False).returncode == 0
