import traceback
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from threading import Barrier
from uuid import UUID

import numpy as np
import pytest
from sqlalchemy import delete, text
from sqlalchemy.event import listen

from db.clinical import Incoming
from db.errors import Corrupt, NotFound, StoreUnavailable
from db.records import MAX_IDENTIFIER, ExamState, MessageState
from db.tables import WaveformRow

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
LATER = datetime(2100, 1, 1, tzinfo=UTC)
NOBODY = UUID(int=1)


def at_once(n, function):
    """Call function(i) in n threads that start together."""
    barrier = Barrier(n)

    def run(i):
        barrier.wait()
        return function(i)

    with ThreadPoolExecutor(n) as pool:
        return list(pool.map(run, range(n)))


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

    def test_what_is_not_there(self, store):
        with pytest.raises(NotFound, match=f"not-found: no exam {NOBODY}"):
            store.load_exam(NOBODY)
        with pytest.raises(NotFound, match=f"not-found: no message {NOBODY}"):
            store.message_raw(NOBODY)


class TestScoring:
    @pytest.fixture
    def scoring(self, store, received):
        return store, received()

    def test_attempts_are_counted_before_the_work(self, store, received):
        exam_id = received()
        assert store.begin_scoring(exam_id).attempts == 1
        assert store.begin_scoring(exam_id).attempts == 2

    def test_only_what_waits_is_begun(self, store, received, assessment):
        exam_id = received()
        store.save_assessment(exam_id, assessment())
        assert store.begin_scoring(exam_id) is None
        assert store.begin_scoring(NOBODY) is None

    def test_corrupt_samples_end_the_exam(self, store, received):
        exam_id = received()
        with store._engine.begin() as connection:
            connection.execute(text("UPDATE waveform SET n_samples = 7"))
        assert store.begin_scoring(exam_id) is None
        (summary,) = store.recent_exams(1)
        assert (summary.state, summary.reason) == (ExamState.FAILED, "stored-bytes-corrupt")
        with pytest.raises(Corrupt):
            store.load_exam(exam_id)

    def test_samples_that_are_gone_end_the_exam(self, store, received):
        exam_id, good = received("1"), received("2")
        with store._writing() as session:
            session.execute(delete(WaveformRow).where(WaveformRow.exam_id == exam_id))
        assert store.begin_scoring(exam_id) is None
        assert store.begin_scoring(good).id == good
        found = {one.id: (one.state, one.reason) for one in store.recent_exams(2)}
        assert found[exam_id] == (ExamState.FAILED, "samples-gone")

    def test_together_only_short_ones_that_nobody_has_tried_are_begun(
        self, store, received, assessment
    ):
        fresh, tried, done, other = (received(str(n)) for n in range(4))
        store.begin_scoring(tried)
        store.save_assessment(done, assessment())
        samples = store.load_exam(fresh).ecg.voltage_mv.shape[1]
        ids = [fresh, tried, done, NOBODY, other]
        assert store.begin_first_scoring(ids, samples - 1) == []
        assert store.to_score_alone(ids, samples - 1) == {fresh, tried, done, other}
        assert store.to_score_alone(ids, samples) == {tried}
        begun = store.begin_first_scoring(ids, samples)
        assert {(exam.id, exam.attempts) for exam in begun} == {(fresh, 1), (other, 1)}
        assert store.begin_first_scoring(ids, samples) == []
        assert store.begin_scoring(tried).attempts == 2

    def test_corrupt_samples_end_their_exam_and_no_other_of_those_together(self, store, received):
        bad, good = received("1"), received("2")
        with store._engine.begin() as connection:
            changed = "UPDATE waveform SET n_samples = 7 WHERE exam_id = :id"
            id_ = bad.hex if connection.dialect.name == "sqlite" else bad
            connection.execute(text(changed), {"id": id_})
        assert [exam.id for exam in store.begin_first_scoring([bad, good], 10**6)] == [good]
        found = {one.id: (one.state, one.reason) for one in store.recent_exams(2)}
        assert found[bad] == (ExamState.FAILED, "stored-bytes-corrupt")
        assert found[good] == (ExamState.RECEIVED, None)

    def test_assessments_are_stored_together_each_where_nobody_was_first(
        self, store, received, assessment
    ):
        first, second, taken = (received(str(n)) for n in range(3))
        store.save_assessment(taken, assessment())
        saved = store.save_assessments(
            {
                first: assessment("fhir"),
                taken: assessment("fhir"),
                second: assessment(unscorable="noise"),
                NOBODY: assessment(),
            }
        )
        assert len(saved.pop(first)) == 1
        assert saved == {second: (), taken: None, NOBODY: None}
        assert store.load_exam(second).state is ExamState.UNSCORABLE
        assert store.status(NOW).deliveries["pending"] == 1

    def test_assessments_that_cannot_all_be_stored_are_not_stored(
        self, store, received, assessment
    ):
        good, bad = received("1"), received("2")
        unfit = replace(assessment(), report={"resourceType": object()})
        with pytest.raises(Exception, match="object"):
            store.save_assessments({good: assessment(), bad: unfit})
        assert {store.load_exam(id_).state for id_ in (good, bad)} == {ExamState.RECEIVED}

    @pytest.mark.parametrize(
        ("destinations", "reason", "state"),
        [
            ((), None, ExamState.DELIVERED),
            (("fhir",), None, ExamState.SCORED),
            ((), "too-short", ExamState.UNSCORABLE),
            (("fhir", "his", "fhir"), "too-short", ExamState.UNSCORABLE),
        ],
    )
    def test_an_assessment_decides_the_state(
        self, scoring, assessment, destinations, reason, state
    ):
        store, exam_id = scoring
        new = assessment(*destinations, unscorable=reason)
        deliveries = store.save_assessment(exam_id, new)
        assert len(deliveries) == len(set(destinations))
        (summary,) = store.recent_exams(1)
        assert (summary.state, summary.reason) == (state, reason)
        assert summary.findings == new.findings
        assert store.read_report(exam_id).bundle == new.report

    def test_a_second_assessment_changes_nothing(self, store, received, assessment):
        exam_id = received()
        first = store.save_assessment(exam_id, assessment("fhir"))
        second = assessment("other", unscorable="noise", minutes=9)
        assert store.save_assessment(exam_id, second) is None
        assert store.recent_exams(1)[0].state is ExamState.SCORED
        assert store.status(NOW).deliveries["pending"] == len(first) == 1

    def test_of_assessments_at_once_one_wins(self, store, received, assessment):
        exam_id = received()
        saved = at_once(6, lambda i: store.save_assessment(exam_id, assessment(f"to-{i}")))
        assert [s is None for s in saved].count(False) == 1
        assert store.status(NOW).deliveries["pending"] == 1

    def test_an_exam_that_is_not_there_is_not_assessed(self, store, assessment):
        assert store.save_assessment(NOBODY, assessment()) is None

    def test_failing_ends_only_what_waits(self, store, received, assessment):
        waits, scored = received("1"), received("2")
        store.save_assessment(scored, assessment("fhir"))
        for exam_id in (waits, scored):
            store.fail_exam(exam_id, "scoring-crashed")
        assert store.load_exam(waits).state is ExamState.FAILED
        assert store.load_exam(waits).reason == "scoring-crashed"
        assert store.load_exam(scored).state is ExamState.SCORED


class TestClaimWaiting:
    def test_oldest_first_and_only_once(self, store, received):
        second, first, third = (received(str(m), minutes=m) for m in (2, 1, 3))
        assert store.claim_waiting_exams(NOW, 2) == (first, second)
        assert store.claim_waiting_exams(NOW, 2) == (third,)
        assert store.claim_waiting_exams(NOW, 2) == ()
        assert set(store.claim_waiting_exams(LATER, 9)) == {first, second, third}

    def test_what_its_intake_rang_waits_for_the_grace(self, store, received):
        exam_id = received(rung=True)
        assert store.claim_waiting_exams(NOW, 9) == ()
        assert store.claim_waiting_exams(NOW + timedelta(seconds=1), 9) == (exam_id,)

    def test_what_was_begun_waits_for_the_grace(self, store, received):
        exam_id = received()
        before = datetime.now(UTC)
        store.begin_scoring(exam_id)
        assert store.claim_waiting_exams(before, 9) == ()
        assert store.claim_waiting_exams(LATER, 9) == (exam_id,)

    def test_what_ended_is_left_alone(self, store, received, assessment):
        store.save_assessment(received("1"), assessment())
        store.fail_exam(received("2"), "scoring-crashed")
        assert store.claim_waiting_exams(LATER, 9) == ()

    def test_of_sweeps_at_once_one_gets_each(self, store, received):
        ids = [received(str(i)) for i in range(20)]
        claimed = at_once(5, lambda _: store.claim_waiting_exams(NOW, 20))
        assert sorted(sum(claimed, ())) == sorted(ids)

    @pytest.mark.parametrize("backlog", [False, True])
    def test_a_long_queue_is_not_sorted_for_its_head(self, store, received, backlog):
        """Ten times a second, with a million waiting: the index has to give the order."""
        if store._engine.dialect.name != "sqlite":
            pytest.skip("PostgreSQL plans by its statistics, which a small table does not have")
        received()
        asked = []
        listen(store._engine, "before_cursor_execute", lambda *a: asked.append((a[2], a[3])))
        store.claim_waiting_exams(NOW, 16, backlog=backlog)
        statement, values = next(one for one in asked if one[0].startswith("SELECT"))
        with store._engine.connect() as connection:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values).all()
        told = " ".join(row[3] for row in plan)
        assert "ix_exam_waiting" in told
        assert "TEMP B-TREE" not in told
