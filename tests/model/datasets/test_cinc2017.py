import numpy as np
import pytest

from model.datasets import cinc2017
from model.errors import DatasetError
from model.simulate import simulate
from tests.cinc2017_folder import write_cinc2017


@pytest.fixture
def folder(tmp_path):
    return write_cinc2017(tmp_path / "cinc", n_per_class=1)


def test_labels_and_strips_come_as_written(folder):
    data = cinc2017.load(folder)
    assert data.records == ("A00001", "A00002", "A00003", "A00004")
    assert data.labels == ("N", "A", "O", "~")
    ecg = data.ecg("A00001")
    assert (ecg.leads, ecg.sampling_rate_hz, ecg.duration_s) == (("I",), 300.0, 9.0)
    sent = simulate("normal", seed=3000, sampling_rate_hz=300.0, duration_s=9.0)
    np.testing.assert_allclose(ecg.voltage_mv[0], sent.voltage_mv[0], atol=5.1e-4)


def test_the_last_revision_of_the_labels_counts(folder):
    (folder / "REFERENCE-original.csv").write_text("A00001,O\n")
    assert cinc2017.load(folder).table == "REFERENCE.csv"
    (folder / "REFERENCE-v3.csv").write_text("A00001,~\n")
    data = cinc2017.load(folder)
    assert (data.table, data.labels) == ("REFERENCE-v3.csv", ("~",))
    assert cinc2017.has_labels(folder)


def test_the_records_may_lie_in_folders_below(folder):
    """As the publisher has them: training/A00/A00001.mat, the table at the top."""
    for file in sorted(folder.glob("A*")):
        below = folder / "training" / file.name[:3]
        below.mkdir(parents=True, exist_ok=True)
        file.rename(below / file.name)
    data = cinc2017.load(folder)
    assert data.ecg("A00001").duration_s == 9.0


def test_a_folder_without_labels(tmp_path):
    assert not cinc2017.has_labels(tmp_path)
    with pytest.raises(DatasetError, match="dataset-missing"):
        cinc2017.load(tmp_path)


@pytest.mark.parametrize(
    "table",
    ["", "A00001,X\n", "A00001\n", "../A00001,N\n", "A00001,N,N\n", "A00001,N\nA00001,N\n"],
)
def test_a_table_that_is_none_is_refused(folder, table):
    (folder / "REFERENCE.csv").write_text(table)
    with pytest.raises(DatasetError, match="dataset-altered"):
        cinc2017.load(folder)


def test_a_record_that_is_not_there(folder):
    data = cinc2017.load(folder)
    (folder / "A00001.mat").unlink()
    (folder / "A00002.hea").unlink()
    for record in ("A00001", "A00002"):
        with pytest.raises(DatasetError, match="dataset-missing"):
            data.ecg(record)


@pytest.mark.parametrize(
    "header",
    [
        "A00001 2 300 2700\nA00001.mat 16+24 1000/mV 16 0 0 0 0 ECG\n",
        "A00001 1 300 2700\nA00001.mat 16+24 1000/uV 16 0 0 0 0 ECG\n",
        "A00001 1 300 2700\nA00001.mat 16+24 0.01/mV 16 0 0 0 0 ECG\n",
        "A00001 1 30 2700\nA00001.mat 16+24 1000/mV 16 0 0 0 0 ECG\n",
        "A00001 1 300 9999999\nA00001.mat 16+24 1000/mV 16 0 0 0 0 ECG\n",
        "nonsense",
    ],
)
def test_a_record_that_is_not_what_it_should_be(folder, header):
    data = cinc2017.load(folder)
    (folder / "A00001.hea").write_text(header)
    with pytest.raises(DatasetError, match="dataset-altered"):
        data.ecg("A00001")


def test_a_giant_is_not_read(folder, monkeypatch):
    monkeypatch.setattr(cinc2017, "MAX_RECORD_BYTES", 1000)
    with pytest.raises(DatasetError, match="dataset-altered"):
        cinc2017.load(folder).ecg("A00001")
