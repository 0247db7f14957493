from datetime import UTC, datetime, timedelta

import pytest

from db.circuits import OPENS_AFTER, Circuit
from db.reviews import ReportStatus
from db.versions import NewVersion

NOW = datetime(2026, 3, 1, 12, 1, tzinfo=UTC)


def after(seconds):
    return NOW + timedelta(seconds=seconds)


def fail(store, times, now=NOW, **asked):
    for _ in range(times):
        store.note_failure("ehr", now, 2.0, 60.0, **asked)


@pytest.fixture
def queued(store, received, assessment):
    """A function that makes so many deliveries, of a patient each, not rung."""

    def make(count):
        ids = []
        for n in range(count):
            exam_id = received(f"Q{n}", identifier=f"P{n}")
            ids += store.save_assessment(exam_id, assessment("ehr"))
        return ids

    return make


def test_a_circuit_opens_after_failures_in_a_row_and_waits_longer_each_time(store):
    fail(store, OPENS_AFTER - 1)
    assert store.circuits() == ()
    store.note_answer("ehr")
    fail(store, OPENS_AFTER)
    assert store.circuits() == (Circuit("ehr", OPENS_AFTER, after(2), 0),)
    fail(store, 1)
    assert store.circuits()[0].open_until == after(4)
    fail(store, 20)
    assert store.circuits()[0].open_until == after(60)


def test_patience_that_is_asked_for_is_given_at_once(store):
    fail(store, 1, asked_s=120.0)
    assert store.circuits() == (Circuit("ehr", 1, after(120), 0),)


def test_a_destination_that_is_away_is_left_alone_then_tried_by_one_then_by_more(store, queued):
    ids = queued(9)
    fail(store, OPENS_AFTER)
    long_ago = NOW - timedelta(hours=1)
    assert store.claim_due_deliveries(NOW, after(1), 100) == ()
    assert [store.claim_delivery(id_, NOW, 60) for id_ in ids] == [None] * 9
    (probe,) = store.claim_due_deliveries(after(3), long_ago, 100)
    ids.remove(probe)
    assert store.claim_due_deliveries(after(3), long_ago, 100) == ()
    assert store.claim_delivery(probe, after(3), 60).attempts == 1
    assert store.claim_delivery(ids[0], after(3), 60) is None
    store.record_delivered(probe, "201")
    store.note_answer("ehr")
    assert len(store.claim_due_deliveries(after(3), long_ago, 100)) == 2
    took = [id_ for id_ in ids if store.claim_delivery(id_, after(4), 60)]
    assert len(took) == 2
    # Their worker died, and its permits with it: after its lease one may try.
    (other, *_) = set(ids) - set(took)
    assert store.claim_delivery(other, after(64), 60) is not None


def test_one_that_looked_in_vain_is_followed_by_another_as_soon_as_the_first_ones(store, queued):
    ids = queued(2)
    fail(store, OPENS_AFTER)
    assert store.claim_delivery(ids[0], after(3), 600) is not None
    assert store.claim_delivery(ids[1], after(3), 600) is None
    fail(store, 1, after(3))
    assert store.circuits()[0].open_until == after(7)
    assert store.claim_delivery(ids[1], after(7), 600) is not None


def test_what_a_later_version_replaces_uses_up_no_permit(store, received, assessment):
    exam_id = received()
    (first,) = store.save_assessment(exam_id, assessment("ehr"))
    assert store.claim_delivery(first, NOW, 60) is not None  # and its worker dies
    fail(store, OPENS_AFTER)
    new = NewVersion(ReportStatus.FINAL, after(1), {"resourceType": "Bundle"}, "ehr")
    (second,) = store.add_version(exam_id, new, expected=1)
    assert store.claim_delivery(first, after(61), 60) is None
    assert store.claim_delivery(second, after(61), 60) is not None


def test_what_was_asked_for_is_not_shortened_by_others(store):
    fail(store, 1, asked_s=120.0)
    fail(store, 1)
    assert store.circuits()[0].open_until == after(120)


def test_many_answers_close_it_and_one_failure_opens_it_again(store):
    fail(store, OPENS_AFTER)
    store.note_answer("ehr")
    assert store.circuits()[0].room(NOW) == 2
    fail(store, 1)
    assert store.circuits()[0].room(NOW) == 0
    for _ in range(32):
        store.note_answer("ehr")
    assert store.circuits() == ()


def test_other_destinations_do_not_suffer(store, received, assessment):
    exam_id = received("1")
    ehr, his = store.save_assessment(exam_id, assessment("ehr", "his"))
    fail(store, OPENS_AFTER)
    assert store.claim_delivery(ehr, NOW, 60) is None
    assert store.claim_delivery(his, NOW, 60) is not None
