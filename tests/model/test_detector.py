import shutil
import sys
from dataclasses import replace
from subprocess import run

import numpy as np
import pytest

from model.bundle import Bundle, save_bundle, weights_sha256
from model.detector import Detector
from model.ecg import LEADS_12, Ecg
from model.errors import BundleError
from model.explain import PEAK
from model.findings import ABNORMALITY_TYPES, Findings
from model.resting.card import SHIPPED, load_resting
from model.resting.settings import STEP_S
from model.simulate import simulate


@pytest.fixture(scope="module")
def detector():
    return Detector.load()


@pytest.mark.parametrize(
    ("kind", "flagged"),
    [
        ("normal", None),
        ("left-bundle-branch-block", "CD"),
        ("inferior-st-elevation", "MI"),
        ("left-ventricular-hypertrophy", "HYP"),
        ("atrial-fibrillation", "ARR"),
        ("ventricular-ectopy", "ARR"),
        ("sinus-bradycardia", "ARR"),
    ],
)
def test_a_textbook_ecg_is_flagged_as_what_it_is(detector, kind, flagged):
    findings = detector.score(simulate(kind, seed=1))
    codes = [t.code for t in findings.flagged_types]
    assert flagged in codes if flagged else codes == []


def test_findings_are_whole(detector):
    findings = detector.score(simulate("left-bundle-branch-block", seed=3))
    assert findings.model == detector.identity
    assert tuple(t.code for t in findings.types) == ABNORMALITY_TYPES
    points = detector.card.type_calibration
    assert [t.threshold for t in findings.types] == [
        points[code].operating_points["balanced"].threshold for code in ABNORMALITY_TYPES
    ]
    assert findings.normal_probability < 0.5
    assert findings.anomalous
    assert Findings.from_json(findings.to_json()) == findings


@pytest.mark.parametrize("point", ["screening", "balanced", "specific"])
def test_a_site_chooses_how_much_is_flagged(point):
    detector = Detector.load(operating_point=point)
    findings = detector.score(simulate("left-bundle-branch-block", seed=3))
    points = detector.card.type_calibration
    assert [t.threshold for t in findings.types] == [
        points[code].operating_points[point].threshold for code in ABNORMALITY_TYPES
    ]


def test_an_operating_point_that_the_bundle_does_not_have():
    with pytest.raises(BundleError, match="operating-point-unknown"):
        Detector.load(operating_point="always")


def test_the_explanation_covers_the_ecg(detector):
    explanation = detector.score(simulate("left-bundle-branch-block", seed=3)).explanation
    assert explanation.step_s == 0.08
    assert set(explanation.attention) == set(ABNORMALITY_TYPES)
    for weights in explanation.attention.values():
        assert len(weights) == 125
        assert sum(weights) == pytest.approx(1, abs=1e-3)
    assert len(explanation.residual_mv) == 12
    assert all(len(row) == 125 and min(row) >= 0 for row in explanation.residual_mv.values())
    assert {"CD", "anomaly"} & {i.type_code for i in explanation.intervals}
    assert all(0 <= i.start_s < i.end_s <= 10 for i in explanation.intervals)


def test_a_normal_ecg_has_nothing_to_point_at(detector):
    assert detector.score(simulate("normal", seed=1)).explanation.intervals == ()


def test_an_unscorable_ecg_gets_no_scores(detector):
    findings = detector.score(simulate("noisy", seed=1))
    assert findings.quality.verdict == "unscorable"
    assert findings.quality.reasons
    assert findings == Findings(findings.quality, detector.identity)


def test_a_faulty_lead_is_masked_and_not_shown(detector):
    findings = detector.score(simulate("lead-off", seed=1))
    assert [f.lead for f in findings.quality.lead_faults] == ["V3"]
    assert set(findings.explanation.residual_mv) == set(LEADS_12) - {"V3"}


@pytest.mark.parametrize("rate_hz", [100.0, 250.0, 360.0, 1000.0])
def test_the_sampling_rate_hardly_matters(detector, rate_hz):
    reference = detector.score(simulate("left-bundle-branch-block", seed=2, sampling_rate_hz=500.0))
    other = detector.score(simulate("left-bundle-branch-block", seed=2, sampling_rate_hz=rate_hz))
    for one, two in zip(reference.types, other.types, strict=True):
        assert one.flagged == two.flagged


def test_a_long_ecg_is_read_to_its_end(detector):
    quiet = simulate("normal", seed=1, sampling_rate_hz=100.0, duration_s=20.0).voltage_mv
    block = simulate("left-bundle-branch-block", seed=1, sampling_rate_hz=100.0).voltage_mv
    leads = simulate("normal", seed=1).leads
    long = Ecg(np.concatenate([quiet[:, :1500], block], axis=1), leads, 100.0)
    findings = detector.score(long)
    assert "CD" in [t.code for t in findings.flagged_types]
    assert len(findings.explanation.attention["CD"]) == -(-2500 // 8)
    assert sum(findings.explanation.attention["CD"]) == pytest.approx(1, abs=1e-3)
    starts = [i.start_s for i in findings.explanation.intervals if i.type_code == "CD"]
    assert starts
    assert min(starts) >= 14.5


def test_a_short_ecg_is_filled_up(detector):
    ecg = simulate("left-bundle-branch-block", seed=1, sampling_rate_hz=500.0, duration_s=6.0)
    findings = detector.score(ecg)
    assert "CD" in [t.code for t in findings.flagged_types]
    assert len(findings.explanation.attention["CD"]) == 6.0 / 0.08
    assert sum(findings.explanation.attention["CD"]) == pytest.approx(1, abs=1e-3)
    assert {len(row) for row in findings.explanation.residual_mv.values()} == {75}


def test_what_stands_out_does_so_among_the_steps_that_a_short_ecg_has(detector):
    ecg = simulate("left-bundle-branch-block", seed=1, duration_s=5.0)
    found = detector.score(ecg).explanation
    residual_mv = np.sum([*found.residual_mv.values()], axis=0)
    maps = {code: np.array(weights) for code, weights in found.attention.items()}
    assert found.intervals
    for interval in found.intervals:
        steps = slice(round(interval.start_s / STEP_S), round(interval.end_s / STEP_S))
        weights = maps.get(interval.type_code, residual_mv)
        assert weights[steps].min() >= 0.98 * PEAK * weights.mean()  # they are stored rounded


def test_scoring_repeats_itself(detector):
    ecg = simulate("atrial-fibrillation", seed=5)
    assert detector.score(ecg) == detector.score(ecg) == Detector.load(SHIPPED).score(ecg)


def test_weights_that_do_not_fit_the_sizes_are_refused(tmp_path):
    shipped = load_resting()
    dims = replace(shipped.card.dimensions, lstm_width=64)
    card = shipped.card.model_copy(update={"dimensions": dims, "graphs_sha256": {}})
    save_bundle(tmp_path, Bundle(card, shipped.tensors))
    with pytest.raises(BundleError, match="bundle-altered: the weights do not fit"):
        Detector.load(tmp_path)


def test_a_bundle_without_the_anomaly_views_is_refused(tmp_path):
    shipped = load_resting()
    tensors = {k: v for k, v in shipped.tensors.items() if not k.startswith("anomaly.")}
    hashes = {"weights_sha256": weights_sha256(tensors), "graphs_sha256": {}}
    card = shipped.card.model_copy(update=hashes)
    save_bundle(tmp_path, Bundle(card, tensors))
    with pytest.raises(BundleError, match="bundle-altered"):
        Detector.load(tmp_path)


def test_a_missing_bundle_is_said_plainly(tmp_path):
    with pytest.raises(BundleError, match="bundle-missing"):
        Detector.load(tmp_path / "nowhere")


def test_a_bundle_works_from_any_folder(tmp_path, detector):
    copy = shutil.copytree(SHIPPED, tmp_path / "elsewhere")
    assert Detector.load(copy).identity == detector.identity


def test_the_light_modules_do_not_reach_torch():
    program = (
        "import sys, model.findings, model.ecg, model.quality, model.signal, model.bundle, "
        "model.metrics; assert 'torch' not in sys.modules"
    )
    assert run([sys.executable, "-c", program], check=False).returncode == 0


def test_ecgs_read_together_get_what_each_gets_alone(detector):
    ecgs = [
        simulate("left-bundle-branch-block", seed=3),
        simulate("noisy", seed=3),
        simulate("normal", seed=4, duration_s=25.0),
        simulate("atrial-fibrillation", seed=5),
    ]
    together = [findings for findings, _ in detector.examine_all(ecgs)]
    assert [f.quality.scorable for f in together] == [True, False, True, True]
    for ecg, findings in zip(ecgs, together, strict=True):
        alone = detector.score(ecg)
        assert (findings.quality, findings.flags) == (alone.quality, alone.flags)
        for one, other in zip(findings.types, alone.types, strict=True):
            assert one.probability == pytest.approx(other.probability, abs=1e-5)
        if alone.explanation:
            assert [(i.type_code, i.lead, i.start_s) for i in findings.explanation.intervals] == [
                (i.type_code, i.lead, i.start_s) for i in alone.explanation.intervals
            ]
    assert detector.examine_all([]) == []
