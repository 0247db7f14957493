import numpy as np
import pytest
import torch

from model.ecg import LEADS_12
from model.explain import (
    MAX_INTERVALS,
    MAX_INTERVALS_PER_TYPE,
    Evidence,
    intervals,
    joined,
    runs,
    shared,
)
from model.resting.network import RestingNetwork
from model.resting.reading import lead_influence
from model.resting.settings import Dimensions


def bumps(*positions, n=125, height=10.0):
    weights = np.ones(n)
    for position in positions:
        weights[position : position + 3] = height
    return weights


def on_lead(name, n=125):
    influence = np.zeros((12, n))
    influence[LEADS_12.index(name)] = 1.0
    return influence


def test_runs_are_found_at_both_edges_and_ordered_by_weight():
    weights = bumps(0, 50, 122)
    weights[50:53] += 1
    assert runs(weights) == [(50, 53), (0, 3), (122, 125)]


def test_an_even_spread_has_no_runs():
    assert runs(np.full(125, 1 / 125)) == []


def test_an_interval_has_time_lead_and_share():
    (found,) = intervals([Evidence("STTC", 125, bumps(50, height=50.0), on_lead("V3"))])
    assert (found.start_s, found.end_s) == pytest.approx(((125 + 50) * 0.08, (125 + 53) * 0.08))
    assert (found.lead, found.type_code) == ("V3", "STTC")
    assert found.weight == pytest.approx(150 / 272)


def test_the_lead_is_the_one_that_mattered_in_that_stretch():
    influence = on_lead("V1")
    influence[LEADS_12.index("II"), 50:53] = 5.0
    (found,) = intervals([Evidence("MI", 0, bumps(50), influence)])
    assert found.lead == "II"


def test_intervals_are_few_and_strongest_first():
    many = bumps(*range(0, 120, 10))
    codes = ("MI", "STTC", "CD", "HYP", "ARR", "anomaly")
    found = intervals([Evidence(code, 0, many, on_lead("I")) for code in codes])
    assert len(found) == MAX_INTERVALS
    assert max([i.type_code for i in found].count(c) for c in codes) <= MAX_INTERVALS_PER_TYPE
    assert [i.weight for i in found] == sorted((i.weight for i in found), reverse=True)


def test_without_evidence_there_is_nothing_to_look_at():
    assert intervals([]) == ()
    assert intervals([Evidence("anomaly", 0, np.zeros(125), np.zeros((12, 125)))]) == ()


def test_windows_share_one_map_by_their_probability():
    maps = np.zeros((2, 4))
    maps[0, 0] = maps[1, 3] = 1.0
    whole = shared(maps, np.array([0.9, 0.1]), [0, 2])
    np.testing.assert_allclose(whole, [0.9, 0, 0, 0, 0, 0.1])


def test_residuals_stand_side_by_side():
    residual = np.stack([np.full((12, 4), 1.0), np.full((12, 4), 2.0)])
    assert joined(residual, [0, 2])[0].tolist() == [1, 1, 2, 2, 2, 2]


def test_influence_is_zero_where_nothing_was_shown():
    torch.manual_seed(0)
    network = RestingNetwork(Dimensions(n_statements=3)).eval()
    voltage = np.random.default_rng(0).normal(size=(12, 400)).astype(np.float32)
    visible = np.ones((12, 400), np.bool_)
    visible[3] = visible[:, 200:208] = False
    influence = lead_influence(network, voltage, visible, 2)
    assert influence.shape == (12, 50)
    assert not influence[3].any()
    assert not influence[:, 25].any()
    assert (influence[4, :25] > 0).all()
    assert all(parameter.grad is None for parameter in network.parameters())
