import struct
from datetime import UTC, date, datetime

import pytest

from db.records import PatientRef
from integration.formats.scp_record import (
    MAX_RECORD_BYTES,
    acquired_at,
    device_of,
    patient_of,
    read_sections,
    tags,
)
from model.errors import EcgError
from tests.integration.formats.encoders import scp_record, scp_tags

GOOD = scp_record({1: scp_tags(), 6: b"waves", 9: b"ignored", 3: b""})


def reason(content):
    with pytest.raises(EcgError) as refused:
        read_sections(content)
    return refused.value.reason


def test_sections_are_found_by_their_pointers():
    assert read_sections(GOOD) == {1: scp_tags(), 6: b"waves"}
    assert read_sections(GOOD + bytes(9)).keys() == {1, 6}  # what a transport filled up


def test_every_altered_byte_of_what_is_read_is_noticed():
    for position in range(len(GOOD)):
        altered = bytearray(GOOD)
        altered[position] ^= 0x40
        assert reason(bytes(altered)) in {"checksum-mismatch", "scp-malformed"}


@pytest.mark.parametrize("cut", [1, 2, 40, len(GOOD) - 10])
def test_a_record_cut_short_is_refused(cut):
    assert reason(GOOD[:-cut]) == "scp-malformed"


def test_records_that_make_no_sense_are_refused():
    assert reason(GOOD + b"more") == "scp-malformed"
    assert reason(GOOD + bytes(MAX_RECORD_BYTES)) == "file-too-large"
    with pytest.raises(struct.error):
        read_sections(b"\0")


def test_tags():
    assert tags(b"\x02\x01\x00A\x02\x01\x00B\xff\x00\x00\x05") == {2: b"A"}
    with pytest.raises(EcgError, match="scp-malformed"):
        tags(b"\x02\x09\x00A")


def test_whose_and_by_what():
    header = tags(scp_tags())
    assert patient_of(header) == PatientRef("P-1")
    assert device_of(header) == ("Maker", "M1")
    assert patient_of({2: b"  \0"}) is None
    assert patient_of({}) is None
    assert device_of({}) == ("", "")
    with pytest.raises(EcgError, match="field-malformed"):
        patient_of({2: "M\u00fcller".encode()})


@pytest.mark.parametrize(
    ("changes", "zone", "expected"),
    [
        ({}, None, date(2026, 1, 2)),
        ({}, UTC, datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ({"tag34": b"\x3c\x00"}, None, datetime(2026, 1, 2, 2, 4, 5, tzinfo=UTC)),
        ({"tag34": b"\xd4\xfe"}, UTC, datetime(2026, 1, 2, 8, 4, 5, tzinfo=UTC)),
        ({"tag34": b"\xff\x7f"}, None, date(2026, 1, 2)),
        ({"tag25": bytes(4)}, UTC, None),
        ({"tag25": b""}, UTC, None),
    ],
)
def test_when(changes, zone, expected):
    assert acquired_at(tags(scp_tags(**changes)), zone) == expected


def test_a_time_may_be_missing_but_not_wrong():
    assert acquired_at({25: b"\xea\x07\x01\x02"}, UTC) == date(2026, 1, 2)
    for changes in ({"tag25": b"\xea\x07\x0d\x02"}, {"tag26": b"\x19\0\0"}, {"tag26": b"\1"}):
        with pytest.raises(EcgError, match="time-malformed"):
            acquired_at(tags(scp_tags(**changes)), UTC)
    with pytest.raises(EcgError, match="time-malformed"):
        acquired_at(tags(scp_tags(tag34=b"\x00\x70")), UTC)
