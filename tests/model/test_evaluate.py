import json

import numpy as np
import pytest

from model import evaluate
from model.datasets import ptbxl
from model.detector import Detector
from model.ecg import LEADS_12
from model.errors import DatasetError
from tests.ptbxl_folder import bundle_of_these_statements, write_ptbxl


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    return Detector.load(bundle_of_these_statements(tmp_path_factory.mktemp("bundle")))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "ptbxl"
    return ptbxl.load(write_ptbxl(folder, 12, folds=(8, 9)), (8, 9))


@pytest.fixture(scope="module")
def scored(detector, data):
    return evaluate.score_dataset(detector, data)


@pytest.fixture(scope="module")
def figures(detector, data, scored):
    return evaluate.report(detector, scored, data.rows(data.normal))


def test_scores_are_those_of_the_product(detector, data, scored):
    findings = detector.score(evaluate.ecg_of(data, 3))
    np.testing.assert_allclose(
        scored.opinion.types[3, 1:], [t.probability for t in findings.types], atol=1e-5
    )
    assert scored.opinion.anomaly[3] == pytest.approx(findings.anomaly_score, abs=1e-4)
    assert scored.quality[3] == findings.quality


def test_every_ecg_is_counted(detector, data):
    steps = []
    evaluate.score_dataset(detector, data.rows(np.arange(3)), lambda: steps.append(1))
    assert len(steps) == 3


def test_an_ecg_can_be_sent_with_some_leads(data):
    ecg = evaluate.ecg_of(data, 0, ("II", "V6"))
    assert ecg.leads == ("II", "V6")
    np.testing.assert_array_equal(ecg.lead("V6"), ptbxl.millivolts(data.voltage_uv[0, 11]))
    assert evaluate.ecg_of(data, 0).leads == LEADS_12


def test_textbook_ecgs_are_ranked_well(figures):
    ranking = figures["ranking"]
    for name in ("macro_auroc_types", "macro_auroc_superclasses"):
        assert ranking[name]["low"] <= ranking[name]["value"] <= ranking[name]["high"]
        assert ranking[name]["value"] > 0.9
    assert set(ranking["auroc"]) == set(ranking["average_precision"]) == set(ptbxl.TYPES)


def test_figures_at_thresholds_leave_out_who_set_them(figures, data):
    fresh = figures["not_calibrated_on"]
    calibrated_on = (data.fold == 9) & (data.patient_id % 2 == 0)
    assert fresh["ecgs"] == 24 - calibrated_on.sum()
    assert set(fresh["thresholds"]["MI"]) == {"screening", "balanced", "specific"}
    assert 0 <= fresh["thresholds"]["MI"]["balanced"]["majority"] <= 1


def test_each_view_of_anomaly_stands_beside_the_baseline(figures):
    assert list(figures["anomaly"]) == [
        "restoration",
        "latent",
        "types",
        "baseline: median beat, PCA",
    ]
    for view in figures["anomaly"].values():
        assert set(view["auroc_against_normal"]) == set(ptbxl.TYPES[1:])


def test_the_report_says_what_it_was_measured_on(figures, data):
    assert figures["data"]["ecgs"] == 24
    assert figures["data"]["folds"] == [8, 9]
    assert figures["data"]["normal_ecgs"] == data.normal.sum()
    assert figures["quality"] == {"verdicts": {"good": 24}, "reasons": {}}
    assert json.loads(json.dumps(figures)).keys() == figures.keys()


def test_a_model_of_other_statements_is_refused(data):
    with pytest.raises(DatasetError, match="statements-differ"):
        evaluate.score_dataset(Detector.load(), data)


def test_refused_ecgs_count_as_abstained_and_not_as_scored(detector, data):
    flat = data.rows(np.arange(6))
    flat.voltage_uv[:] = 0
    scored = evaluate.score_dataset(detector, flat)
    assert not scored.scorable.any()


def test_fewer_leads_are_measured_too(detector, data):
    found = evaluate.lead_subsets(detector, data)
    assert set(found) == set(evaluate.LEAD_SUBSETS)
    # Two limb leads carry the other four.
    assert found["I II"] == found["6 limb leads"]


def test_latency_is_told_in_milliseconds(detector, data):
    found = evaluate.latency(detector, data)
    assert found["ecgs"] == 24
    assert 0 < found["median_ms"] <= found["p95_ms"]
