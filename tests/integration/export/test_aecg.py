from datetime import date

import pytest

from integration.export.aecg import encode_aecg
from integration.formats import ecgs_from_bytes
from tests.integration.export.conftest import ACQUIRED, WHOLE, assert_same, exam_of


def test_a_document_is_read_back(ecg):
    (decoded,) = ecgs_from_bytes(encode_aecg(exam_of(ecg)))
    assert_same(decoded.ecg, ecg)
    assert [p.identifier for p in decoded.patients] == ["ZZCANARY-4711"]
    assert decoded.acquired == ACQUIRED


@pytest.mark.parametrize("acquired", [date(2026, 1, 2), None])
def test_a_time_that_is_not_known_is_not_made_up(acquired):
    (decoded,) = ecgs_from_bytes(encode_aecg(exam_of(WHOLE, acquired)))
    assert decoded.acquired == acquired
