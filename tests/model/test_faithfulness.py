import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import spearmanr

from model import faithfulness
from model.datasets.ptbxl import TYPES
from model.faithfulness import Drops
from model.resting.card import load_resting
from model.resting.reference import trained_network
from model.signal import Prepared, prepare
from model.simulate import simulate
from tests.ptbxl_folder import bundle_of_these_statements, write_ptbxl


def runs_of(region):
    edges = np.flatnonzero(np.diff(region, prepend=False, append=False))
    return sorted((edges[1::2] - edges[::2]).tolist())


@pytest.fixture(scope="module")
def ecg():
    return prepare(simulate("ventricular-ectopy", seed=3))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return bundle_of_these_statements(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module")
def written(bundle, tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_ptbxl(folder / "ptbxl", 12, folds=(9,))
    arguments = ["--model-path", str(bundle), "--data-path", str(folder / "ptbxl")]
    arguments += ["--ecgs", "2", "--json", str(folder / "out.json")]
    faithfulness.main(arguments)
    return json.loads((folder / "out.json").read_text())


@pytest.mark.parametrize(
    ("share", "region"),
    [(0.2, [0, 1, 0, 0, 0]), (0.4, [0, 1, 0, 1, 0]), (0.6, [1, 1, 0, 1, 0])],
)
def test_the_strongest_steps_are_the_region(share, region):
    attention = np.array([0.2, 0.3, 0.1, 0.25, 0.15], np.float32)
    assert faithfulness.strongest(attention, share).tolist() == [bool(r) for r in region]


@given(arrays(np.bool_, 40), st.integers(0, 9))
def test_random_regions_have_the_same_runs(region, seed):
    placed = faithfulness.elsewhere(region, np.random.default_rng(seed))
    assert runs_of(placed) == runs_of(region)


def test_random_regions_reach_every_step():
    region = np.arange(10) < 3
    generator = np.random.default_rng(0)
    assert np.any([faithfulness.elsewhere(region, generator) for _ in range(200)], axis=0).all()


def test_matched_regions_are_nearer_in_slope(ecg):
    slope = faithfulness.slope_of_steps(ecg.voltage_mv)
    attention = slope.astype(np.float32)
    found = faithfulness.regions(attention, slope, 0.1, seed=0)
    content = {kind: np.mean([slope[r].sum() for r in at]) for kind, at in found.items()}
    assert content["attended"] > content["matched"] > content["random"]
    assert {len(at) for at in found.values()} == {1, faithfulness.N_RANDOM}


def test_slope_counts_all_leads_of_a_step():
    voltage = np.zeros((12, 16), np.float32)
    voltage[2, 9:] = 0.5
    voltage[7, 12:] = -0.25
    assert faithfulness.slope_of_steps(voltage).tolist() == [0, 0.75]


def test_only_the_region_changes(ecg):
    region = np.arange(125) % 50 < 5
    outside = ~np.repeat(region, 8)
    for delete in faithfulness.DELETIONS.values():
        changed = delete(ecg, region)
        assert np.array_equal(changed.voltage_mv[:, outside], ecg.voltage_mv[:, outside])
        assert not np.array_equal(changed.voltage_mv, ecg.voltage_mv)
        assert np.array_equal(changed.visible[:, outside], ecg.visible[:, outside])


def test_masked_samples_are_not_seen(ecg):
    gone = faithfulness.masked(ecg, np.arange(125) == 60)
    assert not gone.visible[:, 480:488].any()
    assert not gone.voltage_mv[:, 480:488].any()


def test_a_bridge_is_a_straight_line():
    ramp = np.tile(np.arange(24, dtype=np.float32), (12, 1))
    bent = ramp.copy()
    bent[:, 8:16] = 99
    ecg = Prepared(bent, np.ones_like(bent, np.bool_))
    bridge = faithfulness.bridged(ecg, np.array([False, True, False]))
    np.testing.assert_allclose(bridge.voltage_mv, ramp)


def test_an_odd_beat_becomes_the_usual_one():
    beat = 20 * np.sin(np.linspace(0, 2 * np.pi, 10)).astype(np.float32)
    voltage = np.zeros((12, 1_000), np.float32)
    for start in range(100, 900, 100):
        voltage[:, start : start + 10] = beat
    odd = voltage.copy()
    odd[:, 500:510] = -beat
    region = np.zeros(125, np.bool_)
    region[60:66] = True
    ecg = Prepared(odd, np.ones_like(odd, np.bool_))
    restored = faithfulness.templated(ecg, region).voltage_mv
    np.testing.assert_allclose(restored, voltage, atol=1e-6)


def drops(attended, random):
    lost = {"attended": attended, "random": random, "matched": random}
    values = {kind: np.array(drop, np.float64) for kind, drop in lost.items()}
    return Drops(np.arange(len(attended)), values, values)


def test_the_ratio_is_that_of_the_mean_drops():
    report = faithfulness.deletion_report(drops([0.3, 0.5], [0.1, 0.1]))
    assert report["probability"]["ratio to random"]["value"] == pytest.approx(4)
    assert report["logit"]["attended"]["value"] == pytest.approx(0.4)


def test_no_ratio_where_random_deletion_takes_nothing():
    report = faithfulness.deletion_report(drops([0.3, 0.5], [0.1, -0.1]))
    assert report["probability"]["ratio to random"] is None


def test_pooling_keeps_every_row():
    both = faithfulness.pooled([drops([0.3], [0.1]), drops([0.5, 0.7], [0.2, 0.2])])
    assert both.patient_id.tolist() == [0, 0, 1]
    assert both.logit["attended"].tolist() == [0.3, 0.5, 0.7]


def test_rank_correlation_is_spearmans():
    one, other = np.random.default_rng(0).integers(0, 9, (2, 3, 20)).astype(np.float32)
    expected = [spearmanr(a, b).statistic for a, b in zip(one, other, strict=True)]
    np.testing.assert_allclose(faithfulness.rank_correlation(one, other), expected)
    assert faithfulness.rank_correlation(np.ones((1, 4)), np.arange(4.0)[None]).tolist() == [0]


@pytest.mark.parametrize("layer", faithfulness.CASCADE)
def test_only_the_named_layers_are_drawn_anew(bundle, layer):
    trained = load_resting(bundle)
    before = trained_network(trained).state_dict()
    after = faithfulness.randomised(trained_network(trained), [layer]).state_dict()
    changed = {name.partition(".")[0] for name in before if not before[name].equal(after[name])}
    assert changed == {layer}


def test_figures_name_command_model_and_every_variant(written, bundle):
    assert written["command"].startswith("python -m model.faithfulness")
    assert written["model_sha256"] == load_resting(bundle).identity.sha256
    assert written["primary"] in faithfulness.DELETIONS
    variants = {f"{name} {share}" for name in faithfulness.DELETIONS for share in ("10%", "20%")}
    assert set(written["deletion"]) == variants
    for by_type in written["deletion"].values():
        assert by_type["all"]["ecgs"] == sum(by_type[t]["ecgs"] for t in TYPES if t in by_type) > 0


def test_the_cascade_is_reported_beside_its_floor(written):
    stages = list(written["weight_randomisation"])
    assert stages[0] == "two different ECGs"
    assert stages[-1] == "attention + lstm + blocks + stem"
    assert len(written["weight_randomisation"][stages[-1]]["by_network"]) == 3
