import json

import numpy as np
import pytest

from integration.formats import read_ecg
from model import evaluate
from model.datasets import cinc, ptbxl_cases
from model.detector import Detector
from model.errors import DatasetError
from model.figures import not_calibrated_on
from model.scoring import score_cases
from tests.ptbxl_folder import bundle_of_these_statements, write_ptbxl
from tests.wfdb_folder import write_cinc


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    return Detector.load(bundle_of_these_statements(tmp_path_factory.mktemp("bundle")))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_ptbxl(tmp_path_factory.mktemp("data") / "ptbxl", 6)


@pytest.fixture(scope="module")
def scored(detector, folder):
    cases = ptbxl_cases.cases(folder, (8, 9), read_ecg)
    return score_cases(detector, evaluate.plan_of(cases))


@pytest.fixture(scope="module")
def figures(detector, folder, scored):
    return evaluate.report(detector, scored, evaluate.baseline_of(folder), "balanced")


def test_textbook_ecgs_are_ranked_well(figures):
    ranking = figures["ranking"]
    for name in ("macro_auroc_types", "macro_auroc_superclasses"):
        assert ranking[name]["low"] <= ranking[name]["value"] <= ranking[name]["high"]
        assert ranking[name]["value"] > 0.9
    assert ranking["macro_auroc_statements"]["statements"] == 7


def test_figures_at_thresholds_leave_out_who_set_them(detector, figures, scored):
    cases = scored.cases
    calibrated_on = (cases.fold == 9) & (cases.patient % 2 == 0)
    assert figures["not_calibrated_on"]["ecgs"] == 12 - calibrated_on.sum()
    assert not set(not_calibrated_on(detector, scored).cases.record) & set(
        cases.record[calibrated_on]
    )


def test_the_report_says_what_it_was_measured_on(figures):
    assert figures["data"]["ecgs"] == 12
    assert figures["data"]["folds"] == [8, 9]
    assert figures["trained_on"] == 6
    assert figures["quality"]["verdicts"] == {"good": 12}
    assert figures["latency"]["ecgs"] == 12
    assert figures["latency"]["total_ms"]["median"] <= figures["latency"]["total_ms"]["p99"]
    assert json.loads(json.dumps(figures)).keys() == figures.keys()


def test_the_baseline_needs_the_training_folds(folder, tmp_path):
    assert evaluate.baseline_of(folder).components.shape[1] == 12 * 70
    assert evaluate.baseline_of(tmp_path) is None
    few = write_ptbxl(tmp_path / "few", 2, folds=(9,))
    assert evaluate.baseline_of(few) is None


def test_lead_sets_are_optional(scored):
    without = evaluate.plan_of(scored.cases, subsets=False)
    assert (without.lead_sets, without.with_subsets) == ({}, frozenset())
    plan = evaluate.plan_of(scored.cases)
    assert "12" not in plan.lead_sets
    assert plan.with_subsets == frozenset(range(12))


def test_other_sources_are_measured_in_what_they_annotate(detector, tmp_path):
    cases = cinc.cases(write_cinc(tmp_path, 30), read_ecg)
    found = evaluate.report(
        detector, score_cases(detector, evaluate.plan_of(cases, subsets=False)), None, "specific"
    )
    assert found["ranking"]["types_measured"] == ["NORM", "CD", "ARR"]
    assert found["ranking"]["auroc"]["ARR"]["value"] > 0.9
    assert np.isnan(found["ranking"]["auroc"]["MI"]["value"])
    assert "macro_auroc_statements" not in found["ranking"]
    assert found["not_calibrated_on"]["ecgs"] == 30
    assert found["lead_subsets"] is None
    assert list(found["anomaly"]) == ["restoration", "latent", "types"]


def test_when_nothing_passes_the_gate_that_is_an_error(detector, scored):
    none = scored.rows(np.zeros(12, bool))
    with pytest.raises(DatasetError, match="nothing-scorable"):
        evaluate.report(detector, none, None, "balanced")


def test_explanations_are_timed_apart(detector, scored):
    found = evaluate.explained_latency(detector, scored.cases)
    assert found["ecgs"] == 12
    assert 0 < found["median"] <= found["p99"]
