import os
from pathlib import Path

import numpy as np
import pytest

from model.datasets import ptbxl
from model.errors import DatasetError
from model.simulate import simulate
from tests.ptbxl_folder import write_ptbxl

EXPANDED = Path(os.environ.get("ECG_DATA", Path.home() / ".cache" / "ecg-data")) / "ptbxl100"


@pytest.fixture
def folder(tmp_path):
    return write_ptbxl(tmp_path / "ptbxl", n_per_fold=6, folds=range(1, 4))


def test_rows_carry_what_the_table_and_the_records_say(folder):
    data = ptbxl.load(folder, (1, 2))
    assert data.voltage_uv.shape == (12, 12, 1000)
    assert data.ecg_id.tolist() == list(range(1, 13))
    assert data.patient_id.tolist() == [n // 2 for n in range(1, 13)]
    assert data.fold.tolist() == [1] * 6 + [2] * 6
    assert np.isnan(data.age[0])
    assert data.age[1] == 60.0
    assert data.sex.tolist() == [0, 1] * 6
    sent = simulate("normal", seed=1, sampling_rate_hz=100.0).voltage_mv
    np.testing.assert_allclose(ptbxl.millivolts(data.voltage_uv[0]), sent, atol=5.1e-4)


def test_statements_become_types(folder):
    data = ptbxl.load(folder, (1,))
    found = [{t for t, has in zip(ptbxl.TYPES, row, strict=True) if has} for row in data.types]
    assert found == [{"NORM"}, {"MI"}, {"CD"}, {"HYP", "STTC"}, {"ARR"}, {"NORM"}]
    assert data.normal.tolist() == [True, False, False, False, False, True]


@pytest.mark.parametrize(
    ("statement", "superclass", "types"),
    [
        ("NORM", "NORM", {"NORM"}),
        ("2AVB", "CD", {"CD", "ARR"}),
        ("1AVB", "CD", {"CD"}),
        ("SBRAD", "", {"ARR"}),
        ("PRC(S)", "", {"ARR"}),
        ("SR", "", set()),
        ("SARRH", "", set()),
        ("PACE", "", set()),
        ("LVOLT", "", set()),
    ],
)
def test_aggregation_follows_the_documented_lists(statement, superclass, types):
    row = ptbxl.aggregate(np.array([[True]]), {statement: superclass})[0]
    assert {t for t, has in zip(ptbxl.TYPES, row, strict=True) if has} == types


def test_a_normal_ecg_with_an_abnormality_is_not_normal():
    types = ptbxl.aggregate(np.array([[True, True]]), {"NORM": "NORM", "PVC": ""})
    assert types[0].tolist() == [True, False, False, False, False, True]


def test_the_cache_gives_the_same_samples_and_is_not_read_as_pickle(folder, tmp_path):
    fresh = ptbxl.load(folder, (3,), tmp_path / "cache")
    again = ptbxl.load(folder, (3,), tmp_path / "cache")
    assert [p.suffix for p in (tmp_path / "cache").iterdir()] == [".npy"]
    assert fresh.sha256() == again.sha256() == ptbxl.load(folder, (3,)).sha256()


def test_a_cache_of_another_shape_is_refused(folder, tmp_path):
    ptbxl.load(folder, (3,), tmp_path)
    (cached,) = tmp_path.glob("*.npy")
    np.save(cached, np.zeros((1, 12, 1000), np.int16))
    with pytest.raises(DatasetError, match="dataset-altered"):
        ptbxl.load(folder, (3,), tmp_path)


def test_the_hash_sees_samples_and_labels(folder):
    data = ptbxl.load(folder, (1,))
    other_sample = data.rows(np.arange(6))
    other_sample.voltage_uv[0, 0, 0] += 1
    other_label = data.rows(np.arange(6))
    other_label.statements[0, 0] ^= True
    assert len({data.sha256(), other_sample.sha256(), other_label.sha256()}) == 3


def test_rows_are_chosen_together(folder):
    data = ptbxl.load(folder, (1, 2))
    chosen = data.rows(data.fold == 2)
    assert chosen.ecg_id.tolist() == list(range(7, 13))
    np.testing.assert_array_equal(chosen.voltage_uv, data.voltage_uv[6:])
    np.testing.assert_array_equal(chosen.types, data.types[6:])


def test_a_missing_folder_is_said_plainly(tmp_path):
    with pytest.raises(DatasetError, match=r"dataset-missing: .*scp_statements.csv cannot be read"):
        ptbxl.load(tmp_path, (1,))


def test_a_missing_fold_is_said_plainly(folder):
    with pytest.raises(DatasetError, match="fold-missing"):
        ptbxl.load(folder, (1, 10))


@pytest.mark.parametrize("suffix", [".hea", ".dat"])
def test_a_missing_record_is_said_plainly(folder, suffix):
    (folder / f"records100/00001_lr{suffix}").unlink()
    with pytest.raises(DatasetError, match="dataset-missing: record 00001_lr"):
        ptbxl.load(folder, (1,))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (" 100 1000\n", " 500 1000\n"),
        ("1000.0(0)/mV", "200.0(0)/mV"),
        (" AVR\n", " AVF\n"),
        (" 12 ", " 8 "),
    ],
)
def test_a_header_that_says_otherwise_is_refused(folder, old, new):
    header = folder / "records100/00001_lr.hea"
    header.write_text(header.read_text().replace(old, new, 1))
    with pytest.raises(DatasetError, match="dataset-altered"):
        ptbxl.load(folder, (1,))


def test_a_cut_record_is_refused(folder):
    samples = folder / "records100/00001_lr.dat"
    samples.write_bytes(samples.read_bytes()[:-24])
    with pytest.raises(DatasetError, match="dataset-altered"):
        ptbxl.load(folder, (1,))


@pytest.mark.ecg_data
@pytest.mark.skipif(not EXPANDED.exists(), reason=f"no PTB-XL at {EXPANDED}: unpack ../shared/data")
def test_fold_9_of_the_real_data_set_is_what_the_card_was_measured_on():
    data = ptbxl.load(EXPANDED, (9,))
    assert len(data.ecg_id) == 2183
    assert len(data.statement_names) == 71
    assert data.types.sum(axis=0).tolist() == [956, 541, 528, 495, 268, 447]
