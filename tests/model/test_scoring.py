from dataclasses import replace

import numpy as np
import pytest

from integration.formats import read_ecg
from model.datasets import cinc, ptbxl, ptbxl_cases
from model.detector import Detector
from model.errors import DatasetError
from model.scoring import Plan, answer, score_cases, with_leads
from model.simulate import simulate
from tests.ptbxl_folder import bundle_of_these_statements, write_ptbxl
from tests.wfdb_folder import write_cinc, write_record

SETS = {"2": ("I", "II"), "1": ("V1",)}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return bundle_of_these_statements(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module")
def detector(bundle):
    return Detector.load(bundle)


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    folder = write_ptbxl(tmp_path_factory.mktemp("data") / "ptbxl", 6, folds=(9,))
    return ptbxl_cases.cases(folder, (9,), read_ecg)


@pytest.fixture(scope="module")
def scored(detector, cases):
    return score_cases(detector, Plan(cases, SETS, frozenset({0, 3})))


def test_scores_are_those_of_the_product(detector, cases, scored):
    for row in (1, 3):
        findings, opinion = detector.examine(cases.ecg(row))
        assert scored.opinion.types[row, 1:].tolist() == [t.probability for t in findings.types]
        assert scored.opinion.types[row, 0] == findings.normal_probability
        assert scored.opinion.anomaly[row] == findings.anomaly_score
        np.testing.assert_array_equal(scored.opinion.statements[row], opinion.statements[0])
        assert scored.quality[row] == findings.quality


def test_lead_sets_are_tried_with_the_rows_that_were_asked_for(detector, cases, scored):
    assert scored.in_subsets.tolist() == [True, False, False, True, False, False]
    fewer = with_leads(cases.ecg(3), ("I", "II"))
    _, opinion = detector.examine(fewer)
    np.testing.assert_allclose(scored.subsets["2"].types[1], opinion.types[0])
    assert len(scored.subsets["2"].types) == 2


def test_an_ecg_without_a_lead_has_no_answer_for_a_set_with_it(detector):
    ecg = with_leads(simulate("normal", seed=1), ("I", "II", "V2"))
    found = answer(detector, ecg, {"V1": ("V1",), "I": ("I",)})
    assert found.subsets["V1"] is None
    assert found.subsets["I"] is not None


def test_times_and_median_beats_come_with_each_ecg(scored):
    assert (scored.prepare_ms > 0).all()
    assert (scored.network_ms > 0).all()
    assert scored.beats.shape == (6, 12, 70)
    assert (np.abs(scored.beats).max(axis=(1, 2)) > 0.2).all()


def test_every_ecg_is_counted_and_the_hash_is_of_the_data(detector, cases, scored):
    steps = []
    again = score_cases(detector, Plan(cases, SETS, frozenset()), lambda: steps.append(1))
    assert len(steps) == 6
    assert again.subsets == {}
    assert again.sha256 == scored.sha256
    other = replace(cases, types=1 - cases.types)
    assert score_cases(detector, Plan(other, {}, frozenset())).sha256 != scored.sha256


def test_one_bad_record_is_counted_and_the_rest_is_scored(detector, tmp_path):
    write_cinc(tmp_path, 4)
    (tmp_path / "g1" / "A0002.mat").write_bytes(b"")
    (tmp_path / "g1" / "A0003.mat").unlink()
    noisy = simulate("noisy", seed=1)
    write_record(tmp_path / "g2" / "A0009", noisy, ["Dx: 426783006"])
    steps = []
    found = score_cases(
        detector,
        Plan(cinc.cases(tmp_path, read_ecg), SETS, frozenset(range(5))),
        lambda: steps.append(1),
    )
    assert len(steps) == 5
    assert found.unreadable == {"samples-malformed": 1, "file-missing": 1}
    assert found.cases.record.tolist() == ["g1/A0001", "g1/A0004", "g2/A0009"]
    assert found.scorable.tolist() == [True, True, False]
    assert np.isnan(found.opinion.types[2]).all()
    assert np.isnan(found.network_ms[2])
    assert not np.isnan(found.opinion.types[:2]).any()


@pytest.mark.parametrize(
    ("rate_hz", "duration_s"), [(100.0, 5.0), (257.0, 12.3), (500.0, 31.0), (1000.0, 144.0)]
)
def test_any_rate_and_length(detector, tmp_path, rate_hz, duration_s):
    ecg = simulate("normal", seed=2, sampling_rate_hz=rate_hz, duration_s=duration_s)
    write_record(tmp_path / "I0001", ecg, ["Dx: 426783006"])
    found = score_cases(detector, Plan(cinc.cases(tmp_path, read_ecg), {}, frozenset()))
    assert found.scorable.all()
    assert found.opinion.types[0, 0] > 0.5


def test_the_same_recording_counts_once_where_no_patients_are_named(detector, tmp_path):
    """The challenges of 2020 and 2021, one beside the other."""
    for folder in ("2020", "2021/g1"):
        write_cinc(tmp_path, 3, nested=folder)
        write_record(tmp_path / folder / "A0009", simulate("noisy", seed=1), ["Dx: 426783006"])
    found = score_cases(detector, Plan(cinc.cases(tmp_path, read_ecg), {}, frozenset()))
    assert found.unreadable == {"duplicate": 3}
    assert found.cases.record.tolist()[:3] == ["2020/A0001", "2020/A0002", "2020/A0003"]
    assert (~found.scorable).sum() == 2


def test_what_the_strip_model_reads_in_production_is_not_scored_here(detector, tmp_path):
    """INCART's half hours among the challenges' ECGs."""
    write_cinc(tmp_path, 1)
    longer = simulate("normal", seed=2, sampling_rate_hz=100.0, duration_s=601.0)
    write_record(tmp_path / "I0001", longer, ["Dx: 426783006"])
    found = score_cases(detector, Plan(cinc.cases(tmp_path, read_ecg), {}, frozenset()))
    assert found.unreadable == {"too-long": 1}
    assert found.cases.record.tolist() == ["g1/A0001"]


def test_when_nothing_can_be_read_that_is_an_error(detector, tmp_path):
    write_cinc(tmp_path, 2)
    for file in tmp_path.rglob("*.mat"):
        file.unlink()
    with pytest.raises(DatasetError, match=r"nothing-readable: .*file-missing \(2\)"):
        score_cases(detector, Plan(cinc.cases(tmp_path, read_ecg), {}, frozenset()))


def test_a_model_of_other_statements_is_refused(cases):
    with pytest.raises(DatasetError, match="statements-differ"):
        score_cases(Detector.load(), Plan(cases, {}, frozenset()))


def test_arrays_in_memory_are_scored_as_their_files(detector, cases, scored, tmp_path):
    data = ptbxl.load(cases.ecg.paths[0].parents[1], (9,))
    found = score_cases(detector, Plan(ptbxl_cases.from_arrays(data), {}, frozenset()))
    np.testing.assert_allclose(found.opinion.types, scored.opinion.types, atol=1e-5)


def test_processes_find_the_same(detector, bundle, cases, scored):
    plan = Plan(cases, SETS, frozenset({0, 3}))
    found = score_cases(detector, plan, model_path=bundle, workers=2)
    np.testing.assert_allclose(found.opinion.types, scored.opinion.types, atol=1e-6)
    assert found.sha256 == scored.sha256


def test_rows_keep_everything_of_theirs(scored):
    some = scored.rows(np.arange(6) == 3)
    assert some.cases.record.tolist() == [scored.cases.record[3]]
    np.testing.assert_array_equal(some.opinion.views, scored.opinion.views[3:4])
    np.testing.assert_array_equal(some.subsets["1"].types, scored.subsets["1"].types[1:2])
    others = scored.rows(np.arange(6) != 3)
    np.testing.assert_array_equal(others.subsets["1"].types, scored.subsets["1"].types[:1])
