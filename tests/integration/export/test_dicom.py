from datetime import date
from io import BytesIO

import numpy as np
import pydicom
import pytest

from db.records import PatientRef
from integration.export.dicom import encode_dicom
from integration.formats.dicom import decode
from tests.integration.export.conftest import ACQUIRED, WHOLE, assert_same, exam_of


def test_an_object_is_read_back_by_us_and_by_the_package(ecg):
    content = encode_dicom(exam_of(ecg))
    decoded = decode(content)
    assert_same(decoded.ecg, ecg)
    assert decoded.patients == (PatientRef("ZZCANARY-4711", "HOSP"),)
    assert decoded.acquired == ACQUIRED
    found = pydicom.dcmread(BytesIO(content)).waveform_array(0)
    known = ~np.isnan(ecg.voltage_mv.T)
    assert found[known] == pytest.approx(ecg.voltage_mv.T[known] * 1000, abs=25)


def test_its_class_and_its_ids_follow_from_the_ecg():
    twelve = pydicom.dcmread(BytesIO(encode_dicom(exam_of(WHOLE))))
    assert twelve.SOPClassUID == "1.2.840.10008.5.1.4.1.1.9.1.1"
    assert encode_dicom(exam_of(WHOLE)) == encode_dicom(exam_of(WHOLE))
    ids = {twelve.SOPInstanceUID, twelve.StudyInstanceUID, twelve.SeriesInstanceUID}
    assert len(ids) == 3


@pytest.mark.parametrize(("acquired", "day"), [(date(2026, 1, 2), "20260102"), (None, "")])
def test_a_time_that_is_not_known_is_not_made_up(acquired, day):
    content = encode_dicom(exam_of(WHOLE, acquired, None))
    assert pydicom.dcmread(BytesIO(content)).StudyDate == day
    decoded = decode(content)
    assert decoded.acquired is None
    assert decoded.patients == (PatientRef("ZZCANARY-4711"),)
