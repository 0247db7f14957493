import numpy as np

from model.baseline import AFTER, BEFORE, BeatPca, median_beat
from model.metrics import auroc
from model.signal import remove_baseline
from model.simulate import simulate


def beat(kind, seed):
    ecg = simulate(kind, seed=seed, sampling_rate_hz=100.0)
    return median_beat(remove_baseline(ecg.voltage_mv))


def test_the_median_beat_holds_the_r_peak_where_beats_are_aligned():
    lead_ii = beat("normal", seed=1)[1]
    assert lead_ii.shape == (BEFORE + AFTER,)
    assert abs(int(np.argmax(lead_ii)) - BEFORE) <= 4
    assert lead_ii.max() > 0.5


def test_a_flat_line_has_no_beat():
    assert not median_beat(np.zeros((12, 1000), np.float32)).any()


def test_components_express_normals_and_not_blocks():
    pca = BeatPca.fit(np.stack([beat("normal", seed) for seed in range(40)]))
    kinds = ["normal"] * 8 + ["left-bundle-branch-block"] * 8
    beats = np.stack([beat(kind, seed) for seed, kind in enumerate(kinds, 100)])
    misfit = pca.misfit(beats)
    assert auroc(np.array([kind != "normal" for kind in kinds]), misfit) == 1.0


def test_what_the_components_span_has_no_misfit():
    beats = np.random.default_rng(0).normal(size=(10, 12, 70)).astype(np.float32)
    assert BeatPca.fit(beats).misfit(beats).max() < 1e-4
    assert BeatPca.fit(beats).misfit(np.zeros((1, 12, 70), np.float32)).shape == (1,)
