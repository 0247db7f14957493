import wfdb

from integration.export.wfdb import encode_wfdb
from integration.formats import read_ecg
from tests.integration.export.conftest import assert_same, exam_of


def test_a_record_is_read_back_by_us_and_by_the_package(tmp_path, ecg):
    exam = exam_of(ecg)
    for ending, content in encode_wfdb(exam).items():
        assert b"ZZCANARY" not in content
        (tmp_path / f"{exam.id}{ending}").write_bytes(content)
    assert_same(read_ecg(tmp_path / f"{exam.id}.hea"), ecg)
    record = wfdb.rdrecord(str(tmp_path / str(exam.id)))
    assert record.sig_name == list(ecg.leads)
    assert record.p_signal.shape == ecg.voltage_mv.T.shape
