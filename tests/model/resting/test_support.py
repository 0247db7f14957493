import numpy as np
import pytest

from model.datasets import ptbxl
from model.detector import Detector
from model.ecg import LEADS_12
from model.resting import support
from model.resting.card import ANOMALY, LeadSupport, load_resting
from tests.ptbxl_folder import bundle_of_these_statements, write_ptbxl

FEW = {"2+6": [LEADS_12], "0+1": [("V1",), ("V6",)]}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return ptbxl.load(write_ptbxl(tmp_path_factory.mktemp("d") / "p", 12, folds=(9,)), (9,))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return bundle_of_these_statements(tmp_path_factory.mktemp("bundle"))


@pytest.mark.parametrize(
    ("leads", "key"),
    [(LEADS_12, "2+6"), (LEADS_12[:6], "2+0"), (("I", "V2"), "1+1"), (("V1",), "0+1"), ((), "0+0")],
)
def test_leads_count_by_what_they_carry(leads, key):
    assert LeadSupport.key(leads) == key


def test_every_number_of_leads_is_tried():
    tried = support.lead_sets()
    assert len(tried) == 3 * 7 - 1
    assert all(LeadSupport.key(leads) == key for key, sets in tried.items() for leads in sets)


def test_the_shipped_card_knows_every_number_of_leads():
    card = load_resting().card
    assert set(card.lead_support) == set(support.lead_sets())
    assert card.withheld(LEADS_12) == frozenset()
    assert "ARR" not in card.withheld(("II",))
    assert {"MI", "HYP", ANOMALY} <= card.withheld(("II",))


def test_the_worst_set_counts(bundle, data):
    detector = Detector.load(bundle)
    both = support.support_of(detector, data, FEW)
    alone = [support.support_of(detector, data, {"x": [s]})["x"] for s in FEW["0+1"]]
    for code in (*ptbxl.TYPES, ANOMALY):
        assert both["0+1"].auroc[code] == min(one.auroc[code] for one in alone)
    rates = [one.anomaly_false_positive_rate for one in alone]
    assert both["0+1"].anomaly_false_positive_rate == max(rates)
    assert min(both["2+6"].auroc.values()) > 0.8


def test_what_cannot_be_measured_is_withheld(bundle, data):
    found = support.support_of(Detector.load(bundle), data.rows(np.arange(1)), {"2+6": [LEADS_12]})
    assert found["2+6"].withheld == {*ptbxl.TYPES, ANOMALY}


@pytest.mark.parametrize(
    ("auroc", "alarms", "withheld"),
    [
        ({"MI": 0.85, ANOMALY: 0.9}, 0.2, set()),
        ({"MI": 0.84, ANOMALY: 0.9}, 0.1, {"MI"}),
        ({"MI": 0.9, ANOMALY: 0.9}, 0.21, {ANOMALY}),
    ],
)
def test_the_rule(auroc, alarms, withheld):
    assert LeadSupport(auroc=auroc, anomaly_false_positive_rate=alarms).withheld == withheld


def test_the_command_writes_the_table_and_nothing_else(bundle, data, tmp_path, monkeypatch):
    monkeypatch.setattr(support, "lead_sets", lambda: FEW)
    before = load_resting(bundle)
    folder = write_ptbxl(tmp_path / "p", 12, folds=(9,))
    support.main(["--model-path", str(bundle), "--data-path", str(folder)])
    after = load_resting(bundle)
    assert set(after.card.lead_support) == set(FEW)
    assert after.identity == before.identity
    assert after.card.withheld(("I", "II")) == {*ptbxl.TYPES, ANOMALY}
