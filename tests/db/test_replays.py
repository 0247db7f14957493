from datetime import timedelta
from uuid import UUID

import pytest

from db.audit import AuditEntry, AuditKind
from db.clinical import Incoming
from db.errors import NotFound
from db.filters import parse_filter
from db.records import DeliveryState, ExamState, MessageState
from db.replays import Replay, ReplayState, Stage
from db.retention import Periods
from tests.db.conftest import NOW

LATER = NOW + timedelta(hours=1)


def replay(**changes):
    values = {
        "id": UUID(int=1),
        "created_at": NOW,
        "actor": "admin",
        "filter": "state:failed",
        "stage": Stage.SCORE,
        "state": ReplayState.RUNNING,
        "matched": 3,
        "succeeded": 0,
        "failed": 0,
        "cursor": None,
        "finished_at": None,
    }
    return Replay(**values | changes)


def test_failed_exams_wait_for_a_worker_again_once(store, received):
    failed, waiting = received("1"), received("2")
    store.begin_scoring(failed)
    store.fail_exam(failed, "scoring-crashed")
    every = parse_filter("")
    assert store.count_replayable(every, Stage.SCORE) == 1
    assert store.replayable(every, Stage.SCORE, None, 10) == (failed,)
    assert store.score_again([failed, waiting]) == (failed,)
    assert store.score_again([failed]) == ()
    exam = store.load_exam(failed)
    assert (exam.state, exam.reason, exam.attempts) == (ExamState.RECEIVED, None, 0)
    assert failed in store.claim_waiting_exams(NOW, 10)


def test_failed_exams_whose_samples_are_gone_stay_failed(store, received):
    failed = received()
    store.fail_exam(failed, "scoring-crashed")
    day = timedelta(days=1)
    store.prune(Periods(errors=day), NOW + 2 * day, "admin")
    assert store.count_replayable(parse_filter(""), Stage.SCORE) == 0
    assert store.score_again([failed]) == ()
    assert store.status(NOW).exams["failed"] == 1


def test_lost_deliveries_are_due_at_once_and_their_exams_no_more_lost(store, received, assessment):
    exam_id = received()
    first, second = store.save_assessment(exam_id, assessment("fhir", "oru"))
    for id_ in (first, second):
        store.record_undeliverable(id_, "gave up")
    found = parse_filter("destination:fhir")
    assert store.replayable(found, Stage.DELIVER, None, 10) == (first,)
    assert store.deliver_again([first], LATER) == (first,)
    assert store.load_exam(exam_id).state == ExamState.UNDELIVERABLE  # the other one is still lost
    assert store.deliver_again([first, second], LATER) == (second,)
    assert store.load_exam(exam_id).state == ExamState.SCORED
    delivery = store.claim_delivery(first, LATER, 60)
    assert (delivery.state, delivery.attempts) == (DeliveryState.PENDING, 1)
    store.record_delivered(first, "201")
    store.record_delivered(second, "201")
    assert store.load_exam(exam_id).state == ExamState.DELIVERED
    assert store.count_replayable(parse_filter(""), Stage.DELIVER) == 0


def test_what_is_put_off_can_be_hastened_and_what_is_fresh_cannot(store, received, assessment):
    (id_,) = store.save_assessment(received(), assessment("fhir"))
    assert store.deliver_again([id_], LATER) == ()
    store.claim_delivery(id_, LATER, 60)
    store.record_retry(id_, "503", LATER + timedelta(hours=9))
    assert store.deliver_again([id_], LATER) == (id_,)
    assert store.claim_delivery(id_, LATER, 60).id == id_


def test_subjects_come_in_pages_and_discarded_ones_never(store, message):
    messages = [message(str(n)) for n in range(5)]
    for one in messages:
        store.accept(Incoming(one, MessageState.REFUSED, "lead-unknown", b"AR"))
    store.discard(messages[0].id, "old", "admin", NOW)
    every, left = parse_filter("refusal:lead-unknown"), sorted(m.id for m in messages[1:])
    first = store.replayable(every, Stage.DECODE, None, 3)
    rest = store.replayable(every, Stage.DECODE, first[-1], 3)
    assert sorted([*first, *rest]) == left
    assert store.message_of(Stage.DECODE, left[0]) == left[0]


def test_every_subject_leads_to_its_message(store, received, assessment, message):
    exam_id = received("9")
    (delivery_id,) = store.save_assessment(exam_id, assessment("fhir"))
    expected = message("9").id
    assert store.message_of(Stage.SCORE, exam_id) == expected
    assert store.message_of(Stage.DELIVER, delivery_id) == expected
    with pytest.raises(NotFound):
        store.message_of(Stage.SCORE, delivery_id)


def test_a_replay_is_recorded_with_who_what_and_how_far(store):
    store.begin_replay(replay())
    state = store.note_progress(UUID(int=1), UUID(int=7), succeeded=2, failed=1)
    assert state == ReplayState.RUNNING
    assert store.set_replay_state(UUID(int=1), ReplayState.PAUSED, NOW)
    assert store.note_progress(UUID(int=1), UUID(int=8), succeeded=0, failed=0) == "paused"
    assert store.set_replay_state(UUID(int=1), ReplayState.DONE, LATER)
    assert not store.set_replay_state(UUID(int=1), ReplayState.RUNNING, LATER)
    told = store.replay(UUID(int=1))
    assert (told.succeeded, told.failed, told.cursor) == (2, 1, UUID(int=8))
    assert (told.state, told.finished_at) == (ReplayState.DONE, LATER)
    assert store.replays(10) == (told,)
    with pytest.raises(NotFound):
        store.replay(UUID(int=2))
    store.seal_audit()
    (entry,) = store.audit_entries()
    assert (entry.entry.kind, entry.entry.actor) == (AuditKind.OPERATION, "admin")
    assert entry.entry.content["filter"] == "state:failed"


def test_in_the_list_filters_are_told_as_the_audit_log_does(store):
    naming = replay(filter="patient:ZZCANARY state:failed")
    store.begin_replay(naming)
    assert store.replay(naming.id) == naming
    (listed,) = store.replays(10)
    assert listed == replay(filter="patient:... state:failed")
    store.record_audit(AuditEntry(AuditKind.ACCESS, LATER, "x", None, {}))
    store.seal_audit()
    store.prune_audit(LATER, "retention", LATER)
    assert store.replays(10) == (replay(filter=""),)
