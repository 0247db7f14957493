from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid5

import pytest

from db.deliveries import HOLDS_UP
from db.errors import NotFound
from db.records import DeliveryState, ExamState
from tests.db.conftest import at_once

NOW = datetime(2026, 3, 1, 12, 1, tzinfo=UTC)  # when `assessment` assesses
MINUTE = timedelta(minutes=1)


@pytest.fixture
def scored(store, received, assessment):
    """A function that stores an assessed exam; returns its id and its deliveries'."""

    def score(*destinations, control_id="1", unscorable=None, minutes=1, identifier="4711"):
        exam_id = received(control_id, identifier=identifier)
        new = assessment(*destinations, unscorable=unscorable, minutes=minutes)
        return exam_id, store.save_assessment(exam_id, new)

    return score


def test_a_claim_gives_the_report_and_keeps_others_off(store, scored):
    exam_id, (id_,) = scored("fhir")
    delivery = store.claim_delivery(id_, NOW, lease_s=60)
    assert delivery.id == id_ == uuid5(exam_id, "fhir")
    assert (delivery.exam_id, delivery.destination) == (exam_id, "fhir")
    assert (delivery.state, delivery.attempts) == (DeliveryState.PENDING, 1)
    assert (delivery.next_attempt_at, delivery.last_answer) == (NOW + MINUTE, None)
    assert delivery.report == {"resourceType": "Bundle", "type": "transaction"}
    assert store.claim_delivery(id_, NOW, 60) is None
    assert store.claim_delivery(id_, NOW + MINUTE, 60).attempts == 2


def test_of_claims_at_once_one_wins(store, scored):
    _, (id_,) = scored("fhir")
    claims = at_once(6, lambda _: store.claim_delivery(id_, NOW, 60))
    assert [c.attempts for c in claims if c is not None] == [1]


def test_what_is_not_due_or_not_there_is_not_claimed(store, scored):
    _, (id_,) = scored("fhir")
    assert store.claim_delivery(id_, NOW - MINUTE, 60) is None
    assert store.claim_delivery(UUID(int=1), NOW, 60) is None


def test_yes_from_everybody_delivers_the_exam(store, scored):
    exam_id, (first, second) = scored("fhir", "his")
    store.record_delivered(first, "201")
    assert store.load_exam(exam_id).state is ExamState.SCORED
    store.record_delivered(second, "AA")
    assert store.load_exam(exam_id).state is ExamState.DELIVERED
    assert store.claim_delivery(first, NOW, 60) is None


def test_the_last_two_at_once_deliver_the_exam(store, scored):
    for round_ in range(5):
        exam_id, ids = scored("a", "b", "c", control_id=str(round_))
        at_once(len(ids), lambda i, ids=ids: store.record_delivered(ids[i], "201"))
        assert store.load_exam(exam_id).state is ExamState.DELIVERED


def test_never_makes_the_exam_undeliverable_at_once(store, scored):
    exam_id, (first, second) = scored("fhir", "his")
    store.record_undeliverable(first, "422")
    assert store.load_exam(exam_id).state is ExamState.UNDELIVERABLE
    assert store.load_exam(exam_id).reason == "undeliverable"
    store.record_delivered(second, "AA")
    assert store.load_exam(exam_id).state is ExamState.UNDELIVERABLE
    assert store.status(NOW).deliveries == {
        "pending": 0,
        "delivered": 1,
        "undeliverable": 1,
        "superseded": 0,
    }


def test_a_late_yes_outweighs_a_never(store, scored):
    exam_id, (id_,) = scored("fhir")
    store.record_undeliverable(id_, "gave up")
    store.record_delivered(id_, "201")
    assert store.load_exam(exam_id).state is ExamState.DELIVERED
    assert store.load_exam(exam_id).reason is None


def test_a_yes_is_final(store, scored):
    exam_id, (id_,) = scored("fhir")
    store.record_delivered(id_, "201")
    store.record_undeliverable(id_, "422")
    store.record_retry(id_, "503", NOW)
    assert store.load_exam(exam_id).state is ExamState.DELIVERED
    assert store.status(NOW).deliveries["delivered"] == 1


@pytest.mark.parametrize("record", ["record_delivered", "record_undeliverable"])
def test_an_unscorable_exam_stays_unscorable(store, scored, record):
    exam_id, (id_,) = scored("fhir", unscorable="too-short")
    getattr(store, record)(id_, "answer")
    assert store.load_exam(exam_id).state is ExamState.UNSCORABLE
    assert store.load_exam(exam_id).reason == "too-short"


def test_a_retry_comes_when_it_is_due(store, scored):
    _, (id_,) = scored("fhir")
    store.claim_delivery(id_, NOW, 600)
    store.record_retry(id_, "503 \0 \ud800", NOW + MINUTE)
    assert store.claim_delivery(id_, NOW + MINUTE / 2, 600) is None
    again = store.claim_delivery(id_, NOW + MINUTE, 600)
    assert (again.attempts, again.last_answer) == (2, "503 ? ?")


@pytest.mark.parametrize(
    ("record", "more"),
    [("record_delivered", ()), ("record_undeliverable", ()), ("record_retry", (NOW,))],
)
def test_what_is_not_there(store, record, more):
    with pytest.raises(NotFound, match="not-found: no delivery"):
        getattr(store, record)(UUID(int=1), "answer", *more)


class TestClaimDue:
    def test_longest_due_first_and_only_once(self, store, scored):
        ids = [
            scored("fhir", control_id=str(m), minutes=m, identifier=str(m))[1][0] for m in (3, 1, 2)
        ]
        due = NOW + 4 * MINUTE
        assert store.claim_due_deliveries(due, due, 2) == (ids[1], ids[2])
        assert store.claim_due_deliveries(due, due, 2) == (ids[0],)
        assert store.claim_due_deliveries(due, due, 2) == ()

    def test_what_its_worker_rang_waits_for_the_grace(self, store, scored):
        _, (id_,) = scored("fhir")
        assert store.claim_due_deliveries(NOW, NOW, 9) == ()
        assert store.claim_due_deliveries(NOW + MINUTE, NOW + MINUTE / 2, 9) == (id_,)

    def test_a_retry_is_rung_when_due_whatever_the_grace(self, store, scored):
        _, (id_,) = scored("fhir")
        store.claim_delivery(id_, NOW, 600)
        store.record_retry(id_, "503", NOW + MINUTE)
        assert store.claim_due_deliveries(NOW, NOW - MINUTE, 9) == ()
        assert store.claim_due_deliveries(NOW + MINUTE, NOW - MINUTE, 9) == (id_,)

    def test_a_lost_worker_is_replaced_after_its_lease(self, store, scored):
        _, (id_,) = scored("fhir")
        store.claim_delivery(id_, NOW, lease_s=60)
        assert store.claim_due_deliveries(NOW, NOW, 9) == ()
        assert store.claim_due_deliveries(NOW + MINUTE, NOW - MINUTE, 9) == (id_,)

    def test_what_ended_is_left_alone(self, store, scored):
        _, (first, second) = scored("fhir", "his")
        store.record_delivered(first, "201")
        store.record_undeliverable(second, "422")
        assert store.claim_due_deliveries(NOW + MINUTE, NOW + MINUTE, 9) == ()


class TestOnePatientsReports:
    @pytest.fixture
    def two(self, scored):
        _, (earlier,) = scored("ehr", control_id="1")
        _, (later,) = scored("ehr", control_id="2", minutes=2)
        return earlier, later

    def test_go_in_order(self, store, two):
        earlier, later = two
        now = NOW + 2 * MINUTE
        assert store.claim_delivery(later, now, 60) is None
        assert store.claim_delivery(earlier, now, 60) is not None
        assert store.claim_due_deliveries(now, now, 10) == ()
        store.record_retry(earlier, "503", now + MINUTE)
        assert store.claim_delivery(later, now, 60) is None
        store.record_delivered(earlier, "201")
        # It was rung before its time: the sweep does it again at once.
        assert store.claim_due_deliveries(now, now - 60 * MINUTE, 10) == (later,)
        assert store.claim_delivery(later, now, 60) is not None

    def test_one_that_fails_by_its_own_fault_does_not_hold_up_others_for_ever(self, store, two):
        earlier, later = two
        now = NOW + 2 * MINUTE
        for _ in range(HOLDS_UP):
            assert store.claim_delivery(earlier, now, 60) is not None
            store.record_retry(earlier, "500", now)
            assert store.claim_delivery(later, now, 60) is None
        assert store.claim_delivery(earlier, now, 60) is not None
        assert store.claim_delivery(later, now, 60) is not None

    def test_an_outage_is_no_fault_and_no_try(self, store, two):
        earlier, later = two
        now = NOW + 2 * MINUTE
        for _ in range(3 * HOLDS_UP):
            assert store.claim_delivery(earlier, now, 60).attempts == 1
            store.record_retry(earlier, "503", now, counted=False)
        assert store.claim_delivery(later, now, 60) is None

    def test_one_that_was_given_up_is_not_waited_for(self, store, two):
        earlier, later = two
        store.record_undeliverable(earlier, "422")
        assert store.claim_delivery(later, NOW + 2 * MINUTE, 60) is not None

    def test_other_patients_and_other_destinations_do_not_wait(
        self, store, two, received, assessment
    ):
        his = store.save_assessment(received("3"), assessment("his", minutes=3))
        other = store.save_assessment(received("4", identifier="4712"), assessment("ehr"))
        for (id_,) in (his, other):
            assert store.claim_delivery(id_, NOW + 3 * MINUTE, 60) is not None
