from pathlib import Path

import numpy as np
import pytest
from pydicom.data import get_testdata_file

from integration.formats import NOT_ECG, Format, ecgs_from_bytes, read_ecg, read_ecgs
from model.ecg import LEADS_12
from model.errors import EcgError
from tests.integration.formats.encoders import (
    aecg_series,
    aecg_xml,
    make_counts,
    muse_waveform,
    muse_xml,
    scp_record,
    scp_sections,
    sierra_xml,
)

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


AECG = aecg_xml(aecg_series(make_counts()))
DICOM = Path(str(get_testdata_file("waveform_ecg.dcm", download=False))).read_bytes()
FILES = {
    Format.AECG: AECG,
    Format.DICOM: DICOM,
    Format.MUSE: muse_xml(muse_waveform(make_counts(8))),
    Format.SCP: scp_record(scp_sections(make_counts())),
    Format.SIERRA: sierra_xml(make_counts()),
}


@pytest.mark.parametrize("kind", FILES)
def test_bytes_of_every_format_are_read_as_files_are(tmp_path, kind):
    data = FILES[kind]
    (found,) = ecgs_from_bytes(data, hint="application/octet-stream")
    assert (found.format, found.ecg.leads, found.ecg.duration_s) == (kind, LEADS_12, 10)
    assert len(found.patients) == 1
    (tmp_path / "ecg").write_bytes(data)
    assert np.array_equal(read_ecg(tmp_path / "ecg").voltage_mv, found.ecg.voltage_mv)


def test_a_file_of_several_recordings_is_not_one(tmp_path):
    series = aecg_series(make_counts(2, 600), ("I", "II"))
    (tmp_path / "two.xml").write_bytes(aecg_xml(series, series))
    assert len(read_ecgs(tmp_path / "two.xml")) == 2
    with pytest.raises(EcgError, match="ecg-ambiguous"):
        read_ecg(tmp_path / "two.xml")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"%PDF-1.7", "not-ecg-pdf"),
        (b"<ClinicalDocument/>", "not-ecg-xml"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not-ecg-xml"),
        (b"<html/>", "not-ecg-xml"),
        (b"<restingECG/>", "format-unknown"),  # XML of another maker may well be an ECG
        (b"PK\x03\x04", "archive-unsupported"),
        (b"", "format-unknown"),
    ],
)
def test_bytes_that_are_no_recording(data, reason):
    with pytest.raises(EcgError) as refused:
        ecgs_from_bytes(data)
    assert refused.value.reason == reason
    assert (reason in NOT_ECG) == reason.startswith("not-ecg")


def test_an_ecg_beside_a_wfdb_header_of_its_name_is_itself(record):
    (record.parent / "r").write_bytes(AECG)
    assert read_ecg(record).n_samples == 5_000
    assert read_ecg(record.with_suffix(".hea")).n_samples == 4
