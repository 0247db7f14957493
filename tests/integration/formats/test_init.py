from pathlib import Path

import numpy as np
import pytest
from pydicom.data import get_testdata_file

from integration.formats import read_ecg
from model.ecg import LEADS_12
from model.errors import EcgError

HEADER = "r 1 100 4\nr.dat 16 1000/mV 16 0 0 6 0 II\n"


@pytest.fixture
def record(tmp_path):
    (tmp_path / "r.hea").write_text(HEADER)
    (tmp_path / "r.dat").write_bytes(np.array([0, 1, 2, 3], "<i2").tobytes())
    return tmp_path / "r"


@pytest.mark.parametrize("suffix", ["", ".hea", ".dat"])
def test_a_wfdb_record_is_known_by_any_of_its_names(record, suffix):
    ecg = read_ecg(record.with_suffix(suffix))
    assert ecg.leads == ("II",)
    assert ecg.voltage_mv[0].tolist() == pytest.approx([0, 0.001, 0.002, 0.003])


def test_the_recording_inside_pydicom():
    ecg = read_ecg(Path(str(get_testdata_file("waveform_ecg.dcm", download=False))))
    assert (ecg.leads, ecg.sampling_rate_hz, ecg.n_samples) == (LEADS_12, 1000, 10_000)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("nothing", None, "file-missing"),
        ("nothing.hea", None, "file-missing"),
        ("nothing.dat", None, "file-missing"),
        ("empty", b"", "format-unknown"),
        ("text.txt", b"an ECG, honestly", "format-unknown"),
        ("lonely.dat", bytes(400), "format-unknown"),
        ("almost.dcm", bytes(128) + b"DICN", "format-unknown"),
        ("only-magic.dcm", bytes(128) + b"DICM", "waveform-unsupported"),
    ],
)
def test_other_files_are_refused(tmp_path, name, content, reason):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(EcgError) as refused:
        read_ecg(tmp_path / name)
    assert refused.value.reason == reason


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(EcgError, match="format-unknown"):
        read_ecg(tmp_path)
    (tmp_path / "r.hea").mkdir()
    with pytest.raises(EcgError, match="file-unreadable"):
        read_ecg(tmp_path / "r.hea")
