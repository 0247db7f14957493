import traceback
from datetime import UTC, date, datetime, timedelta, timezone
from uuid import UUID

import numpy as np
import pytest
from sqlalchemy import text

from db.clinical import Incoming
from db.errors import NotFound, StoreUnavailable
from db.records import MAX_IDENTIFIER, ExamState, MessageState
from tests.db.conftest import NOW, at_once

NOBODY = UUID(int=1)


def test_answers_to_a_control_id(store, message, exam):
    first, second, refused = (message(raw=raw) for raw in (b"one", b"two", b"three"))
    store.accept(Incoming(first, MessageState.ACCEPTED, None, b"AA", [exam()]))
    store.accept(Incoming(second, MessageState.NOT_ECG, None, b"AB"))
    store.accept(Incoming(refused, MessageState.REFUSED, "x", b"AR"))
    assert store.answers_to(first.protocol, first.control_id) == (b"AA",)
    assert store.answers_to("fhir", first.control_id) == ()
    assert store.answers_to(first.protocol, "x" * 201) == ()
    assert store.answers_to(first.protocol, "\0") == ()


class TestConflict:
    """The same sender and control id, other content (a lab that sends one id for everybody)."""

    def test_both_are_kept_and_marked(self, store, message, exam):
        first, second = message(raw=b"one"), message(raw=b"two")
        assert not store.accept(
            Incoming(first, MessageState.ACCEPTED, None, b"AA", [exam()])
        ).conflict
        receipt = store.accept(Incoming(second, MessageState.ACCEPTED, None, b"AA", [exam()]))
        assert receipt.conflict
        assert not receipt.duplicate
        assert store.status(NOW).conflicts == 2
        assert (store.message_raw(first.id), store.message_raw(second.id)) == (b"one", b"two")
        assert len(store.recent_exams(10)) == 2

    @pytest.mark.parametrize(
        "other",
        [
            {"control_id": "2"},
            {"sender": "CART^ICU"},
            {"control_id": "", "raw": b"two"},
            {"raw": b"MSH|..."},
        ],
    )
    def test_what_is_none(self, store, message, other):
        first = {"control_id": ""} if other.get("control_id") == "" else {}
        store.accept(Incoming(message(**first), MessageState.NOT_ECG, None, b"AA"))
        assert not store.accept(
            Incoming(message(**other), MessageState.NOT_ECG, None, b"AA")
        ).conflict
        assert store.status(NOW).conflicts == 0

    def test_a_refused_one_may_come_again_mended(self, store, message):
        store.accept(Incoming(message(raw=b"bad"), MessageState.REFUSED, "lead-unknown", b"AR"))
        assert not store.accept(
            Incoming(message(raw=b"good"), MessageState.NOT_ECG, None, b"AA")
        ).conflict
        receipt = store.accept(
            Incoming(message(raw=b"bad again"), MessageState.REFUSED, "x", b"AR")
        )
        assert not receipt.conflict

    def test_of_two_at_once_both_are_marked(self, store, message):
        def accept(i):
            return store.accept(Incoming(message(raw=b"%d" % i), MessageState.NOT_ECG, None, b"AA"))

        receipts = at_once(2, accept)
        assert sorted(receipt.conflict for receipt in receipts) == [False, True]
        assert store.status(NOW).conflicts == 2


class TestAccept:
    def test_a_message_is_kept_byte_for_byte(self, store, message):
        long = message(raw=b"OBX|1|NA|" * 5000)
        receipt = store.accept(Incoming(long, MessageState.NOT_ECG, None, b"AA"))
        assert (receipt.message_id, receipt.answer) == (long.id, b"AA")
        assert (receipt.exam_ids, receipt.duplicate) == ((), False)
        assert store.message_raw(long.id) == long.raw

    def test_its_exams_are_kept_in_order(self, store, message, exam):
        new = message()
        exams = [exam("one"), exam("two")]
        receipt = store.accept(Incoming(new, MessageState.ACCEPTED, None, b"AA", exams))
        assert receipt.exam_ids == (new.exam_id(0), new.exam_id(1))
        loaded = [store.load_exam(id_) for id_ in receipt.exam_ids]
        assert [e.patient.identifier for e in loaded] == ["one", "two"]

    def test_a_duplicate_gets_the_first_answer(self, store, message, exam):
        store.accept(Incoming(message(), MessageState.ACCEPTED, None, b"first" * 100, [exam()]))
        again = message(received_at=NOW + timedelta(hours=1))
        receipt = store.accept(Incoming(again, MessageState.ACCEPTED, None, b"second", [exam()]))
        assert (receipt.answer, receipt.exam_ids) == (b"first" * 100, ())
        assert receipt.duplicate
        assert store.status(NOW).messages["accepted"] == 1
        assert len(store.recent_exams(10)) == 1

    def test_of_the_same_message_at_once_one_wins(self, store, message, exam):
        new = message()

        def accept(i):
            return store.accept(Incoming(new, MessageState.ACCEPTED, None, b"%d" % i, [exam()]))

        receipts = at_once(6, accept)
        (winner,) = (r for r in receipts if not r.duplicate)
        assert winner.exam_ids == (new.exam_id(0),)
        assert {r.answer for r in receipts} == {winner.answer}
        assert len(store.recent_exams(10)) == 1

    def test_different_messages_at_once_are_all_kept(self, store, message, exam):
        def accept(i):
            new = message(str(i))
            return store.accept(
                Incoming(new, MessageState.ACCEPTED, None, b"AA", [exam()])
            ).duplicate

        assert at_once(12, accept) == [False] * 12
        assert store.status(NOW).exams["received"] == 12

    def test_the_longest_identifiers_fit(self, store, message, exam):
        longest = "\U0001f9e1" * MAX_IDENTIFIER
        exams = [exam(longest, longest[1:] + "a")]
        (id_,) = store.accept(Incoming(message(), MessageState.ACCEPTED, None, b"", exams)).exam_ids
        assert store.load_exam(id_).patient == exams[0].patient

    def test_a_refusal_is_kept_with_its_reason(self, store, message):
        store.accept(Incoming(message(), MessageState.REFUSED, "lead-unknown", b"AR"))
        assert store.status(NOW).refusals == {"lead-unknown": 1}

    def test_a_refused_message_is_taken_once_its_cause_is_mended(self, store, message, exam):
        new = message()
        store.accept(Incoming(new, MessageState.REFUSED, "charset-undecodable", b"AR"))
        still = store.accept(Incoming(new, MessageState.REFUSED, "lead-unknown", b"other"))
        assert (still.answer, still.duplicate) == (b"AR", True)
        mended = store.accept(Incoming(new, MessageState.ACCEPTED, None, b"AA", [exam()]))
        assert (mended.answer, mended.duplicate) == (b"AA", False)
        assert mended.exam_ids == (new.exam_id(0),)
        again = store.accept(Incoming(new, MessageState.REFUSED, "lead-unknown", b"AR"))
        assert (again.answer, again.duplicate) == (b"AA", True)
        assert store.status(NOW).messages == {"accepted": 1, "refused": 0, "not-ecg": 0}
        assert store.status(NOW).refusals == {}

    @pytest.mark.parametrize(
        ("control_id", "kept"), [("", ""), ("a\0b", "a?b"), ("é" * 5000, "é" * 200)]
    )
    def test_any_control_id_is_recorded_as_far_as_it_can_be(
        self, store, message, exam, control_id, kept
    ):
        store.accept(Incoming(message(control_id), MessageState.ACCEPTED, None, b"AA", [exam()]))
        assert [one.control_id for one in store.recent_exams(2)] == [kept]

    def test_what_fails_half_way_leaves_nothing(self, store, message, exam):
        new, broken = message(), exam()
        object.__setattr__(broken.ecg, "start", None)
        object.__setattr__(broken.ecg, "sampling_rate_hz", None)
        with pytest.raises(StoreUnavailable):
            store.accept(Incoming(new, MessageState.ACCEPTED, None, b"AA", [exam(), broken]))
        with pytest.raises(NotFound):
            store.message_raw(new.id)

    def test_a_fault_names_no_patient(self, store, message, exam):
        broken = exam(authority="CANARY")
        object.__setattr__(broken.ecg, "start", None)
        object.__setattr__(broken.ecg, "sampling_rate_hz", None)
        with pytest.raises(StoreUnavailable) as caught:
            store.accept(Incoming(message(), MessageState.ACCEPTED, None, b"AA", [broken]))
        assert "CANARY" not in "".join(traceback.format_exception(caught.value))
        assert caught.value.detail in {
            "IntegrityError SQLITE_CONSTRAINT_NOTNULL",
            "NotNullViolation 23502",
        }


class TestLoad:
    def test_everything_comes_back(self, store, received, ecg, message):
        loaded = store.load_exam(received())
        np.testing.assert_array_equal(loaded.ecg.voltage_mv, ecg.voltage_mv)
        assert loaded.ecg.start == ecg.start
        assert loaded.ecg.resolution_mv == ecg.resolution_mv
        assert (loaded.patient.identifier, loaded.patient.authority) == ("4711", "HOSP")
        assert (loaded.placer_order, loaded.filler_order) == ("P1", "F1")
        assert (loaded.state, loaded.reason, loaded.attempts) == (ExamState.RECEIVED, None, 0)
        assert (loaded.message_id, loaded.received_at) == (message().id, NOW)
        assert "4711" not in repr(loaded)

    @pytest.mark.parametrize(
        ("acquired", "expected"),
        [
            (None, None),
            (date(2026, 2, 28), date(2026, 2, 28)),
            (NOW, NOW),
            (
                datetime(2026, 3, 1, 0, 30, tzinfo=timezone(timedelta(hours=2))),
                datetime(2026, 2, 28, 22, 30, tzinfo=UTC),
            ),
        ],
    )
    def test_the_time_of_acquisition_is_never_made_more_exact(
        self, store, received, acquired, expected
    ):
        loaded = store.load_exam(received(acquired=acquired)).acquired
        assert (type(loaded), loaded) == (type(expected), expected)

    def test_what_was_found_comes_with_the_exam(self, store, received, assessment):
        exam_id = received()
        with pytest.raises(NotFound, match="not assessed"):
            store.load_assessed(exam_id)
        new = assessment()
        store.save_assessment(exam_id, new)
        found = store.load_assessed(exam_id)
        assert (found.exam.id, found.findings) == (exam_id, new.findings)
        assert found.assessed_at == new.assessed_at

    def test_what_was_found_is_there_without_the_samples(self, store, received, assessment):
        exam_id = received()
        with pytest.raises(NotFound, match="not assessed"):
            store.load_findings(exam_id)
        new = assessment()
        store.save_assessment(exam_id, new)
        whole = store.load_exam(exam_id)
        with store._writing() as session:
            session.execute(text("DELETE FROM waveform"))
        facts, findings = store.load_findings(exam_id)
        assert findings == new.findings
        assert vars(facts) | {"ecg": whole.ecg} == vars(whole)

    def test_what_is_not_there(self, store):
        with pytest.raises(NotFound, match=f"not-found: no exam {NOBODY}"):
            store.load_exam(NOBODY)
        with pytest.raises(NotFound, match=f"not-found: no message {NOBODY}"):
            store.message_raw(NOBODY)
