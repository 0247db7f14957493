import numpy as np
import pytest

from integration.formats import read_ecg
from model.datasets import cinc
from model.datasets.cases import NO, UNKNOWN, YES
from model.datasets.ptbxl import TYPES
from model.errors import DatasetError
from model.simulate import simulate
from tests.wfdb_folder import write_cinc, write_record

ARR, CD = TYPES.index("ARR"), TYPES.index("CD")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_cinc(tmp_path_factory.mktemp("cinc"), 30)


@pytest.fixture(scope="module")
def found(folder):
    return cinc.cases(folder, read_ecg)


def test_codes_ages_and_sexes_come_from_the_header(found):
    assert len(found) == 30
    assert found.record[0] == "g1/A0001"
    assert found.types[:6, ARR].tolist() == [NO, YES, NO, YES, YES, NO]
    assert found.types[:6, CD].tolist() == [NO, NO, YES, NO, NO, NO]
    assert found.normal[:6].tolist() == [YES, NO, NO, NO, NO, YES]
    assert np.isnan(found.age[1])
    assert found.age[2] == 42
    assert found.groups["sex"][:5].tolist() == ["male", "female", "male", "female", ""]
    assert set(found.groups["site"]) == {"CPSC 2018"}
    assert (found.patients_known, len(set(found.patient))) == (False, 30)


def test_a_type_that_the_set_does_not_annotate_has_no_negatives(found):
    for code in ("MI", "STTC", "HYP"):
        assert set(found.types[:, TYPES.index(code)]) == {UNKNOWN}
    assert any("does not annotate MI, STTC, HYP" in remark for remark in found.remarks)


def test_the_samples_are_those_of_the_file(found):
    sent = simulate("normal", seed=1, sampling_rate_hz=500.0)
    np.testing.assert_allclose(found.ecg(0).voltage_mv, sent.voltage_mv, atol=5.1e-4)


def test_what_has_no_codes_or_was_trained_on_is_left_out_and_counted(tmp_path):
    ecg = simulate("normal", seed=1, duration_s=5.0)
    write_record(tmp_path / "A0001", ecg, ["Dx: 426783006"])
    write_record(tmp_path / "x" / "HR00001", ecg, ["Dx: 426783006"])
    write_record(tmp_path / "x" / "E00002", ecg, ["Age: 3"])
    write_record(tmp_path / "x" / "E00003", ecg, ["Dx: Unknown"])
    found = cinc.cases(tmp_path, read_ecg)
    assert found.record.tolist() == ["A0001"]
    assert found.left_out == {"trained-on": 1, "labels-missing": 2}


def test_older_headers_and_codes_that_nobody_knows(tmp_path):
    ecg = simulate("normal", seed=1, duration_s=5.0)
    write_record(tmp_path / "cpsc" / "7", ecg, [" Age:  50", " Sex: Male", " Dx: 164889003, 12345"])
    found = cinc.cases(tmp_path, read_ecg)
    assert found.groups["site"].tolist() == [tmp_path.name]
    assert found.age.tolist() == [50]
    assert found.types[0].tolist() == [*[UNKNOWN] * 5, YES]
    assert any("code 12345 is in no table: 1 ECGs" in remark for remark in found.remarks)


def test_a_patients_folder_is_no_source(folder, tmp_path, monkeypatch):
    """Of a hospital's numbers in folders each would be a source that annotates nothing."""
    ecg = simulate("normal", seed=1, duration_s=5.0)
    for patient in range(6):
        write_record(tmp_path / f"p{patient}" / "1", ecg, ["Dx: 164889003"])
        write_record(tmp_path / f"p{patient}" / "2", ecg, ["Dx: 426783006"])
    found = cinc.cases(tmp_path, read_ecg)
    assert set(found.groups["site"]) == {tmp_path.name}
    assert found.types[:, ARR].tolist() == [YES, NO] * 6
    monkeypatch.setattr(cinc, "MIN_SOURCE", 2)
    assert len(set(cinc.cases(tmp_path, read_ecg).groups["site"])) == 6


def test_where_a_source_has_a_few_findings_of_a_type_that_is_told(found):
    told = [remark for remark in found.remarks if "may have another" in remark]
    assert len(told) == 2
    assert told[0].startswith("CPSC 2018 has of ARR only ")
    assert "atrial fibrillation" in told[0]
    assert told[1].startswith("CPSC 2018 has of CD only left bundle branch block: ")


def test_a_folder_without_codes_is_refused(tmp_path):
    with pytest.raises(DatasetError, match=r"labels-missing: .*no headers"):
        cinc.cases(tmp_path, read_ecg)
    write_record(tmp_path / "HR00001", simulate("normal", seed=1), ["Dx: 426783006"])
    with pytest.raises(DatasetError, match=r"labels-missing: .*trained-on \(1\)"):
        cinc.cases(tmp_path, read_ecg)


def test_a_header_with_codes_is_known_by_them(folder, tmp_path):
    assert cinc.has_codes(folder / "g1" / "A0001.hea")
    (tmp_path / "b.hea").write_text("b 1 500 10\n#Age: 3\n")
    assert not cinc.has_codes(tmp_path / "b.hea")
