from dataclasses import replace
from datetime import UTC, date, datetime
from uuid import UUID

import numpy as np
import pytest

from db.records import MAX_IDENTIFIER, Exam, ExamState, NewExam, NewMessage, PatientRef, Receipt
from model.ecg import Ecg
from model.errors import EcgError

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
ECG = Ecg(np.zeros((1, 10), np.float32), ("II",), 500.0)


def make(protocol="mllp", sender="CART^ED", control_id="1", raw=b"MSH|", at=NOW):
    return NewMessage.whole(protocol, sender, control_id, raw, at)


def test_a_whole_message_describes_its_bytes():
    message = make(raw=b"abc")
    assert (message.raw, message.original_size) == (b"abc", 3)
    assert message.sha256 == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_ids_never_change():
    """Literals: a changed id would store every message and exam of the past once more."""
    assert make().id == UUID("693264db-255e-5c25-b24d-66304700a053")
    assert make().exam_id(0) == UUID("eed5108c-3f65-5a18-b411-efa9459b8bb9")
    assert make().exam_id(1) == UUID("908506ad-918c-5718-8187-5e5494f05bd5")


def test_the_time_of_arrival_is_not_part_of_the_id():
    assert make(at=datetime(2030, 1, 1, tzinfo=UTC)).id == make().id


@pytest.mark.parametrize(
    "change",
    [
        {"protocol": "fhir"},
        {"sender": "CART^ICU"},
        {"control_id": "2"},
        {"raw": b"MSH||"},
        {"sender": "CART^ED1", "control_id": ""},
    ],
)
def test_everything_else_is(change):
    assert make(**change).id != make().id


@pytest.mark.parametrize(
    "odd", ["a\0", "a\nb", "\x7f", "\ud800", "x" * (MAX_IDENTIFIER + 1)], ids=ascii
)
def test_what_no_database_keeps_is_refused(odd):
    for make_it in (
        lambda: PatientRef(odd),
        lambda: PatientRef("4711", odd),
        lambda: NewExam(PatientRef("4711"), ECG, None, odd),
        lambda: NewExam(PatientRef("4711"), ECG, None, None, odd),
    ):
        with pytest.raises(EcgError) as caught:
            make_it()
        assert caught.value.reason == "field-malformed"
        assert odd not in str(caught.value)


@pytest.mark.parametrize("odd", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_a_time_that_no_database_takes_is_refused(odd):
    time = datetime.fromisoformat(odd)
    for make_it in (
        lambda: NewExam(PatientRef("4711"), ECG, time),
        lambda: NewExam(PatientRef("4711"), ECG, time.date()),
        lambda: NewExam(PatientRef("4711"), replace(ECG, start=time)),
    ):
        with pytest.raises(EcgError, match="time-malformed"):
            make_it()


@pytest.mark.parametrize(
    "value",
    [
        make(raw=b"CANARY"),
        PatientRef("CANARY", "CANARY"),
        NewExam(PatientRef("CANARY"), ECG, date(2026, 3, 1), "CANARY", "CANARY"),
        Receipt(UUID(int=1), b"CANARY", (), duplicate=False),
        Exam(
            id=UUID(int=1),
            message_id=UUID(int=2),
            state=ExamState.RECEIVED,
            reason=None,
            patient=PatientRef("CANARY"),
            ecg=ECG,
            acquired=None,
            placer_order="CANARY",
            filler_order="CANARY",
            received_at=NOW,
            attempts=0,
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_repr_shows_no_patient(value):
    assert "CANARY" not in repr(value)
    assert repr(value)
