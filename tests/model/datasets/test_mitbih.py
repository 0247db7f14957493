import numpy as np
import pytest
import wfdb

from model.annotations import BXB_CLASSES
from model.datasets import mitbih
from model.datasets.mitbih import DS1, PACED, load_record, record_names
from model.errors import DatasetError
from tests.beat_records import beat_record, write_record


@pytest.fixture
def folder(tmp_path):
    """A record of two leads, 360 Hz, five beats and two remarks; and one without reference."""
    signals = np.random.default_rng(0).normal(0, 0.3, (1_280, 2))
    for name in ("202", "alone"):
        wfdb.wrsamp(
            name,
            fs=360,
            units=["mV"] * 2,
            sig_name=["ECG1", "ECG2"],
            p_signal=signals,
            fmt=["16"] * 2,
            write_dir=str(tmp_path),
        )
    wfdb.wrann(
        "202",
        "atr",
        np.array([10, 100, 200, 300, 400, 500, 600]),
        symbol=["+", "N", "A", "e", "V", "~", "/"],
        aux_note=["(N", "", "", "", "", "", ""],
        write_dir=str(tmp_path),
        fs=360,
    )
    return tmp_path


def test_a_record_is_its_samples_beats_and_person(folder):
    record = load_record(folder, "202")
    assert record.patient == "201"
    assert record.leads == ("ECG1", "ECG2")
    assert record.sampling_rate_hz == 360
    assert record.voltage_mv.shape == (2, 1_280)
    assert record.voltage_mv.dtype == np.float32
    assert record.r_peaks.tolist() == [100, 200, 300, 400, 600]
    assert record.classes.tolist() == [0, 1, 0, 2, 4]


def test_escape_beats_count_as_the_mapping_says(folder):
    assert load_record(folder, "202", BXB_CLASSES).classes.tolist() == [0, 1, 1, 2, 4]


def test_only_records_with_a_reference_are_named(folder):
    assert record_names(folder) == ("202",)
    with pytest.raises(DatasetError, match="dataset-missing"):
        record_names(folder / "nowhere")


def test_a_record_without_beats_or_millivolts_is_refused(folder):
    wfdb.wrann("alone", "atr", np.array([5]), symbol=["+"], write_dir=str(folder), fs=360)
    with pytest.raises(DatasetError, match="dataset-altered"):
        load_record(folder, "alone")
    header = folder / "202.hea"
    header.write_text(header.read_text().replace("/mV", "/uV"))
    with pytest.raises(DatasetError, match="dataset-altered"):
        load_record(folder, "202")
    with pytest.raises(DatasetError, match="dataset-missing"):
        load_record(folder, "303")


@pytest.mark.parametrize("lines", ["alone 0 360 1280\n", "alone 2 360 1280\n"])
def test_a_record_without_signals_is_refused(folder, lines):
    """AFDB annotates two whose signals are lost."""
    wfdb.wrann("alone", "atr", np.array([5]), symbol=["N"], write_dir=str(folder), fs=360)
    (folder / "alone.hea").write_text(lines)
    with pytest.raises(DatasetError, match="dataset-missing"):
        load_record(folder, "alone")


def test_beats_beyond_the_end_are_none(folder):
    beats = np.array([100, 1_279, 1_280, 2_000])
    wfdb.wrann("alone", "atr", beats, symbol=["N"] * 4, write_dir=str(folder), fs=360)
    assert load_record(folder, "alone").r_peaks.tolist() == [100, 1_279]


def test_a_header_may_name_the_patient(folder):
    """INCART's 75 records are of 32 persons."""
    header = folder / "202.hea"
    header.write_text(header.read_text() + "#<age>: 65 <sex>: F\n# patient 7\n# PVCs, noise\n")
    assert load_record(folder, "202").patient == "patient 7"


@pytest.mark.parametrize(
    ("name", "rate_hz", "origin", "patient"),
    [
        ("118", 360, "118", "118"),
        ("118e_6", 360, "118", "118"),
        ("119e24", 360, "119", "119"),
        ("202", 360, "202", "201"),
        ("202", 128, None, "202"),
    ],
)
def test_names_are_mit_bihs_at_its_rate_alone(tmp_path, name, rate_hz, origin, patient):
    write_record(tmp_path, beat_record(name, n_beats=9, rate_hz=rate_hz))
    assert mitbih.original(tmp_path, name) == origin
    assert load_record(tmp_path, name).patient == patient


def test_a_record_that_cannot_be_read_is_of_no_origin(tmp_path):
    assert mitbih.original(tmp_path, "100") is None


def test_ds1_is_de_chazals():
    assert len(set(DS1)) == 22
    assert not set(PACED) & set(DS1)
    assert mitbih.SAME_PERSON == {"202": "201"}
