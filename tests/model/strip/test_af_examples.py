import numpy as np
import pytest

from model.datasets import ptbxl
from model.errors import DatasetError
from model.strip.af_examples import (
    DS1,
    af_share,
    labels_of,
    mitdb_examples,
    ptbxl_examples,
    read_noise,
    rhythm_seconds,
    with_noise,
)
from tests.ptbxl_folder import write_ptbxl
from tests.wfdb_records import write_record


@pytest.fixture
def ptbxl_data(tmp_path):
    return ptbxl.load(write_ptbxl(tmp_path / "ptbxl", n_per_fold=6, folds=(1,)), (1,))


@pytest.fixture
def noise_mv():
    return np.random.default_rng(0).normal(size=(6, 3000)).astype(np.float32)


def test_statements_become_labels(ptbxl_data):
    # Folder's kinds: NORM, MI, CLBBB, LVH, AFIB, NORM.
    assert labels_of(ptbxl_data)[:, 0].tolist() == [0, 0, 0, 0, 1, 0]
    assert labels_of(ptbxl_data)[:, 1].tolist() == [0, 0, 1, 0, 0, 0]


def test_leads_i_and_ii_of_every_ecg(ptbxl_data):
    found = ptbxl_examples(ptbxl_data, None)
    assert found.lead.tolist() == [0, 1] * 6
    assert found.group.tolist() == np.repeat(ptbxl_data.patient_id, 2).tolist()
    assert found.clean.all()
    assert len(found.rhythm) == len(found.segments) == found.n_beats.sum()
    np.testing.assert_array_equal(found.labels, np.repeat(labels_of(ptbxl_data), 2, axis=0))


def test_with_noise_each_ecg_brings_two_more(ptbxl_data, noise_mv):
    found = ptbxl_examples(ptbxl_data, noise_mv)
    assert len(found.fold) == 24
    assert found.clean.sum() == 18
    assert (found.lead[~found.clean] < 2).all()


def test_inputs_of_some_rows_are_their_own_beats(ptbxl_data):
    found = ptbxl_examples(ptbxl_data, None)
    inputs = found.inputs(np.array([7, 0]))
    assert inputs.present.sum(axis=1).tolist() == found.n_beats[[7, 0]].tolist()
    start = found.n_beats[:7].sum()
    np.testing.assert_array_equal(
        inputs.rhythm[0][inputs.present[0]], found.rhythm[start : start + found.n_beats[7]]
    )
    assert not inputs.segments[~inputs.present].any()


@pytest.mark.parametrize("snr_db", [-6.0, 12.0])
def test_noise_has_the_power_that_was_asked_for(noise_mv, snr_db):
    trace_mv = np.sin(np.arange(1000) / 5).astype(np.float32)
    added = with_noise(trace_mv, noise_mv, snr_db, np.random.default_rng(1)) - trace_mv
    ratio_db = 10 * np.log10(np.mean(trace_mv**2) / np.mean(added**2))
    assert ratio_db == pytest.approx(snr_db, abs=0.01)


def test_rhythms_last_until_the_next(tmp_path):
    write_record(tmp_path, "101", marks=((0, "(N"), (10, "(AFIB"), (30, "(N")))
    rhythms = rhythm_seconds(tmp_path / "101")
    assert [note for *_, note in rhythms] == ["(N", "(AFIB", "(N"]
    assert rhythms[1][:2] == pytest.approx((10, 30))
    assert af_share(rhythms, 5.0, 15.0) == pytest.approx(0.5)
    assert af_share(rhythms, 31.0, 40.0) == 0.0


def test_windows_with_two_rhythms_are_left_out(tmp_path):
    for record in DS1:
        write_record(tmp_path, record, seconds=12)
    write_record(tmp_path, "201", marks=((0, "(N"), (12, "(AFL")))
    found = mitdb_examples(tmp_path)
    labels = found.labels[found.group == 201]
    assert labels[:, 0].tolist() == [0, 1, 1, 1, 1] * 2  # leads; 5-15 and 10-20 s left out
    assert (labels[:, 1] == -1).all()
    assert set(found.fold.tolist()) == {0}
    assert set(found.group.tolist()) == set(map(int, DS1))


def test_a_record_that_is_not_there(tmp_path):
    with pytest.raises(DatasetError, match="dataset-missing"):
        mitdb_examples(tmp_path)


@pytest.mark.ecg_data
def test_the_noise_recordings_have_two_leads_each(nstdb):
    noise = read_noise(nstdb)
    assert noise.shape[0] == 6
    assert noise.shape[1] == pytest.approx(30 * 60 * 100, rel=0.01)
