import json

import numpy as np
import pytest

from model import anomaly_report
from model.datasets import ptbxl
from model.resting.card import load_resting
from tests.ptbxl_folder import bundle_of_these_statements, write_ptbxl


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_ptbxl(tmp_path_factory.mktemp("data") / "ptbxl", 12)


@pytest.fixture(scope="module")
def report(folder):
    return ptbxl.load(folder, (9,))


def test_false_positives_are_counted_at_the_baselines_sensitivity(report):
    abnormal = ~report.normal  # 8 of 12; patients have two ECGs
    baseline = np.where(abnormal, 0.9, 0.1)
    baseline[np.flatnonzero(abnormal)[:2]] = 0.3  # missed
    baseline[np.flatnonzero(~abnormal)] = [0.8, 0.8, 0.1, 0.1]  # two false positives
    ours = np.where(abnormal, 5.0, -5.0)
    ours[np.flatnonzero(~abnormal)[0]] = 9.0
    figures = anomaly_report.false_positives(report, baseline, 0.5, ours)
    assert figures["sensitivity"] == 0.75
    assert (figures["baseline_false_positives"], figures["our_false_positives"]) == (2, 1)
    assert figures["ratio"]["value"] == 0.5
    assert figures["ratio"]["low"] <= 0.5 <= figures["ratio"]["high"]


def test_a_score_beside_itself_has_the_same_false_positives(report):
    scores = np.random.default_rng(0).normal(size=len(report.ecg_id))
    threshold = float(np.sort(scores[~report.normal])[2])
    figures = anomaly_report.false_positives(report, scores, threshold, scores)
    assert figures["ratio"]["value"] == 1.0
    assert figures["ratio"]["low"] == figures["ratio"]["high"] == 1.0


def test_operating_points_come_from_the_training_scores():
    abnormal = np.repeat([True, False], 100)
    scores = np.concatenate([np.arange(100) + 50.0, np.arange(100)])
    points = anomaly_report.thresholds(abnormal, scores)
    assert points["sensitivity 0.80 in training"] == pytest.approx(69.8)
    assert (scores[abnormal] >= points["sensitivity 0.90 in training"]).mean() == 0.9
    assert points["Youden in training"] in scores


@pytest.mark.parametrize(("hits", "threshold"), [(0, np.inf), (1, 3.0), (2, 2.0), (3, 1.0)])
def test_the_threshold_for_some_hits(hits, threshold):
    assert anomaly_report._threshold_for(np.array([2.0, 3.0, 1.0]), hits) == threshold


def test_the_command_reports_views_and_ratio(folder, report, tmp_path):
    bundle = bundle_of_these_statements(tmp_path / "bundle")
    training = ptbxl.load(folder, tuple(range(1, 9)))
    rng = np.random.default_rng(0)
    plain = tmp_path / "lstm"
    plain.mkdir()
    np.savez(
        plain / "scores.npz",
        **{
            "training/error": rng.normal(size=len(training.ecg_id)),
            "report/error": rng.normal(size=len(report.ecg_id)),
        },
    )
    out = tmp_path / "out.json"
    arguments = ["--model-path", str(bundle), "--data-path", str(folder)]
    arguments += ["--baseline", str(plain / "scores.npz"), "--json", str(out)]
    anomaly_report.main(arguments)
    content = json.loads(out.read_text())
    assert list(content["anomaly"]) == ["restoration", "latent", "types", "fused"]
    assert set(content["anomaly"]["fused"]["auroc_against_normal"]) == set(ptbxl.TYPES[1:])
    points = content["false_positives"]["lstm"]["error"]
    assert len(points) == 4
    assert all(p["fused"]["normals"] == 4 for p in points.values())
    assert content["data_sha256"] == training.sha256()
    assert content["model"] == vars(load_resting(bundle).identity)
