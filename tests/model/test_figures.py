from dataclasses import replace

import numpy as np
import pytest

from model import figures
from model.datasets import ptbxl, ptbxl_cases
from model.datasets.cases import NO, UNKNOWN, YES
from model.datasets.ptbxl import TYPES
from model.detector import Detector
from model.metrics import auroc, average_precision
from model.scoring import Plan, score_cases
from tests.ptbxl_folder import bundle_of_these_statements, write_ptbxl


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    return Detector.load(bundle_of_these_statements(tmp_path_factory.mktemp("bundle")))


@pytest.fixture(scope="module")
def scored(detector, tmp_path_factory):
    data = ptbxl.load(write_ptbxl(tmp_path_factory.mktemp("d") / "p", 36, folds=(8,)), (8,))
    return score_cases(detector, Plan(ptbxl_cases.from_arrays(data), {}, frozenset()))


def relabelled(scored, **columns):
    types = scored.cases.types.copy()
    for code, values in columns.items():
        types[:, TYPES.index(code)] = values
    return replace(scored, cases=replace(scored.cases, types=types))


def test_ranking_is_auroc_and_average_precision_with_intervals(scored):
    found = figures.ranking(scored)
    for k, code in enumerate(TYPES):
        labels = scored.cases.types[:, k] == YES
        assert found["auroc"][code]["value"] == pytest.approx(
            auroc(labels, scored.opinion.types[:, k])
        )
        precision = found["average_precision"][code]
        assert precision["value"] == pytest.approx(
            average_precision(labels, scored.opinion.types[:, k])
        )
        assert precision["low"] <= precision["value"] <= precision["high"]
        assert precision["prevalence"] == pytest.approx(labels.mean())
    assert found["types_measured"] == list(TYPES)


def test_ecgs_of_unknown_label_do_not_count(scored):
    labels = scored.cases.types[:, 1].copy()
    labels[:20] = UNKNOWN
    found = figures.ranking(relabelled(scored, MI=labels))["auroc"]["MI"]["value"]
    assert found == pytest.approx(auroc(labels[20:] == YES, scored.opinion.types[20:, 1]))


def test_a_type_without_negatives_is_not_measured_and_not_in_the_mean(detector, scored):
    masked = np.where(scored.cases.types[:, 1] == YES, YES, UNKNOWN)
    other = relabelled(scored, MI=masked)
    found = figures.ranking(other)
    assert "MI" not in found["types_measured"]
    assert np.isnan(found["auroc"]["MI"]["value"])
    rest = [found["auroc"][code]["value"] for code in TYPES[2:]]
    assert found["macro_auroc_types"]["value"] == pytest.approx(np.mean(rest))
    assert "MI" not in figures.at_points(detector, other)
    assert "MI" not in figures.calibration(other)
    assert "MI" not in figures.confusion(detector, other, "balanced")["two_by_two"]


def test_each_operating_point_has_its_figures_beside_the_floor(detector, scored):
    found = figures.at_points(detector, scored)
    assert set(found) == set(TYPES)
    for points in found.values():
        assert set(points) == {"screening", "balanced", "specific"}
        for at in points.values():
            assert 0.5 <= at["majority"] <= 1
            for name, (low, high) in at["intervals"].items():
                assert np.isnan(at[name]) or low <= at[name] <= high


def test_counts_and_co_flags_agree(detector, scored):
    found = figures.confusion(detector, scored, "screening")
    flagged = figures.flags(detector, scored, "screening")
    for k, code in enumerate(TYPES):
        counts = found["two_by_two"][code]
        assert sum(counts.values()) == 36
        positives = counts["true_positive"] + counts["false_negative"]
        assert positives == (scored.cases.types[:, k] == YES).sum()
        share = found["flagged_share"][code]
        assert share["ecgs"] == positives
        assert share[code] == pytest.approx(counts["true_positive"] / positives)
        assert flagged[:, k].sum() == counts["true_positive"] + counts["false_positive"]


def test_views_of_anomaly_are_told_apart_and_against_each_type(detector, scored):
    found = figures.anomaly(scored, None)
    assert list(found) == ["restoration", "latent", "types"]
    abnormal = scored.cases.normal == NO
    assert found["latent"]["auroc"]["value"] == pytest.approx(
        auroc(abnormal, scored.opinion.views[:, 1])
    )
    assert set(found["latent"]["auroc_against_normal"]) == set(TYPES[1:])
    assert figures.fused_anomaly(detector, scored)["auroc"]["value"] > 0.8


def test_groups_are_bands_sexes_and_the_unknown(detector, scored):
    age = np.where(np.arange(36) < 2, np.nan, 45.0)
    groups = {"sex": scored.cases.groups["sex"], "site": np.array(["a"] * 33 + [""] * 3)}
    found = figures.groups(
        detector, replace(scored, cases=replace(scored.cases, age=age, groups=groups)), "balanced"
    )
    assert list(found) == ["age", "sex", "site"]
    assert found["age"]["unknown"] == {"ecgs": 2, "unscorable": 0}
    assert found["age"]["40-59"]["ecgs"] == 34
    assert found["age"]["40-59"]["by_type"]["MI"]["positive"] == 5
    assert found["site"]["a"]["macro_auroc_types"]["value"] > 0.8
    assert {v["ecgs"] for v in found["sex"].values()} == {18}


def test_abstention_counts_reasons(scored):
    quality = list(scored.quality)
    quality[0] = replace(quality[0], verdict="unscorable", reasons=("no-qrs",))
    found = figures.abstention(replace(scored, quality=tuple(quality)))
    assert found["unscorable"] == 1
    assert found["unscorable_rate"] == pytest.approx(1 / 36)
    assert found["reasons"] == {"no-qrs": 1}


def test_the_loss_is_of_the_same_draws(scored):
    nothing = figures.macro_loss(scored.cases, scored.opinion.types, scored.opinion.types)
    assert nothing == {"value": 0, "low": 0, "high": 0}
    random = np.random.default_rng(1).random(scored.opinion.types.shape)
    assert figures.macro_loss(scored.cases, random, scored.opinion.types)["low"] > 0.1


def test_what_was_measured_is_described(scored):
    found = figures.described(replace(scored, unreadable={"file-missing": 2}))
    assert found["ecgs"] == 36
    assert found["ecgs_with_type"]["NORM"] == found["normal_ecgs"] == 12
    assert found["ecgs_unknown"]["MI"] == 0
    assert found["unreadable"] == {"file-missing": 2}
