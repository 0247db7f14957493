import numpy as np
import pytest

from model.datasets import ptbxl, ptbxl_cases
from model.detector import Detector
from model.ecg import LEADS_12
from model.evaluate import plan_of
from model.lead_subsets import LEAD_SETS, lead_subsets
from model.scoring import score_cases
from tests.ptbxl_folder import bundle_of_these_statements, write_ptbxl


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    return Detector.load(bundle_of_these_statements(tmp_path_factory.mktemp("bundle")))


@pytest.fixture(scope="module")
def found(detector, tmp_path_factory):
    data = ptbxl.load(write_ptbxl(tmp_path_factory.mktemp("d") / "p", 12, folds=(9,)), (9,))
    scored = score_cases(detector, plan_of(ptbxl_cases.from_arrays(data)))
    return lead_subsets(detector, scored, "balanced")


def test_the_sets_are_those_of_the_challenge_and_an_honest_six():
    sizes = [len(leads) for leads in LEAD_SETS.values()]
    assert sizes == [12, 6, 6, 4, 3, 2, 1, 1]
    assert LEAD_SETS["12"] == LEADS_12
    limb = [lead for lead in LEAD_SETS["6-spread"] if not lead.startswith("V")]
    assert limb == ["I", "II"]


def test_two_limb_leads_carry_the_other_four(found):
    assert found["2"]["auroc"] == pytest.approx(found["6"]["auroc"])
    assert found["3"]["auroc"] == pytest.approx(found["4"]["auroc"])


def test_each_set_tells_its_loss_on_the_same_ecgs(found):
    assert list(found) == list(LEAD_SETS)
    assert found["12"]["loss_against_12"] == {"value": 0, "low": 0, "high": 0}
    for figures in found.values():
        assert figures["ecgs"] + figures["not_scorable"] == 12
        loss = figures["loss_against_12"]
        assert loss["low"] <= loss["value"] <= loss["high"]
    assert found["1"]["loss_against_12"]["value"] > 0


def test_what_a_set_cannot_carry_is_named(detector, found):
    assert found["12"]["withheld"] == []
    assert found["1"]["withheld"] == sorted(detector.card.withheld(("I",)))
    assert "MI" in found["1"]["withheld"]
    assert "ARR" not in found["1"]["withheld"]


def test_rates_at_the_operating_point_are_there(found):
    at = found["1"]["at_point"]["ARR"]
    assert 0 <= at["sensitivity"] <= 1
    assert not np.isnan(at["specificity"])
