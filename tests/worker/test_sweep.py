import threading
from datetime import UTC, datetime, timedelta
from uuid import UUID

import numpy as np
import pytest
from amqp.exceptions import AccessRefused
from kombu.exceptions import OperationalError

from db.clinical import Incoming
from db.errors import StoreUnavailable
from db.records import BACKLOG, LIVE, Lane, MessageState, NewExam, NewMessage, PatientRef
from db.streaming import Stream
from integration.critical import CriticalSettings
from integration.queue import DELIVER, READ_ON, SCORE
from model.ecg import Ecg
from tests.patience import PATIENCE_S, wait_for
from worker import sweep
from worker.heartbeat import Heartbeat
from worker.pipeline import Rules, score_exam
from worker.sweep import (
    BACKLOG_AHEAD,
    BATCH,
    TOGETHER,
    Doorbell,
    Sweeper,
    sweep_backlog,
    sweep_once,
)

EVERY = {"interval_s": 0.01, "grace_s": 60, "critical": CriticalSettings()}


class Recorder:
    """Stands for the queue."""

    def __init__(self, waiting=0):
        self.rung = []
        self.waiting = waiting
        self.doorbell = Doorbell(lambda: self.waiting, self.ring)

    def ring(self, task, *ids):
        self.rung.append((task, *ids))


@pytest.fixture
def bell():
    return Recorder()


def test_what_was_never_rung_is_rung_once(store, received, bell):
    exam_id = received()
    assert sweep_once(store, bell.doorbell, 60) == 1
    assert sweep_once(store, bell.doorbell, 60) == 0
    assert bell.rung == [(SCORE, exam_id)]


def test_what_was_rung_and_lost_is_rung_again_after_the_grace(store, received, bell):
    exam_id = received()
    sweep_once(store, bell.doorbell, 60)
    assert sweep_once(store, bell.doorbell, 0) == 1
    assert bell.rung == [(SCORE, exam_id)] * 2


def test_a_delivery_waits_for_its_worker_and_is_rung_when_that_is_lost(
    store, received, scorer, bell
):
    exam_id = received()
    (delivery,) = score_exam(store, scorer, exam_id, Rules(destinations=("fhir",), max_attempts=1))
    sweep_once(store, bell.doorbell, 0)
    assert bell.rung == [(DELIVER, delivery)]


def test_a_deep_queue_is_left_alone(store, received, bell):
    received()
    bell.waiting = BATCH
    assert sweep_once(store, bell.doorbell, 0) == 0
    bell.waiting = BATCH - 1
    assert sweep_once(store, bell.doorbell, 0) == 1


def test_the_sweeper_gives_packets_to_their_stream_and_rings_for_it(store, bell):
    start = datetime.now(UTC) - timedelta(minutes=2)
    for second in range(30):
        moment = start + timedelta(seconds=second)
        ecg = Ecg(np.zeros((1, 250), np.float32), ("II",), 250.0, moment)
        message = NewMessage.whole("mllp", "MONITOR^ICU", str(second), b"%d" % second, moment)
        exam = NewExam(PatientRef("4711"), ecg, moment)
        store.accept(Incoming(message, MessageState.ACCEPTED, None, b"AA", [exam]))
    sweeper = Sweeper(store, bell.doorbell, **EVERY, first_grace_s=60)
    sweeper.start()
    wait_for(lambda: bell.rung, "a ring")
    sweeper.stop()
    sweeper.join(PATIENCE_S)
    assert bell.rung == [(READ_ON, Stream("MONITOR^ICU", PatientRef("4711"), 250.0).id)]
    assert store.status(start).exams["stitched"] == 30


def test_the_sweeper_seals_the_audit_log(store, received, scorer, bell):
    score_exam(store, scorer, received(), Rules(destinations=(), max_attempts=1))
    sweeper = Sweeper(store, bell.doorbell, **EVERY, first_grace_s=60)
    sweeper.start()
    wait_for(lambda: store.audit_head()[0], "a seal")
    sweeper.stop()
    sweeper.join()
    assert store.verify_audit().head == store.audit_head()
    assert store.audit_head()[0] == 1


def test_two_sweeps_at_once_ring_each_exam_once(store, received, bell):
    ids = {received(str(i)) for i in range(20)}
    threads = [
        threading.Thread(target=sweep_once, args=(store, bell.doorbell, 60)) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(id_ for _, id_ in bell.rung) == sorted(ids)


@pytest.mark.parametrize(
    "fault",
    [
        StoreUnavailable("store-unavailable", "down"),
        OperationalError(),
        OSError(),
        AccessRefused(),
    ],
)
def test_the_sweeper_survives_what_it_depends_on(store, received, bell, fault, tmp_path):
    exam_id: UUID = received()
    faults = [fault]

    def depth():
        if faults:
            raise faults.pop()
        return 0

    sweeper = Sweeper(
        store,
        Doorbell(depth, bell.ring),
        **EVERY,
        first_grace_s=0,
        heartbeat=Heartbeat(tmp_path / "alive"),
    )
    sweeper.start()
    wait_for(lambda: bell.rung, "a ring")
    sweeper.stop()
    sweeper.join(PATIENCE_S)
    assert not sweeper.is_alive()
    assert bell.rung == [(SCORE, exam_id)]
    assert (tmp_path / "alive").exists()


def test_a_chore_that_breaks_keeps_no_other_from_being_done(
    store, received, bell, monkeypatch, caplog
):
    def broken(*_):
        raise KeyError("an episode")

    for name in ("tell_episodes", "escalate_once", "sweep_streams"):
        monkeypatch.setattr(sweep, name, broken)
    monkeypatch.setattr(sweep, "BROKEN_S", 0.0)
    exam_id = received()
    sweeper = Sweeper(store, bell.doorbell, **EVERY, first_grace_s=0)
    sweeper.start()
    wait_for(lambda: bell.rung, "a ring")
    assert sweeper.is_alive()
    sweeper.stop()
    sweeper.join(PATIENCE_S)
    assert bell.rung == [(SCORE, exam_id)]
    assert caplog.text.count("sweep broke") >= 3


def test_an_archive_fills_the_queue_a_little_and_never_before_what_is_live(store, received, bell):
    store.receive_as(Lane(BACKLOG))
    old = [received(str(n)) for n in range(2 * TOGETHER + 1)]
    store.receive_as(LIVE)
    live = received("live")
    assert sweep_once(store, bell.doorbell, 60) == 1
    bell.waiting = BACKLOG_AHEAD
    assert sweep_backlog(store, bell.doorbell, 60)  # no room now; look again soon
    assert bell.rung == [(SCORE, live)]
    bell.waiting = BACKLOG_AHEAD - 1
    assert sweep_backlog(store, bell.doorbell, 60)
    assert [len(ids) for _, *ids in bell.rung] == [1, TOGETHER]
    bell.waiting = 0
    assert sweep_backlog(store, bell.doorbell, 60)
    assert not sweep_backlog(store, bell.doorbell, 60)
    assert [len(ids) for _, *ids in bell.rung] == [1, TOGETHER, TOGETHER, 1]
    assert sorted(id_ for _, *ids in bell.rung[1:] for id_ in ids) == sorted(old)


def test_what_is_long_or_was_tried_before_is_a_task_of_its_own(store, received, bell, monkeypatch):
    """Four records of hours in one task would outlast its time limit, and whatever is urgent."""
    monkeypatch.setattr(sweep, "SHORT_SAMPLES", 999)
    store.receive_as(Lane(BACKLOG))
    ids = [received(str(n), samples=1000) for n in range(TOGETHER)]
    assert sweep_backlog(store, bell.doorbell, 60)
    assert bell.rung == [(SCORE, id_) for id_ in ids]
    for id_ in ids:
        store.fail_exam(id_, "scoring-crashed")
    bell.rung.clear()
    tried, *fresh = (received(name) for name in ("tried", "short", "other"))
    store.begin_scoring(tried)  # and its worker dies
    bell.waiting = BACKLOG_AHEAD - 1
    assert sweep_backlog(store, bell.doorbell, -60)
    assert bell.rung == [(SCORE, *fresh), (SCORE, tried)]
