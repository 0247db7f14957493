"""Exams on their way through a worker: claimed, begun, assessed, put aside."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import delete, text
from sqlalchemy.event import listen

from db.errors import Corrupt
from db.records import ExamState
from db.tables import WaveformRow
from tests.db.conftest import NOW, at_once

LATER = datetime(2100, 1, 1, tzinfo=UTC)
NOBODY = UUID(int=1)


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
