import threading
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from db.errors import StoreUnavailable
from db.records import DeliveryState, ExamState, Lane
from integration.errors import Refused, TryLater
from integration.fhir.report import attach_page
from integration.render import page_of
from model.errors import EcgError
from worker import pipeline
from worker.pipeline import (
    MAX_BACKOFF_S,
    Retry,
    Rules,
    backoff_s,
    deliver,
    score_exam,
    score_exams,
)

RETRY = Retry(max_attempts=3, backoff_s=0.001, lease_s=60)
SOON = timedelta(seconds=1)
RULES = Rules(("fhir",), max_attempts=2)


def score(store, scorer, exam_id, destinations=("fhir",)):
    return score_exam(store, scorer, exam_id, Rules(destinations=destinations, max_attempts=2))


def state(store, exam_id):
    exam = store.load_exam(exam_id)
    return exam.state, exam.reason


def answering(*answers):
    """Return a destination that gives these answers in turn, and the list of what it was sent."""
    sent, left = [], list(answers)

    def send(report):
        sent.append(report)
        answer = left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return {"fhir": send}, sent


def make_due(store, delivery_id):
    store.record_retry(delivery_id, "", datetime.now(UTC) - SOON)


class TestScoring:
    def test_a_silent_one_is_assessed_and_sent_nowhere(self, store, scorer, received):
        store.receive_as(Lane(silent=True))
        exam_id = received()
        assert score(store, scorer, exam_id) == ()
        assert state(store, exam_id) == (ExamState.DELIVERED, None)
        assert store.load_assessed(exam_id)

    def test_in_silent_mode_everything_is(self, store, scorer, received):
        exam_id = received()
        ids = score_exam(
            store, scorer, exam_id, Rules(destinations=("fhir",), max_attempts=2, silent=True)
        )
        assert ids == store.deliveries_of(exam_id) == ()
        assert store.load_exam(exam_id).silent
        assert store.rehearsal().flagged == 1

    def test_assessment_report_and_delivery_appear_together(self, store, scorer, received):
        exam_id = received()
        deliveries = score(store, scorer, exam_id)
        assert len(deliveries) == 1
        assert state(store, exam_id) == (ExamState.SCORED, None)
        assert store.read_report(exam_id).bundle["type"] == "transaction"

    def test_without_a_destination_the_report_has_arrived(self, store, scorer, received):
        exam_id = received()
        assert score(store, scorer, exam_id, destinations=()) == ()
        assert state(store, exam_id) == (ExamState.DELIVERED, None)

    def test_an_unscorable_ecg_is_reported_and_stays_unscorable(
        self, store, scorer, received, unscorable
    ):
        exam_id, scorer.says = received(), unscorable
        (delivery_id,) = score(store, scorer, exam_id)
        deliver(store, answering("201")[0], delivery_id, RETRY)
        assert state(store, exam_id) == (ExamState.UNSCORABLE, "too-short")
        assert store.status(datetime.now(UTC)).deliveries["delivered"] == 1

    def test_twice_has_the_effect_of_once(self, store, scorer, received):
        exam_id = received()
        assert score(store, scorer, exam_id)
        assert score(store, scorer, exam_id) == ()
        assert scorer.asked == 1

    def test_at_the_same_time_only_one_assessment_gets_in(self, store, scorer, received):
        exam_id = received()
        barrier = threading.Barrier(2)
        score_now = scorer.score

        def together(ecg):
            barrier.wait(10)
            return score_now(ecg)

        scorer.score = together
        results = []
        threads = [
            threading.Thread(target=lambda: results.append(score(store, scorer, exam_id)))
            for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert scorer.asked == 2
        assert sorted(len(r) for r in results) == [0, 1]

    def test_a_worker_that_died_leaves_the_exam_to_the_next(self, store, scorer, received):
        exam_id = received()
        scorer.says = MemoryError()
        with pytest.raises(MemoryError):
            score(store, scorer, exam_id)
        assert state(store, exam_id) == (ExamState.RECEIVED, None)

    def test_an_exam_that_kills_its_workers_is_put_aside(self, store, scorer, received):
        exam_id = received()
        for _ in range(2):
            assert store.begin_scoring(exam_id)  # and the worker dies
        assert score(store, scorer, exam_id) == ()
        assert state(store, exam_id) == (ExamState.FAILED, "scoring-crashed")
        assert scorer.asked == 0

    def test_an_ecg_the_model_refuses_fails_with_its_reason(self, store, scorer, received):
        exam_id, scorer.says = received(), EcgError("lead-missing", "no lead V1")
        assert score(store, scorer, exam_id) == ()
        assert state(store, exam_id) == (ExamState.FAILED, "lead-missing")

    def test_several_are_assessed_in_one_commit(self, store, scorer, received, monkeypatch):
        ids = [received(str(n)) for n in range(3)]
        saved = []
        save = store.save_assessments
        monkeypatch.setattr(
            store, "save_assessments", lambda found: saved.append(found) or save(found)
        )
        assert len(score_exams(store, scorer, ids, RULES)) == 3
        assert [set(found) for found in saved] == [set(ids)]
        assert {state(store, id_) for id_ in ids} == {(ExamState.SCORED, None)}
        assert score_exams(store, scorer, ids, RULES) == ()
        assert scorer.asked == 3

    def test_those_tried_before_and_long_ones_come_last_and_alone(
        self, store, scorer, received, monkeypatch
    ):
        tried, fresh, long = received("1"), received("2"), received("3", samples=1000)
        monkeypatch.setattr(pipeline, "SHORT_SAMPLES", 999)
        assert store.begin_scoring(tried)  # and its worker dies
        saved, save = [], store.save_assessments
        monkeypatch.setattr(
            store, "save_assessments", lambda found: saved.append([*found]) or save(found)
        )
        assert len(score_exams(store, scorer, [tried, long, fresh], RULES)) == 3
        assert saved == [[fresh], [tried], [long]]

    def test_one_that_kills_its_workers_uses_up_no_attempt_of_its_neighbours(
        self, store, scorer, received
    ):
        killer = received("killer", samples=400)
        others = [received(str(n)) for n in range(3)]
        score_now = scorer.score

        def score(ecg):
            if ecg.n_samples == 400:
                raise KeyboardInterrupt  # what no task survives
            return score_now(ecg)

        scorer.score = score
        for _ in range(RULES.max_attempts):
            with pytest.raises(KeyboardInterrupt):
                score_exams(store, scorer, [killer, *others], RULES)
        score_exams(store, scorer, [killer, *others], RULES)
        assert state(store, killer) == (ExamState.FAILED, "scoring-crashed")
        assert {state(store, id_)[0] for id_ in others} == {ExamState.SCORED}

    def test_one_that_the_model_refuses_spoils_no_other(self, store, scorer, received):
        ids = [received(str(n)) for n in range(3)]
        score_now, asked = scorer.score, []

        def second_refused(ecg):
            asked.append(ecg)
            if len(asked) == 2:
                raise EcgError("lead-missing", "no lead V1")
            return score_now(ecg)

        scorer.score = second_refused
        assert len(score_exams(store, scorer, ids, RULES)) == 2
        assert sorted(state(store, id_)[0] for id_ in ids) == sorted(
            [ExamState.FAILED, ExamState.SCORED, ExamState.SCORED]
        )

    def test_an_unknown_id_is_nothing_to_do(self, store, scorer):
        assert score(store, scorer, uuid4()) == ()


class TestDelivery:
    @pytest.fixture
    def scored(self, store, scorer, received):
        exam_id = received()
        (delivery_id,) = score(store, scorer, exam_id)
        return exam_id, delivery_id

    def test_a_yes_ends_it(self, store, scored):
        exam_id, delivery_id = scored
        destinations, sent = answering("201 Created")
        deliver(store, destinations, delivery_id, RETRY)
        deliver(store, destinations, delivery_id, RETRY)
        assert len(sent) == 1
        assert sent[0] == attach_page(
            store.read_report(exam_id).bundle, page_of(store.load_assessed(exam_id))
        )
        assert state(store, exam_id) == (ExamState.DELIVERED, None)

    def test_without_samples_the_report_goes_without_its_page(self, store, scored):
        exam_id, delivery_id = scored
        with store._engine.begin() as connection:
            connection.exec_driver_sql("UPDATE waveform SET samples = x'00'")
        destinations, sent = answering("201 Created")
        deliver(store, destinations, delivery_id, RETRY)
        assert sent == [store.read_report(exam_id).bundle]
        assert store.status(datetime.now(UTC)).deliveries["delivered"] == 1

    def test_a_no_for_good_is_not_repeated(self, store, scored):
        exam_id, delivery_id = scored
        destinations, sent = answering(Refused("destination-refused", "422"))
        deliver(store, destinations, delivery_id, RETRY)
        deliver(store, destinations, delivery_id, RETRY)
        assert len(sent) == 1
        assert state(store, exam_id)[0] is ExamState.UNDELIVERABLE

    def test_an_outage_is_waited_out(self, store, scored):
        exam_id, delivery_id = scored
        destinations, sent = answering(TryLater("destination-unavailable", "503"), "201")
        deliver(store, destinations, delivery_id, RETRY)
        assert state(store, exam_id) == (ExamState.SCORED, None)
        make_due(store, delivery_id)
        deliver(store, destinations, delivery_id, RETRY)
        assert len(sent) == 2
        assert state(store, exam_id) == (ExamState.DELIVERED, None)

    def test_but_not_for_ever(self, store, scored):
        exam_id, delivery_id = scored
        destinations, sent = answering(*[TryLater("destination-busy", "500")] * 3)
        for _ in range(5):
            deliver(store, destinations, delivery_id, RETRY)
            make_due(store, delivery_id)
        assert len(sent) == RETRY.max_attempts
        assert state(store, exam_id)[0] is ExamState.UNDELIVERABLE

    def test_an_outage_of_hours_uses_up_no_tries_and_is_left_alone(self, store, scored):
        exam_id, delivery_id = scored
        destinations, sent = answering(*[TryLater("destination-unavailable", "503")] * 8)
        for _ in range(8):
            store.note_answer("fhir")  # as if the pause were over
            deliver(store, destinations, delivery_id, RETRY)
            store.record_retry(delivery_id, "", datetime.now(UTC) - SOON)
        assert len(sent) == 8
        (end,) = store.deliveries_of(exam_id)
        assert (end.state, end.attempts) == (DeliveryState.PENDING, 0)
        asked = TryLater("destination-unavailable", "503", retry_after_s=9e9)
        destinations, sent = answering(asked)
        deliver(store, destinations, delivery_id, RETRY)
        (circuit,) = store.circuits()
        left_alone_s = (circuit.open_until - datetime.now(UTC)).total_seconds()
        assert MAX_BACKOFF_S - 60 < left_alone_s <= MAX_BACKOFF_S
        make_due(store, delivery_id)
        deliver(store, destinations, delivery_id, RETRY)
        assert len(sent) == 1

    def test_what_is_leased_is_not_sent_by_a_second_worker(self, store, scored):
        _, delivery_id = scored
        assert store.claim_delivery(delivery_id, datetime.now(UTC), 60)
        destinations, sent = answering("201")
        deliver(store, destinations, delivery_id, RETRY)
        assert sent == []

    def test_a_worker_that_died_sending_leaves_it_to_the_next(self, store, scored):
        _, delivery_id = scored
        assert store.claim_delivery(delivery_id, datetime.now(UTC), lease_s=0)
        destinations, sent = answering("200")
        deliver(store, destinations, delivery_id, RETRY)
        assert len(sent) == 1

    def test_one_whose_tries_end_their_workers_is_given_up(self, store, scored):
        exam_id, delivery_id = scored
        for _ in range(RETRY.max_attempts):
            assert store.claim_delivery(delivery_id, datetime.now(UTC), lease_s=0)  # and it dies
        destinations, sent = answering("200")
        deliver(store, destinations, delivery_id, RETRY)
        assert sent == []
        (end,) = store.deliveries_of(exam_id)
        assert (end.state, end.answer) == (
            DeliveryState.UNDELIVERABLE,
            "delivery-crashed: 3 tries had no end",
        )

    def test_a_database_that_is_away_meanwhile_costs_no_try(self, store, scored):
        exam_id, delivery_id = scored
        busy = StoreUnavailable("store-unavailable", "LockNotAvailable 55P03")
        destinations, _ = answering(busy, "200")
        deliver(store, destinations, delivery_id, RETRY)
        (end,) = store.deliveries_of(exam_id)
        assert (end.state, end.attempts) == (DeliveryState.PENDING, 0)
        make_due(store, delivery_id)
        deliver(store, destinations, delivery_id, RETRY)
        assert state(store, exam_id) == (ExamState.DELIVERED, None)

    def test_a_destination_no_longer_configured_waits_for_its_setting(self, store, scored):
        exam_id, delivery_id = scored
        for _ in range(RETRY.max_attempts + 1):
            deliver(store, {}, delivery_id, RETRY)
            assert state(store, exam_id) == (ExamState.SCORED, None)
            make_due(store, delivery_id)
        deliver(store, answering("200")[0], delivery_id, RETRY)
        assert state(store, exam_id) == (ExamState.DELIVERED, None)


@pytest.mark.parametrize(
    ("attempts", "chance", "asked_s", "expected_s"),
    [
        (1, 0.0, None, 1.0),
        (1, 1.0, None, 2.0),
        (3, 1.0, None, 8.0),
        (99, 1.0, None, MAX_BACKOFF_S),
        (1, 0.0, 30.0, 30.1),
        (1, 1.0, 30.0, 30.2),
        (1, 0.0, -5.0, 0.1),
        (1, 0.0, 1e9, MAX_BACKOFF_S + 0.1),
    ],
)
def test_backoff(attempts, chance, asked_s, expected_s):
    assert backoff_s(attempts, 2.0, chance, asked_s) == pytest.approx(expected_s)
